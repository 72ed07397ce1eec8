//! What a client is and asks for: [`connection`], and its commands in order.
//!
//! [`table`]: whose connections there are. `pending`: the commands that wait for their turn. `connect`, `subscribe`, `queries`
//! answer them; `start` reads what a subscription begins with; `reauthorise` checks rights again; `lifetime`: how long tokens last.

pub(crate) mod commands;
pub(crate) mod connect;
pub mod connection;
pub(crate) mod lifetime;
mod pending;
pub(crate) mod queries;
pub(crate) mod reauthorise;
pub(crate) mod start;
pub(crate) mod subscribe;
pub mod table;
