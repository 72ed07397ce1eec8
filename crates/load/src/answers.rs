//! Parses the server's replies while a socket is opened, in either codec.

use prost::Message as _;
use serde_json::Value;

use super::door::{Joined, Position};
use crate::wire::{self, Codec, Reply, SubscribeResult};

/// A reply to a command.
pub(super) enum Answer {
    /// Connected, with the server-side subscriptions.
    Connect(Vec<(String, Subscribed)>),
    Subscribe(Subscribed),
    Refused {
        code: u64,
        message: String,
    },
}

/// The result of a subscription.
pub(super) struct Subscribed {
    epoch: String,
    offset: u64,
    recovered: bool,
    replayed: Vec<u64>,
}

impl Subscribed {
    pub(super) fn joined(self, channel: String) -> Joined {
        Joined {
            position: Position {
                channel,
                epoch: self.epoch,
                offset: self.offset,
            },
            recovered: self.recovered,
            replayed: self.replayed,
        }
    }
}

impl From<&Value> for Subscribed {
    fn from(result: &Value) -> Self {
        let replayed = result["publications"].as_array().into_iter().flatten();
        Self {
            epoch: result["epoch"].as_str().unwrap_or_default().to_owned(),
            offset: result["offset"].as_u64().unwrap_or_default(),
            recovered: result["recovered"].as_bool().unwrap_or_default(),
            replayed: replayed.filter_map(|p| p["offset"].as_u64()).collect(),
        }
    }
}

impl From<SubscribeResult> for Subscribed {
    fn from(result: SubscribeResult) -> Self {
        Self {
            epoch: result.epoch.clone(),
            offset: result.offset,
            recovered: result.recovered,
            replayed: result.publications.iter().map(|p| p.offset).collect(),
        }
    }
}

/// The replies of a frame with their command ids. Other messages of the frame are skipped.
pub(super) fn of(codec: Codec, frame: &[u8]) -> anyhow::Result<Vec<(u64, Answer)>> {
    match codec {
        Codec::Json => frame
            .split(|byte| *byte == b'\n')
            .filter(|line| line.starts_with(br#"{"id":"#))
            .map(|line| Ok(of_json(&serde_json::from_slice(line)?)))
            .collect(),
        Codec::Protobuf => {
            let (mut rest, mut answers) = (frame, Vec::new());
            while !rest.is_empty() {
                let reply = Reply::decode_length_delimited(&mut rest)?;
                answers.extend(of_binary(reply));
            }
            Ok(answers)
        }
    }
}

fn of_json(reply: &Value) -> (u64, Answer) {
    let answer = match (reply.get("error"), reply.get("connect")) {
        (Some(error), _) => Answer::Refused {
            code: error["code"].as_u64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
        },
        (None, Some(connect)) => {
            let subs = connect["subs"].as_object().into_iter().flatten();
            Answer::Connect(subs.map(|(channel, s)| (channel.clone(), s.into())).collect())
        }
        (None, None) => Answer::Subscribe((&reply["subscribe"]).into()),
    };
    (reply["id"].as_u64().unwrap_or_default(), answer)
}

fn of_binary(reply: Reply) -> Option<(u64, Answer)> {
    let answer = match reply.answer? {
        wire::Answer::Error(error) => Answer::Refused {
            code: error.code.into(),
            message: error.message,
        },
        wire::Answer::Connect(connect) => {
            Answer::Connect(connect.subs.into_iter().map(|(c, s)| (c, s.into())).collect())
        }
        wire::Answer::Subscribe(result) => Answer::Subscribe(result.into()),
        _ => return None,
    };
    Some((reply.id.into(), answer))
}
