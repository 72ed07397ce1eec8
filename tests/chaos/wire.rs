//! The client's side of the protocol in both codecs: the commands it sends and the messages it receives.

use std::collections::BTreeMap;

use bytes::Bytes;
use liveplan_hub::protocol::{
    Answer, Codec, Command, ConnectRequest, Event, Publication, Reply, RpcRequest, SubscribeRequest, SubscribeResult,
};
use prost::Message as _;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Message;

/// A client's position on a channel.
#[derive(Clone, Debug, Default)]
pub struct Position {
    pub epoch: String,
    pub offset: u64,
}

/// A command.
#[derive(Debug)]
pub enum Ask {
    Connect {
        token: String,
        subs: BTreeMap<String, Position>,
    },
    Subscribe {
        channel: String,
        from: Option<Position>,
    },
    Rpc {
        method: String,
        data: Value,
    },
}

/// An error reply.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: u64,
    pub temporary: bool,
    pub message: String,
}

/// The result of a subscribe.
#[derive(Debug)]
pub struct Started {
    pub recovered: bool,
    pub epoch: String,
    pub offset: u64,
    pub missed: Vec<(u64, Value)>,
    pub data: Value,
}

/// The result of a command.
#[derive(Debug)]
pub enum Answered {
    Connected(BTreeMap<String, Started>),
    Subscribed(Started),
    Called,
    Other,
}

/// A message from the server.
#[derive(Debug)]
pub enum Heard {
    Ping,
    Reply { id: u64, result: Result<Answered, Refusal> },
    Published { channel: String, offset: u64, data: Value },
    Unsubscribed { channel: String, code: u64 },
    Other,
}

/// Encodes commands into one frame.
pub fn commands(codec: Codec, asks: &[(u32, Ask)]) -> Message {
    match codec {
        Codec::Json => {
            let lines: Vec<String> = asks.iter().map(|(id, ask)| in_json(*id, ask).to_string()).collect();
            Message::text(lines.join("\n"))
        }
        Codec::Protobuf => {
            let all = asks
                .iter()
                .flat_map(|(id, ask)| in_protobuf(*id, ask).encode_length_delimited_to_vec());
            Message::binary(all.collect::<Vec<u8>>())
        }
    }
}

pub fn pong(codec: Codec) -> Message {
    match codec {
        Codec::Json => Message::text("{}"),
        Codec::Protobuf => Message::binary(vec![0]),
    }
}

fn in_json(id: u32, ask: &Ask) -> Value {
    let position = |from: &Position| json!({"recover": true, "epoch": from.epoch, "offset": from.offset});
    match ask {
        Ask::Connect { token, subs } => {
            let subs: Map<String, Value> = subs.iter().map(|(c, from)| (c.clone(), position(from))).collect();
            json!({"id": id, "connect": {"token": token, "subs": subs, "name": "chaos"}})
        }
        Ask::Subscribe { channel, from } => {
            let mut subscribe = from.as_ref().map_or_else(|| json!({}), position);
            subscribe["channel"] = json!(channel);
            json!({"id": id, "subscribe": subscribe})
        }
        Ask::Rpc { method, data } => json!({"id": id, "rpc": {"method": method, "data": data}}),
    }
}

fn in_protobuf(id: u32, ask: &Ask) -> Command {
    let position = |channel: &str, from: &Position| SubscribeRequest {
        channel: channel.to_owned(),
        recover: true,
        epoch: from.epoch.clone(),
        offset: from.offset,
        ..SubscribeRequest::default()
    };
    let mut command = Command {
        id,
        ..Command::default()
    };
    match ask {
        Ask::Connect { token, subs } => {
            command.connect = Some(ConnectRequest {
                token: token.clone(),
                subs: subs.iter().map(|(c, from)| (c.clone(), position("", from))).collect(),
                name: "chaos".into(),
                ..ConnectRequest::default()
            });
        }
        Ask::Subscribe { channel, from } => {
            command.subscribe = Some(match from {
                Some(from) => position(channel, from),
                None => SubscribeRequest {
                    channel: channel.clone(),
                    ..SubscribeRequest::default()
                },
            });
        }
        Ask::Rpc { method, data } => {
            command.rpc = Some(RpcRequest {
                data: Bytes::from(data.to_string()),
                method: method.clone(),
            });
        }
    }
    command
}

