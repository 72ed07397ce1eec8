//! The health of a line, as reported by its two tasks.

use std::sync::atomic::AtomicBool;

/// Whether a line works, as its tasks last observed.
#[derive(Default)]
pub(crate) struct Health {
    pub listening: AtomicBool,
    pub not_publishing: AtomicBool,
}
