//! A message of a channel, as it goes to all who watch.

use std::cell::OnceCell;

use bytes::Bytes;

use super::frame;
use super::protocol::{ClientInfo, Codec, Event, Member, Publication, Push, Reply};

/// A message of a channel, encoded and framed at most once a codec, however many watch.
pub struct Encoded {
    push: Reply,
    offset: u64,
    json: OnceCell<Bytes>,
    protobuf: OnceCell<Bytes>,
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
            Event::Join(Member {
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
            Event::Leave(Member {
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
            json: OnceCell::new(),
            protobuf: OnceCell::new(),
        }
    }

    /// Its place in the gym's log; 0 where it is not stored.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The frame for a codec.
    pub fn frame(&self, codec: Codec) -> &Bytes {
        let cell = match codec {
            Codec::Json => &self.json,
            Codec::Protobuf => &self.protobuf,
        };
        cell.get_or_init(|| framed(codec, &self.push))
    }
}

/// Encodes and frames a push. One that cannot be encoded would be a defect of ours; a ping, which clients answer, stands
/// in for it.
pub(super) fn framed(codec: Codec, push: &Reply) -> Bytes {
    match codec.encode(push) {
        Ok(message) => frame::message(codec, &message),
        Err(error) => {
            tracing::error!(error.cause = ?error, "cannot encode a push");
            frame::message(codec, codec.ping())
        }
    }
}
