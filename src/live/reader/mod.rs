//! WebSocket messages from a client's byte stream (RFC 6455 §5). A frame is refused by its header, before its payload is
//! buffered, so that a client which declares a big one costs nothing.

mod header;

use actix_web::error::PayloadError;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use super::pace::Pace;
use super::protocol::close::Close;
use header::{Header, Kind, Opcode, closing, header, unmask};

/// Payload bytes of a control frame (§5.5).
const CONTROL_BYTES: u64 = 125;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A whole text message; it is UTF-8.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// To be answered with a pong of the same bytes.
    Ping(Bytes),
    /// An answer to a ping of ours; we send none.
    Pong,
    /// The client closes, with a code where it gave one.
    Close(Option<u16>),
}

/// What a reader comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A message.
    Message(Message),
    /// The client broke the protocol or sends too fast; what else it sends is thrown away.
    Failed(Close),
    /// There is nothing more.
    Ended,
}

/// Reads messages from a stream of bytes.
pub struct Reader<S> {
    stream: S,
    decoder: Decoder,
    pace: Option<Pace>,
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Reader<S> {
    /// A reader of messages of at most `limit` bytes.
    pub fn new(stream: S, limit: usize) -> Self {
        Self {
            stream,
            decoder: Decoder::new(limit),
            pace: None,
        }
    }

    /// The same, of a client that may not send bytes faster than this.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self {
            pace: Some(pace),
            ..self
        }
    }

    /// The next message. It may be dropped while it waits and called again.
    pub async fn next(&mut self) -> Next {
        loop {
            match self.decoder.message() {
                Ok(Some(message)) => return Next::Message(message),
                Ok(None) => {}
                Err(close) => return Next::Failed(close),
            }
            match self.stream.next().await {
                Some(Ok(bytes)) => {
                    let listens = !self.decoder.failed;
                    if listens && self.pace.as_mut().is_some_and(|pace| !pace.take(bytes.len())) {
                        self.decoder.fail();
                        return Next::Failed(Close::TooManyRequests);
                    }
                    self.decoder.feed(bytes);
                }
                Some(Err(_)) | None => return Next::Ended,
            }
        }
    }
}

/// A message of which more frames are to come.
struct Fragments {
    kind: Kind,
    bytes: BytesMut,
    /// Of a text, how many bytes are known to be UTF-8.
    checked: usize,
}

/// Turns bytes into messages.
pub struct Decoder {
    buffer: BytesMut,
    limit: usize,
    fragments: Option<Fragments>,
    failed: bool,
}

