//! What the two tasks of a line say of it.

use std::sync::atomic::AtomicBool;

/// Whether a line works, as its tasks last saw it.
#[derive(Default)]
pub(crate) struct Health {
    pub listening: AtomicBool,
    pub not_publishing: AtomicBool,
}
