//! The decoder on valid input and on invalid input.

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

/// Decodes the bytes; returns the messages, and the close code if decoding failed.
fn read(limit: usize, bytes: &[u8]) -> (Vec<Message>, Option<Close>) {
    let mut decoder = Decoder::new(limit);
    decoder.feed(Bytes::copy_from_slice(bytes));
    let mut messages = Vec::new();
    loop {
        match decoder.message() {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(close) => {
                assert_eq!(decoder.message(), Ok(None), "the error is returned once");
                return (messages, Some(close));
            }
        }
    }
}

fn text(text: &'static str) -> Message {
    Message::Text(text.into())
}

#[test]
fn a_message_may_be_fragmented_with_a_ping_in_between() {
    // The two bytes of one character are in different fragments.
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
fn messages_before_a_protocol_error_are_still_read() {
    let bytes = [frame(FIN | 0x1, b"first"), frame(FIN | 0x3, b"")].concat();
    assert_eq!(read(100, &bytes), (vec![text("first")], Some(Close::Protocol)));
}

#[test]
fn every_protocol_error_closes_with_1002() {
    let mut unmasked = frame(FIN | 0x1, b"");
    unmasked[1] &= 0x7F;
    let cases: Vec<Vec<u8>> = vec![
        frame(FIN | 0x40 | 0x1, b""),
        frame(FIN | 0x10 | 0x9, b""),
        frame(FIN | 0x3, b""),
        frame(FIN | 0xB, b""),
        unmasked,
        // Control frames that are too long or fragmented.
        frame(FIN | 0x9, &[0; 126]),
        frame(0x9, b""),
        frame(0x8, b""),
        // A continuation without a start, and a start within a message.
        frame(FIN, b""),
        frame(0x0, b""),
        [frame(0x1, b"a"), frame(FIN | 0x1, b"b")].concat(),
        [frame(0x2, b"a"), frame(0x2, b"b")].concat(),
        // Lengths that are not in their shortest form, or have the highest bit set.
        vec![FIN | 0x1, 0xFE, 0, 125, 0, 0, 0, 0],
        vec![FIN | 0x1, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0],
        vec![FIN | 0x1, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // Closes with half a code, or with a code that must not be sent.
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
fn text_that_is_not_utf8_closes_with_1007_as_soon_as_its_frame_is_complete() {
    for bytes in [
        frame(FIN | 0x1, b"\xff"),
        frame(0x1, b"a\xffb"),
        // A truncated character at the end, a surrogate, an overlong form.
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
fn a_declared_length_over_the_limit_is_refused_before_its_bytes_arrive() {
    let mut bytes = vec![FIN | 0x1, 0xFF];
    bytes.extend_from_slice(&(300_u64 << 20).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    assert_eq!(read(65536, &bytes), (vec![], Some(Close::TooBig)));
    let fragments = [frame(0x1, b"12345"), frame(FIN, b"67890")].concat();
    assert_eq!(read(9, &fragments), (vec![], Some(Close::TooBig)));
    assert_eq!(read(10, &fragments), (vec![text("1234567890")], None));
}

#[test]
fn a_close_is_read_with_its_code() {
    assert_eq!(read(100, &frame(FIN | 0x8, b"")).0, [Message::Close(None)]);
    for code in [1000, 1001, 1003, 1007, 1011, 3000, 4999] {
        let bytes = frame(FIN | 0x8, &[&u16::to_be_bytes(code)[..], "adiós".as_bytes()].concat());
        assert_eq!(read(100, &bytes).0, [Message::Close(Some(code))]);
    }
}

proptest! {
    #[test]
    fn messages_survive_any_fragmentation_and_any_split_of_the_stream(
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
            while let Some(message) = decoder.message().expect("valid input") {
                got.push(message);
            }
            (rest, turn) = (tail, turn + 1);
        }
        let sent: Vec<Message> = messages.into_iter().map(|(m, _)| Message::Binary(m.into())).collect();
        prop_assert_eq!(got, sent);
    }

    /// Sequences of frames, valid and invalid.
    #[test]
    fn any_split_of_the_stream_decodes_to_the_same(
        frames in prop::collection::vec((any::<u8>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..12),
        known in prop::collection::vec(prop::sample::select(vec![0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A]), 12),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let mut stream = Vec::new();
        for (n, (first, wild, payload)) in frames.iter().enumerate() {
            // Mostly first bytes that a client may send, so that decoding gets beyond the first frame.
            stream.extend(frame(if *wild { *first } else { known[n] }, payload));
        }
        let whole = read(500, &stream);
        let mut decoder = Decoder::new(500);
        let (mut got, mut refused, mut rest, mut turn) = (Vec::new(), None, stream.as_slice(), 0);
        while !rest.is_empty() && refused.is_none() {
            let (head, tail) = rest.split_at(cuts[turn % cuts.len()].min(rest.len()));
            decoder.feed(Bytes::copy_from_slice(head));
            loop {
                match decoder.message() {
                    Ok(Some(message)) => got.push(message),
                    Ok(None) => break,
                    Err(close) => {
                        refused = Some(close);
                        break;
                    }
                }
            }
            (rest, turn) = (tail, turn + 1);
        }
        prop_assert_eq!((got, refused), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_buffer_at_most_one_message(
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
