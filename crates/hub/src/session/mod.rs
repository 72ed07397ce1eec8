//! The session layer: a [`connection`] and its commands.
//!
//! - [`table`]: the authenticated connections on this node. `pending`: commands that wait for execution.
//! - `connect`, `subscribe`, `queries`: the commands' handlers. `start`: the state that a subscription starts with.
//! - `reauthorise`: re-authorises a connection. `lifetime`: the remaining time of tokens.

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
