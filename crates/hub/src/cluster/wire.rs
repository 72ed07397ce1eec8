//! The binary messages between nodes. A message has a version byte, the sending node, a kind byte, and then either a
//! committed change (log, number, epoch, and each event's channel and payload) or a probe's number. Numbers and lengths
//! are big-endian. Every message travels sealed: see [`keyring`](super::keyring).

use bytes::{Buf, BufMut as _, Bytes};
use uuid::Uuid;

use crate::ids::LogId;
use crate::log::change::{Committed, LoggedEvent};

const VERSION: u8 = 2;
const CHANGE: u8 = 0;
const PROBE: u8 = 1;

/// A message between nodes.
#[derive(Debug, PartialEq, Eq)]
pub enum NodeMessage {
    /// A change that the sending node has committed.
    Change(Committed),
    /// A probe, by which a node checks that it receives its own messages.
    Probe(u64),
}

/// Encodes a change.
#[must_use]
pub fn encode(node: Uuid, change: &Committed) -> Vec<u8> {
    let payloads: usize = change
        .events
        .iter()
        .map(|e| e.payload.len() + e.channel.len() + 6)
        .sum();
    let mut out = Vec::with_capacity(64 + payloads);
    begin(&mut out, node, CHANGE);
    out.put_slice(change.log.0.as_bytes());
    out.put_u64(change.seq);
    put(&mut out, change.epoch.as_bytes());
    out.put_u32(u32::try_from(change.events.len()).unwrap_or(u32::MAX));
    for event in &change.events {
        put(&mut out, event.channel.as_bytes());
        put(&mut out, &event.payload);
    }
    out
}

/// Encodes a probe.
#[must_use]
pub fn encode_probe(node: Uuid, number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(26);
    begin(&mut out, node, PROBE);
    out.put_u64(number);
    out
}

/// Decodes a message and its sender. Returns `None` for another version or a malformed message.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<(Uuid, NodeMessage)> {
    let mut rest = bytes;
    if rest.try_get_u8().ok()? != VERSION {
        return None;
    }
    let node = uuid(&mut rest)?;
    let message = match rest.try_get_u8().ok()? {
        CHANGE => NodeMessage::Change(change(&mut rest)?),
        PROBE => NodeMessage::Probe(rest.try_get_u64().ok()?),
        _ => return None,
    };
    rest.is_empty().then_some((node, message))
}

fn change(rest: &mut &[u8]) -> Option<Committed> {
    let log = LogId(uuid(rest)?);
    let seq = rest.try_get_u64().ok()?;
    let epoch = text(rest)?.into();
    let count = rest.try_get_u32().ok()?;
    let mut events = Vec::new();
    for _ in 0..count {
        let channel = text(rest)?.into();
        let payload = Bytes::copy_from_slice(take(rest)?);
        std::str::from_utf8(&payload).ok()?;
        events.push(LoggedEvent { channel, payload });
    }
    Some(Committed {
        log,
        epoch,
        seq,
        events,
        committed_at: None,
        more_soon: false,
    })
}

fn begin(out: &mut Vec<u8>, node: Uuid, kind: u8) {
    out.put_u8(VERSION);
    out.put_slice(node.as_bytes());
    out.put_u8(kind);
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(rest.try_get_u32().ok()?).ok()?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take(rest)?).ok()
}

fn uuid(rest: &mut &[u8]) -> Option<Uuid> {
    let (head, tail) = rest.split_at_checked(16)?;
    *rest = tail;
    Uuid::from_slice(head).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_survive_a_round_trip(
            seq: u64,
            epoch in "[a-f0-9]{0,8}",
            events in prop::collection::vec(("[a-z:-]{1,50}", ".{0,200}"), 0..5),
        ) {
            let events = events
                .into_iter()
                .map(|(channel, payload)| LoggedEvent { channel: channel.into(), payload: payload.into() })
                .collect();
            let change = Committed { log: LogId::random(), epoch: epoch.into(), seq, events, committed_at: None, more_soon: false };
            let node = Uuid::new_v4();
            for (sent, said) in [
                (encode(node, &change), NodeMessage::Change(change)),
                (encode_probe(node, seq), NodeMessage::Probe(seq)),
            ] {
                prop_assert_eq!(decode(&sent), Some((node, said)));
                for cut in 0..sent.len() {
                    prop_assert_eq!(decode(&sent[..cut]), None);
                }
            }
        }

        #[test]
        fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
