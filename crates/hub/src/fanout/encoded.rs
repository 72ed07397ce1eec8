//! A message of a channel, as it goes to all who watch.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::protocol::{ClientInfo, Codec, Event, Publication, Push, Reply, Watcher};
use crate::ws::frame;

/// A message of a channel, encoded and framed at most once a codec, however many watch.
pub struct Encoded {
    push: Reply,
    offset: u64,
    frames: PerCodec,
}

/// Bytes for each codec, made when they are first needed.
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

/// Messages of one channel that came together, in order. They go out in one write.
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
    /// Messages of one channel, in order.
    #[must_use]
    pub fn new(messages: Vec<Encoded>) -> Self {
        Self {
            messages,
            joined: PerCodec::default(),
        }
    }

    /// The messages.
    #[must_use]
    pub fn messages(&self) -> &[Encoded] {
        &self.messages
    }

    /// The place of the last in the log's log, where all of them are stored and after `last`: such a bundle need not be
    /// taken apart.
    #[must_use]
    pub fn follows(&self, last: u64) -> Option<u64> {
        match self.messages.as_slice() {
            [one] if one.offset > last => Some(one.offset),
            [first, .., end] if first.offset > last => Some(end.offset),
            _ => None,
        }
    }

    /// The frames of all of them for a codec.
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
    /// A publication; offset 0 for one that is not stored.
    #[must_use]
    pub fn publication(channel: &str, payload: &Bytes, offset: u64) -> Self {
        let data = payload.clone();
        Self::new(channel, Event::Publication(Publication { data, offset }), offset)
    }

    /// Somebody began to watch.
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

    /// Somebody watches no more.
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

    /// Its place in the log's log; 0 where it is not stored.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The frame for a codec.
    pub fn frame(&self, codec: Codec) -> &Bytes {
        self.frames.get(codec, || framed(codec, &self.push))
    }
}

/// Encodes and frames a push. One that cannot be encoded would be a defect of ours; a ping, which clients answer, stands
/// in for it.
pub(crate) fn framed(codec: Codec, push: &Reply) -> Bytes {
    match codec.encode(push) {
        Ok(message) => frame::message(codec, &message),
        Err(error) => {
            tracing::error!(error.cause = ?error, "cannot encode a push");
            frame::message(codec, codec.ping())
        }
    }
}
