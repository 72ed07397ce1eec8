//! The hub.

use crate::events::Committed;

/// Live sockets and their channels.
#[derive(Clone, Default)]
pub struct Hub;

impl Hub {
    /// Takes a committed change.
    pub fn committed(&self, _committed: Committed) {}
    /// Compares positions with the database at once.
    pub fn sweep_soon(&self) {}
}
