//! A log's changes on this node: in order ([`sequencer`]), those that come too early (`waiting`), the last of them (`replay`),
//! compared with the backend (`sweep`), read once for many (`single_flight`).

pub mod change;
pub(crate) mod replay;
pub mod sequencer;
pub mod single_flight;
pub(crate) mod sweep;
pub(crate) mod waiting;