/// Decodes all messages of a frame; an error if the server must not send such a frame.
pub fn heard(codec: Codec, frame: Message) -> Result<Vec<Heard>, String> {
    match (codec, frame) {
        (Codec::Json, Message::Text(text)) => text.split('\n').map(of_json).collect(),
        (Codec::Protobuf, Message::Binary(mut bytes)) => {
            let mut all = Vec::new();
            while !bytes.is_empty() {
                let reply = Reply::decode_length_delimited(&mut bytes).map_err(|e| e.to_string())?;
                all.push(of_reply(reply)?);
            }
            Ok(all)
        }
        (_, Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(Vec::new()),
        (codec, frame) => Err(format!("a frame of the other codec than {codec:?}: {frame:?}")),
    }
}

fn of_json(line: &str) -> Result<Heard, String> {
    let message: Value = serde_json::from_str(line).map_err(|e| format!("{e}: {line}"))?;
    if message == json!({}) {
        return Ok(Heard::Ping);
    }
    if let Some(push) = message.get("push") {
        let channel = push["channel"].as_str().unwrap_or_default().to_owned();
        return Ok(if let Some(publication) = push.get("pub") {
            let (offset, data) = publication_of(publication);
            Heard::Published { channel, offset, data }
        } else if let Some(code) = push["unsubscribe"]["code"].as_u64() {
            Heard::Unsubscribed { channel, code }
        } else {
            Heard::Other
        });
    }
    let id = message["id"]
        .as_u64()
        .ok_or_else(|| format!("neither push nor reply: {line}"))?;
    let result = if let Some(error) = message.get("error") {
        Err(Refusal {
            code: error["code"].as_u64().unwrap_or_default(),
            temporary: error["temporary"] == true,
            message: error["message"].as_str().unwrap_or_default().to_owned(),
        })
    } else if let Some(connect) = message.get("connect") {
        let subs = connect["subs"].as_object().cloned().unwrap_or_default();
        Ok(Answered::Connected(
            subs.iter().map(|(c, s)| (c.clone(), started(s))).collect(),
        ))
    } else if let Some(subscribe) = message.get("subscribe") {
        Ok(Answered::Subscribed(started(subscribe)))
    } else if message.get("rpc").is_some() {
        Ok(Answered::Called)
    } else {
        Ok(Answered::Other)
    };
    Ok(Heard::Reply { id, result })
}

fn publication_of(publication: &Value) -> (u64, Value) {
    let offset = publication["offset"].as_u64().unwrap_or_default();
    (offset, publication["data"].clone())
}

fn started(result: &Value) -> Started {
    let missed = result["publications"].as_array().into_iter().flatten();
    Started {
        recovered: result["recovered"] == true,
        epoch: result["epoch"].as_str().unwrap_or_default().to_owned(),
        offset: result["offset"].as_u64().unwrap_or_default(),
        missed: missed.map(publication_of).collect(),
        data: result["data"].clone(),
    }
}

fn of_reply(reply: Reply) -> Result<Heard, String> {
    if reply == Reply::default() {
        return Ok(Heard::Ping);
    }
    let id = u64::from(reply.id);
    let result = match reply.answer {
        Some(Answer::Push(push)) => {
            let channel = push.channel;
            return Ok(match push.event {
                Some(Event::Publication(publication)) => {
                    let (offset, data) = opened(&publication)?;
                    Heard::Published { channel, offset, data }
                }
                Some(Event::Unsubscribe(end)) => Heard::Unsubscribed {
                    channel,
                    code: end.code.into(),
                },
                _ => Heard::Other,
            });
        }
        Some(Answer::Error(error)) => Err(Refusal {
            code: error.code.into(),
            temporary: error.temporary,
            message: error.message,
        }),
        Some(Answer::Connect(result)) => {
            let subs = result.subs.into_iter().map(|(c, s)| Ok((c, begun(s)?)));
            Ok(Answered::Connected(subs.collect::<Result<_, String>>()?))
        }
        Some(Answer::Subscribe(result)) => Ok(Answered::Subscribed(begun(result)?)),
        Some(Answer::Rpc(_)) => Ok(Answered::Called),
        _ => Ok(Answered::Other),
    };
    Ok(Heard::Reply { id, result })
}

fn opened(publication: &Publication) -> Result<(u64, Value), String> {
    let data = serde_json::from_slice(&publication.data).map_err(|e| e.to_string())?;
    Ok((publication.offset, data))
}

fn begun(result: SubscribeResult) -> Result<Started, String> {
    let data = match &result.data[..] {
        [] => Value::Null,
        data => serde_json::from_slice(data).map_err(|e| e.to_string())?,
    };
    Ok(Started {
        recovered: result.recovered,
        epoch: result.epoch,
        offset: result.offset,
        missed: result.publications.iter().map(opened).collect::<Result<_, _>>()?,
        data,
    })
}
