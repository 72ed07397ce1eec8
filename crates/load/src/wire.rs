//! The client protocol's messages, taken from the server's code. Only this module depends on that code.

pub(crate) use liveplan_hub::protocol::{
    Answer, Codec, Command, ConnectRequest, Reply, RpcRequest, SubscribeRequest, SubscribeResult,
};

#[cfg(test)]
pub(crate) use liveplan_hub::{
    protocol::{Event, Publication, Push, RpcResult, Unsubscribed, errors::ErrorReply},
    ws::frame,
};
