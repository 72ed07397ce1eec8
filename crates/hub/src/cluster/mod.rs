//! Other nodes: [`broker`] carries changes as [`wire`] messages, [`presence`] knows who is online anywhere.

pub mod broker;
pub mod client;
pub mod presence;
pub mod wire;
