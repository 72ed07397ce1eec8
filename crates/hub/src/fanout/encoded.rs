//! Messages of a channel, encoded once for all of its subscribers.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::protocol::{ClientInfo, Codec, Event, Publication, Push, Reply, Watcher};
use crate::ws::frame;

/// A message of a channel. It is encoded and framed at most once per codec, however many subscribers get it.
pub struct Encoded {
    push: Reply,
    offset: u64,
    frames: PerCodec,
}

/// Bytes per codec, made on first use.
#[derive(Default)]
struct PerCodec {
    json: OnceLock<Bytes>,
    protobuf: OnceLock<Bytes>,
}

impl PerCodec {
    fn get(&self, codec: Codec, make: impl FnOnce() -> Bytes) -> &Bytes {
        let cell = match codec {
            Codec::Json => &self.json,
            Codec::Protobuf => &self.protobuf,
        };
        cell.get_or_init(make)
    }
}

/// Several messages of one channel, in order, which go out in one write.
pub struct Bundle {
    messages: Vec<Encoded>,
    joined: PerCodec,
}

impl From<Encoded> for Bundle {
    fn from(message: Encoded) -> Self {
        Self::new(vec![message])
    }
}

impl Bundle {
    /// Creates a bundle of messages of one channel, in order.
    #[must_use]
    pub fn new(messages: Vec<Encoded>) -> Self {
        Self {
            messages,
            joined: PerCodec::default(),
        }
    }

    /// The messages, in order.
    #[must_use]
    pub fn messages(&self) -> &[Encoded] {
        &self.messages
    }

    /// Returns the offset of the last message if all messages are stored and above `last`. The bundle can then be
    /// written as a whole to a subscriber that has every message up to `last`.
    #[must_use]
    pub fn follows(&self, last: u64) -> Option<u64> {
        match self.messages.as_slice() {
            [one] if one.offset > last => Some(one.offset),
            [first, .., end] if first.offset > last => Some(end.offset),
            _ => None,
        }
    }

    /// Returns the frames of all messages for a codec, concatenated.
    pub fn frames(&self, codec: Codec) -> &Bytes {
        if let [one] = self.messages.as_slice() {
            return one.frame(codec);
        }
        self.joined.get(codec, || {
            let frames: Vec<&[u8]> = self.messages.iter().map(|m| m.frame(codec).as_ref()).collect();
            frames.concat().into()
        })
    }
}

impl Encoded {
    /// Creates a publication. Its offset is 0 if it is not stored.
    #[must_use]
    pub fn publication(channel: &str, payload: &Bytes, offset: u64) -> Self {
        let data = payload.clone();
        Self::new(channel, Event::Publication(Publication { data, offset }), offset)
    }

    /// Creates the join push of a new subscriber.
    #[must_use]
    pub fn join(channel: &str, who: &ClientInfo) -> Self {
        Self::new(
            channel,
            Event::Join(Watcher {
                info: Some(who.clone()),
            }),
            0,
        )
    }

    /// Creates the leave push of a former subscriber.
    #[must_use]
    pub fn leave(channel: &str, who: &ClientInfo) -> Self {
        Self::new(
            channel,
            Event::Leave(Watcher {
                info: Some(who.clone()),
            }),
            0,
        )
    }

    fn new(channel: &str, event: Event, offset: u64) -> Self {
        let push = Push {
            channel: channel.to_owned(),
            event: Some(event),
        };
        Self {
            push: Reply::push(push),
            offset,
            frames: PerCodec::default(),
        }
    }

    /// The message's number in the log; 0 if it is not stored.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the frame for a codec.
    pub fn frame(&self, codec: Codec) -> &Bytes {
        self.frames.get(codec, || framed(codec, &self.push))
    }
}

/// Encodes and frames a push. If encoding fails, which is a bug in the server, returns a ping, because every client can
/// handle one.
pub(crate) fn framed(codec: Codec, push: &Reply) -> Bytes {
    match codec.encode(push) {
        Ok(message) => frame::message(codec, &message),
        Err(error) => {
            tracing::error!(error.cause = ?error, "cannot encode a push");
            frame::message(codec, codec.ping())
        }
    }
}
