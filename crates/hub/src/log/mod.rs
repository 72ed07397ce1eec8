//! The changes of a log on this node: put in order ([`sequencer`]), held while a hole is open (`waiting`), kept for
//! recovery (`replay`), compared with the database (`sweep`), and read once for many subscribers (`single_flight`).

pub mod change;
pub(crate) mod replay;
pub mod sequencer;
pub mod single_flight;
pub(crate) mod sweep;
pub(crate) mod waiting;
