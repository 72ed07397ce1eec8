//! A minimal parser of a socket's bytes: boundaries of frames and messages, and a publication's channel and offset. All
//! subscribers get the same bytes; a full parse for each of a thousand would measure this tool instead of the server.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::wire::Codec;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;

/// Bytes that violate the WebSocket protocol or the client protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

/// A frame from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A data frame with messages.
    Data(&'a [u8]),
    /// A close frame with its code.
    Close(Option<u16>),
    /// A control frame that needs no reply: the servers' pings are messages, not control frames.
    Other,
}

/// The first frame in `bytes` and its length; `None` if it is incomplete.
///
/// # Errors
/// The bytes are not a frame, or a fragmented one, which none of the servers sends.
pub fn frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Garbled> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (length, header): (usize, usize) = match (*second, rest) {
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [..]) if rest.len() >= 8 => {
            let length = rest.first_chunk().map_or(0, |length| u64::from_be_bytes(*length));
            (usize::try_from(length).map_err(|_| Garbled)?, 10)
        }
        (126 | 127, _) => return Ok(None),
        (length @ 0..126, _) => (usize::from(length), 2),
        _ => return Err(Garbled),
    };
    let end = header.checked_add(length).ok_or(Garbled)?;
    let Some(payload) = bytes.get(header..end) else {
        return Ok(None);
    };
    let frame = match (first & 0x80 != 0, first & 0x7F) {
        (true, TEXT | BINARY) => Frame::Data(payload),
        (true, CLOSE) => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
        (false, _) | (true, CONTINUATION) => return Err(Garbled),
        _ => Frame::Other,
    };
    Ok(Some((frame, end)))
}

/// A frame as a client sends it. The mask is zero: masking protects proxies, and there is none here.
#[must_use]
pub fn masked(codec: Codec, payload: &[u8]) -> Vec<u8> {
    let opcode = if codec == Codec::Json { TEXT } else { BINARY };
    let mut out = Vec::with_capacity(payload.len() + 14);
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 0x7E);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 0x7F);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// A message of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The server's ping.
    Ping,
    /// A publication; its offset is 0 if it is not stored in the log.
    Publication {
        /// The channel's name.
        channel: &'a [u8],
        /// Sequence number in the gym's log.
        offset: u64,
        /// The event, unparsed.
        data: &'a [u8],
    },
    /// Another push, such as the end of a subscription or a join.
    Push(&'a [u8]),
    /// A reply to a command.
    Reply {
        /// The command's id.
        id: u32,
        /// Whether it was accepted.
        accepted: bool,
    },
}

/// Calls `each` for every message of a frame.
///
/// # Errors
/// The frame contains something else.
pub fn messages(codec: Codec, frame: &[u8], mut each: impl FnMut(Message<'_>)) -> Result<(), Garbled> {
    match codec {
        Codec::Json => {
            for line in frame.split(|byte| *byte == b'\n') {
                each(line_message(line).ok_or(Garbled)?);
            }
        }
        Codec::Protobuf => {
            let mut rest = frame;
            while !rest.is_empty() {
                let length = usize::try_from(varint(&mut rest).ok_or(Garbled)?).map_err(|_| Garbled)?;
                let (message, after) = rest.split_at_checked(length).ok_or(Garbled)?;
                rest = after;
                each(binary_message(message).ok_or(Garbled)?);
            }
        }
    }
    Ok(())
}

/// Parses a line of JSON. The server writes a publication's channel first and its offset last; a reply starts with its
/// id.
fn line_message(line: &[u8]) -> Option<Message<'_>> {
    if line == b"{}" {
        return Some(Message::Ping);
    }
    if let Some(push) = line.strip_prefix(br#"{"push":{"channel":""#) {
        let end = push.iter().position(|byte| *byte == b'"')?;
        let (channel, rest) = (&push[..end], &push[end..]);
        let Some(publication) = rest.strip_prefix(br#"","pub":{"data":"#) else {
            return Some(Message::Push(line));
        };
        let inner = publication.strip_suffix(b"}}}")?;
        let digits = inner.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (data, offset) = inner.split_at(inner.len() - digits);
        return Some(match data.strip_suffix(br#","offset":"#) {
            Some(data) => Message::Publication {
                channel,
                offset: std::str::from_utf8(offset).ok()?.parse().ok()?,
                data,
            },
            None => Message::Publication {
                channel,
                offset: 0,
                data: inner,
            },
        });
    }
    let reply = line.strip_prefix(br#"{"id":"#)?;
    let digits = reply.iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some(Message::Reply {
        id: std::str::from_utf8(&reply[..digits]).ok()?.parse().ok()?,
        accepted: !reply[digits..].starts_with(br#","error""#),
    })
}

fn binary_message(message: &[u8]) -> Option<Message<'_>> {
    if message.is_empty() {
        return Some(Message::Ping);
    }
    let (mut id, mut error, mut push) = (0, false, None);
    fields(message, |number, value| match (number, value) {
        (1, Field::Number(n)) => id = n,
        (2, _) => error = true,
        (4, Field::Bytes(bytes)) => push = Some(bytes),
        _ => {}
    })?;
    let Some(push) = push else {
        return Some(Message::Reply {
            id: u32::try_from(id).ok()?,
            accepted: !error,
        });
    };
    let (mut channel, mut publication): (&[u8], Option<&[u8]>) = (&[], None);
    fields(push, |number, value| match (number, value) {
        (2, Field::Bytes(bytes)) => channel = bytes,
        (4, Field::Bytes(bytes)) => publication = Some(bytes),
        _ => {}
    })?;
    let Some(publication) = publication else {
        return Some(Message::Push(push));
    };
    let (mut data, mut offset): (&[u8], u64) = (&[], 0);
    fields(publication, |number, value| match (number, value) {
        (4, Field::Bytes(bytes)) => data = bytes,
        (6, Field::Number(n)) => offset = n,
        _ => {}
    })?;
    Some(Message::Publication { channel, offset, data })
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Calls `each` for every field of a Protobuf message.
fn fields<'a>(mut bytes: &'a [u8], mut each: impl FnMut(u64, Field<'a>)) -> Option<()> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            0 => each(tag >> 3, Field::Number(varint(&mut bytes)?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (field, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                each(tag >> 3, Field::Bytes(field));
            }
            _ => return None,
        }
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7F) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The time of an event's change, in nanoseconds since 1970, from its field `at`, which is near its start.
#[must_use]
pub fn begun(event: &[u8]) -> Option<u64> {
    const FIELD: &[u8] = br#""at":""#;
    let head = &event[..event.len().min(256)];
    let from = head.windows(FIELD.len()).position(|window| window == FIELD)? + FIELD.len();
    let text = head[from..].split(|byte| *byte == b'"').next()?;
    let at = chrono::DateTime::parse_from_rfc3339(std::str::from_utf8(text).ok()?).ok()?;
    u64::try_from(at.timestamp_nanos_opt()?).ok()
}

