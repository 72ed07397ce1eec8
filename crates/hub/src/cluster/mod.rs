//! The connection to other nodes: [`broker`] carries changes as [`wire`] messages, and [`presence`] tracks who is
//! online on any node.

pub mod broker;
pub mod client;
pub mod presence;
pub mod wire;
