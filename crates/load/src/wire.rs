//! The client protocol's messages, as the server's own code has them. Only this module names that code.

pub(crate) use liveplan_hub::protocol::{
    Answer, Codec, Command, ConnectRequest, Reply, RpcRequest, SubscribeRequest, SubscribeResult,
};

#[cfg(test)]
pub(crate) use liveplan_hub::{
    protocol::{Event, Publication, Push, RpcResult, Unsubscribed, errors::ErrorReply},
    ws::frame,
};
