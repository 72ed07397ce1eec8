//! stub
mod answers;
pub mod door;
pub mod ledger;
pub mod process;
pub mod stream;
pub mod swarm;