impl Decoder {
    /// A decoder of messages of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            limit,
            fragments: None,
            failed: false,
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: Bytes) {
        if self.failed {
            return;
        }
        if self.buffer.is_empty() {
            // Without a copy where nobody else holds them.
            self.buffer = BytesMut::from(bytes);
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// The next message, once its bytes are there.
    ///
    /// # Errors
    /// How to close on a client that broke the protocol; after it, everything is thrown away.
    pub fn message(&mut self) -> Result<Option<Message>, Close> {
        if self.failed {
            return Ok(None);
        }
        let next = self.decode();
        if next.is_err() {
            self.fail();
        } else if self.buffer.is_empty() {
            // An empty buffer would keep the memory that it was cut from.
            self.buffer = BytesMut::new();
        }
        next
    }

    /// Nothing more is listened to.
    fn fail(&mut self) {
        self.failed = true;
        self.fragments = None;
        self.buffer = BytesMut::new();
    }

    fn decode(&mut self) -> Result<Option<Message>, Close> {
        while let Some(header) = header(&self.buffer)? {
            let length = self.acceptable(&header)?;
            if self.buffer.len() < header.bytes + length {
                self.buffer.reserve(header.bytes + length - self.buffer.len());
                return Ok(None);
            }
            self.buffer.advance(header.bytes);
            let mut payload = self.buffer.split_to(length);
            unmask(&mut payload, header.mask);
            if let Some(message) = self.frame(&header, payload)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The length of a frame's payload, where the frame may come here and is not too long.
    fn acceptable(&self, header: &Header) -> Result<usize, Close> {
        let so_far = match (header.opcode, &self.fragments) {
            (Opcode::Continuation, Some(fragments)) => fragments.bytes.len(),
            (Opcode::First(_), None) => 0,
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if header.last && header.payload <= CONTROL_BYTES => 0,
            // A continuation of nothing, a beginning in the middle, a control frame that is long or in fragments.
            _ => return Err(Close::Protocol),
        };
        let length = usize::try_from(header.payload).map_err(|_| Close::TooBig)?;
        if length > self.limit.saturating_sub(so_far) {
            return Err(Close::TooBig);
        }
        Ok(length)
    }

    /// Takes a frame; a message where it completes one.
    fn frame(&mut self, header: &Header, payload: BytesMut) -> Result<Option<Message>, Close> {
        match header.opcode {
            Opcode::Ping => Ok(Some(Message::Ping(payload.freeze()))),
            Opcode::Pong => Ok(Some(Message::Pong)),
            Opcode::Close => closing(&payload).map(Some),
            Opcode::First(kind) => self.take(
                Fragments {
                    kind,
                    bytes: payload,
                    checked: 0,
                },
                header.last,
            ),
            Opcode::Continuation => match self.fragments.take() {
                Some(mut fragments) => {
                    fragments.bytes.unsplit(payload);
                    self.take(fragments, header.last)
                }
                None => Err(Close::Protocol),
            },
        }
    }

    fn take(&mut self, mut fragments: Fragments, last: bool) -> Result<Option<Message>, Close> {
        if fragments.kind == Kind::Text {
            fragments.check(last)?;
        }
        if !last {
            self.fragments = Some(fragments);
            return Ok(None);
        }
        let bytes = fragments.bytes.freeze();
        Ok(Some(match fragments.kind {
            Kind::Text => Message::Text(bytes),
            Kind::Binary => Message::Binary(bytes),
        }))
    }
}

impl Fragments {
    /// Checks that what has come is UTF-8. A character may be cut between frames, but not at the end.
    fn check(&mut self, last: bool) -> Result<(), Close> {
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !last => self.checked += error.valid_up_to(),
            Err(_) => return Err(Close::NotUtf8),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIN: u8 = 0x80;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x11, 0x22, 0x33, 0x44];
        let mut out = vec![first];
        match payload.len() {
            n @ 0..126 => out.push(0x80 | u8::try_from(n).expect("short")),
            n @ 126..65536 => {
                out.push(0xFE);
                out.extend_from_slice(&u16::try_from(n).expect("medium").to_be_bytes());
            }
            n => {
                out.push(0xFF);
                out.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        out
    }

    /// What comes of these bytes: the messages, and how it failed if it did.
    fn read(limit: usize, bytes: &[u8]) -> (Vec<Message>, Option<Close>) {
        let mut decoder = Decoder::new(limit);
        decoder.feed(Bytes::copy_from_slice(bytes));
        let mut messages = Vec::new();
        loop {
            match decoder.message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, None),
                Err(close) => {
                    assert_eq!(decoder.message(), Ok(None), "only told once");
                    return (messages, Some(close));
                }
            }
        }
    }

    fn text(text: &'static str) -> Message {
        Message::Text(text.into())
    }

    #[test]
    fn a_message_may_come_in_fragments_with_a_ping_between() {
        // The character is cut in two.
        let (head, tail) = "hé".as_bytes().split_at(2);
        let bytes = [
            frame(0x1, head),
            frame(FIN | 0x9, b"p"),
            frame(0x0, b""),
            frame(FIN, tail),
        ]
        .concat();
        assert_eq!(read(100, &bytes), (vec![Message::Ping("p".into()), text("hé")], None));
    }

    #[test]
    fn what_came_before_a_mistake_is_still_read() {
        let bytes = [frame(FIN | 0x1, b"first"), frame(FIN | 0x3, b"")].concat();
        assert_eq!(read(100, &bytes), (vec![text("first")], Some(Close::Protocol)));
    }

    #[test]
    fn every_break_of_the_protocol_is_1002() {
        let mut unmasked = frame(FIN | 0x1, b"");
        unmasked[1] &= 0x7F;
        let cases: Vec<Vec<u8>> = vec![
            frame(FIN | 0x40 | 0x1, b""),
            frame(FIN | 0x10 | 0x9, b""),
            frame(FIN | 0x3, b""),
            frame(FIN | 0xB, b""),
            unmasked,
            // Control frames: long, or in fragments.
            frame(FIN | 0x9, &[0; 126]),
            frame(0x9, b""),
            frame(0x8, b""),
            // A continuation of nothing, and a second beginning.
            frame(FIN, b""),
            frame(0x0, b""),
            [frame(0x1, b"a"), frame(FIN | 0x1, b"b")].concat(),
            [frame(0x2, b"a"), frame(0x2, b"b")].concat(),
            // Lengths that are not in their shortest form, or have the highest bit.
            vec![FIN | 0x1, 0xFE, 0, 125, 0, 0, 0, 0],
            vec![FIN | 0x1, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0],
            vec![FIN | 0x1, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            // Closes: half a code, and codes that nobody may send.
            frame(FIN | 0x8, b"\x03"),
            frame(FIN | 0x8, &999_u16.to_be_bytes()),
            frame(FIN | 0x8, &1005_u16.to_be_bytes()),
            frame(FIN | 0x8, &1006_u16.to_be_bytes()),
            frame(FIN | 0x8, &1015_u16.to_be_bytes()),
            frame(FIN | 0x8, &2000_u16.to_be_bytes()),
            frame(FIN | 0x8, &5000_u16.to_be_bytes()),
        ];
        for bytes in cases {
            assert_eq!(read(1000, &bytes), (vec![], Some(Close::Protocol)), "{bytes:x?}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_1007_as_soon_as_its_frame_is_there() {
        for bytes in [
            frame(FIN | 0x1, b"\xff"),
            frame(0x1, b"a\xffb"),
            // A character cut at the end, a surrogate, an overlong form.
            frame(FIN | 0x1, b"\xc3"),
            frame(FIN | 0x1, b"\xed\xa0\x80"),
            frame(FIN | 0x1, b"\xc0\xaf"),
            [frame(0x1, b"\xc3"), frame(FIN, b"(")].concat(),
            frame(FIN | 0x8, b"\x03\xe8\xff"),
        ] {
            assert_eq!(read(1000, &bytes), (vec![], Some(Close::NotUtf8)), "{bytes:x?}");
        }
        assert_eq!(
            read(10, &frame(FIN | 0x2, b"\xff")),
            (vec![Message::Binary(Bytes::from_static(b"\xff"))], None)
        );
    }

    #[test]
    fn a_declared_length_is_refused_before_its_bytes_come() {
        let mut bytes = vec![FIN | 0x1, 0xFF];
        bytes.extend_from_slice(&(300_u64 << 20).to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        assert_eq!(read(65536, &bytes), (vec![], Some(Close::TooBig)));
        let fragments = [frame(0x1, b"12345"), frame(FIN, b"67890")].concat();
        assert_eq!(read(9, &fragments), (vec![], Some(Close::TooBig)));
        assert_eq!(read(10, &fragments), (vec![text("1234567890")], None));
    }

    #[test]
    fn a_close_brings_its_code() {
        assert_eq!(read(100, &frame(FIN | 0x8, b"")).0, [Message::Close(None)]);
        for code in [1000, 1001, 1003, 1007, 1011, 3000, 4999] {
            let bytes = frame(FIN | 0x8, &[&u16::to_be_bytes(code)[..], "adiós".as_bytes()].concat());
            assert_eq!(read(100, &bytes).0, [Message::Close(Some(code))]);
        }
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..70_000), 1_usize..5), 1..4),
            cuts in prop::collection::vec(1_usize..5000, 1..50),
        ) {
            let mut stream = Vec::new();
            for (message, fragments) in &messages {
                let parts: Vec<&[u8]> = message.chunks(message.len().div_ceil(*fragments).max(1)).collect();
                let parts = if parts.is_empty() { vec![&[][..]] } else { parts };
                for (n, part) in parts.iter().enumerate() {
                    let first = if n == 0 { 0x2 } else { 0x0 } | if n + 1 == parts.len() { FIN } else { 0 };
                    stream.extend(frame(first, part));
                }
            }
            let mut decoder = Decoder::new(70_000);
            let (mut got, mut rest, mut turn) = (Vec::new(), stream.as_slice(), 0);
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(cuts[turn % cuts.len()].min(rest.len()));
                decoder.feed(Bytes::copy_from_slice(head));
                while let Some(message) = decoder.message().expect("no mistake") {
                    got.push(message);
                }
                (rest, turn) = (tail, turn + 1);
            }
            let sent: Vec<Message> = messages.into_iter().map(|(m, _)| Message::Binary(m.into())).collect();
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_hold_more_than_a_message(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
        ) {
            let mut decoder = Decoder::new(50);
            for chunk in chunks {
                decoder.feed(chunk.into());
                while let Ok(Some(_)) = decoder.message() {}
                let held = decoder.fragments.as_ref().map_or(0, |f| f.bytes.len());
                prop_assert!(held <= 50 && decoder.buffer.len() <= 50 + 14);
            }
        }
    }
}