/// The current time, in nanoseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame as product;
    use crate::wire::{Answer, ErrorReply, Event, Publication, Push, Reply, RpcResult, Unsubscribed};

    const EVENT: &str = r#"{"v":1,"type":"meal.updated","id":"x","at":"2026-11-24T08:00:00.25Z","patch":{"offset":7}}"#;

    fn push(event: Event) -> Reply {
        Reply::push(Push {
            channel: "plan:x".into(),
            event: Some(event),
        })
    }

    fn publication(offset: u64) -> Reply {
        let data = EVENT.into();
        push(Event::Publication(Publication { data, offset }))
    }

    /// Parses the server's own encoding of these replies, sent in one frame.
    fn read(codec: Codec, replies: &[Reply]) -> Vec<String> {
        let encoded: Vec<_> = replies.iter().map(|r| codec.encode(r).expect("encoded")).collect();
        let joined = match codec {
            Codec::Json => encoded.join(&b'\n'),
            Codec::Protobuf => encoded.concat(),
        };
        let bytes = product::message(codec, &joined);
        let (Frame::Data(payload), length) = frame(&bytes).expect("a frame").expect("whole") else {
            panic!("not data");
        };
        assert_eq!(length, bytes.len());
        let mut read = Vec::new();
        messages(codec, payload, |message| {
            read.push(match message {
                Message::Ping => "ping".into(),
                Message::Publication { channel, offset, data } => {
                    format!("{} {offset} {:?}", String::from_utf8_lossy(channel), begun(data))
                }
                Message::Push(_) => "push".into(),
                Message::Reply { id, accepted } => format!("{id} {accepted}"),
            });
        })
        .expect("messages");
        read
    }

    #[test]
    fn the_servers_own_messages_are_parsed_in_both_codecs() {
        let error = ErrorReply {
            code: 103,
            message: "no".into(),
            temporary: false,
        };
        let unsubscribed = Unsubscribed {
            code: 2500,
            reason: "behind".into(),
        };
        let replies = [
            publication(7),
            publication(0),
            Reply::to(3, Answer::Rpc(RpcResult { data: "{}".into() })),
            Reply::to(4, Answer::Error(error)),
            push(Event::Unsubscribe(unsubscribed)),
            publication(u64::MAX),
        ];
        let at = "Some(1795507200250000000)";
        for codec in Codec::ALL {
            assert_eq!(
                read(codec, &replies),
                [
                    format!("plan:x 7 {at}"),
                    format!("plan:x 0 {at}"),
                    "3 true".into(),
                    "4 false".into(),
                    "push".into(),
                    format!("plan:x {} {at}", u64::MAX),
                ],
                "{codec:?}"
            );
            let mut pings = 0;
            messages(codec, codec.ping(), |m| pings += u8::from(m == Message::Ping)).expect("a ping");
            assert_eq!(pings, 1);
        }
    }

    #[test]
    fn an_incomplete_frame_is_not_an_error() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let bytes = product::text(&vec![b'x'; length]);
            let (found, end) = frame(&bytes).expect("a frame").expect("whole");
            assert_eq!((found, end), (Frame::Data(&vec![b'x'; length][..]), bytes.len()));
            for cut in [0, 1, 2, 3, 9, bytes.len() - 1] {
                if cut < bytes.len() {
                    assert_eq!(frame(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
                }
            }
        }
        assert_eq!(
            frame(&product::close_answer(Some(3008))),
            Ok(Some((Frame::Close(Some(3008)), 4)))
        );
        assert_eq!(frame(&[0x81, 0x85, 0, 0, 0, 0]), Err(Garbled), "a server must not mask");
        assert_eq!(frame(&[0x01, 0x01, b'x']), Err(Garbled), "a fragment");
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        for (codec, bytes) in [(Codec::Json, &b"hello"[..]), (Codec::Protobuf, &[9, 1][..])] {
            assert_eq!(messages(codec, bytes, |_| {}), Err(Garbled));
        }
    }
}
