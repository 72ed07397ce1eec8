//! The bytes of both codecs, as the SDKs send and expect them.

mod commands;
mod json;
mod properties;
mod replies;

use super::*;

/// Parses hexadecimal bytes; spaces group them for the reader.
fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("hexadecimal")
        })
        .collect()
}

fn written(reply: &Reply) -> Bytes {
    Codec::Protobuf.encode(reply).expect("encoded").into()
}

fn text(reply: &Reply) -> String {
    String::from_utf8(Codec::Json.encode(reply).expect("encoded")).expect("UTF-8")
}

fn publication(data: &'static str, offset: u64) -> Reply {
    Reply::push(Push {
        channel: "room:x".into(),
        event: Some(Event::Publication(Publication {
            data: data.into(),
            offset,
        })),
    })
}

#[test]
fn both_codecs_pass_payloads_on_byte_for_byte() {
    const DATA: &str = r#"{"b":1.50,"a":"é", "c":1e2}"#;
    let rpc = Reply::to(3, Answer::Rpc(RpcResult { data: DATA.into() }));
    assert_eq!(text(&rpc), format!(r#"{{"id":3,"rpc":{{"data":{DATA}}}}}"#));
    assert_eq!(
        text(&publication(DATA, 9)),
        format!(r#"{{"push":{{"channel":"room:x","pub":{{"data":{DATA},"offset":9}}}}}}"#)
    );
    for reply in [rpc, publication(DATA, 9)] {
        let binary = written(&reply);
        assert!(binary.windows(DATA.len()).any(|w| w == DATA.as_bytes()));
    }
    let json = format!(r#"{{"id":1,"rpc":{{"method":"m","data":{DATA}}}}}"#);
    let got = Codec::Json.decode(&json.into()).expect("commands");
    assert_eq!(got[0].rpc.as_ref().expect("an rpc").data, DATA);
}
