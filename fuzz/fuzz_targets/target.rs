//! The fuzz target: a client's bytes go through frames and messages to commands, as in a socket's reader. A violated
//! invariant panics.

use bytes::Bytes;
use liveplan_hub::protocol::Codec;
use liveplan_hub::protocol::close::Close;
use liveplan_hub::ws::reader::{Decoder, Message};

/// The bound on a message in bytes; small, so that inputs reach it.
pub const LIMIT: usize = 4096;

/// The result of a stream that arrives in parts: its messages, and the close code if it was refused.
fn read<'a>(parts: impl Iterator<Item = &'a [u8]>) -> (Vec<Message>, Option<Close>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut messages = Vec::new();
    for part in parts {
        decoder.feed(Bytes::copy_from_slice(part));
        loop {
            match decoder.message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(close) => {
                    assert_eq!(decoder.message(), Ok(None), "a refusal must be returned only once");
                    return (messages, Some(close));
                }
            }
        }
    }
    (messages, None)
}

/// Runs one input. Its first byte sets the size of the parts into which the rest is split.
pub fn run(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let whole = read(std::iter::once(stream));
    let parts = read(stream.chunks(usize::from(*cut) + 1));
    assert_eq!(whole, parts, "the result depends on how the bytes are split");
    let (messages, refused) = whole;
    if let Some(close) = refused {
        assert!([1002, 1007, 1009].contains(&close.code()), "{close:?}");
    }
    for message in messages {
        match message {
            Message::Text(text) => {
                assert!(text.len() <= LIMIT);
                assert!(std::str::from_utf8(&text).is_ok(), "a text message is not UTF-8");
                let _ = Codec::Json.decode(&text);
                let _ = Codec::Protobuf.decode(&text);
            }
            Message::Binary(bytes) => {
                assert!(bytes.len() <= LIMIT);
                let _ = Codec::Protobuf.decode(&bytes);
                let _ = Codec::Json.decode(&bytes);
            }
            Message::Ping(payload) => assert!(payload.len() <= 125),
            Message::Close(Some(code)) => assert!((1000..5000).contains(&code)),
            Message::Close(None) | Message::Pong => {}
        }
    }
}
