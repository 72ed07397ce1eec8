//! Commands in Protobuf, byte for byte as the SDKs frame them.

use std::collections::BTreeMap;

use super::super::commands::{SendRequest, StreamPosition};
use super::super::*;
use super::hex;

fn commands(bytes: &str) -> Vec<Command> {
    Codec::Protobuf.decode(&hex(bytes)).expect("commands")
}

fn command(id: u32) -> Command {
    Command {
        id,
        ..Command::default()
    }
}

#[test]
fn the_connect_of_the_python_sdk_is_decoded() {
    let connect = ConnectRequest {
        name: "python".into(),
        ..ConnectRequest::default()
    };
    let expected = Command {
        connect: Some(connect),
        ..command(1)
    };
    assert_eq!(commands("0c 0801 2208 2206 707974686f6e"), [expected]);
}

#[test]
fn the_connect_of_the_dart_swift_and_java_sdks_is_decoded() {
    // token "t", data "{}", name "dart", version "0.1", headers {"a":"b"}, flag 1: unused fields are skipped.
    let bytes = "20 0801 221c 0a0174 12027b7d 220464617274 2a03302e31 3206 0a0161 120162 3801";
    let expected = ConnectRequest {
        token: "t".into(),
        name: "dart".into(),
        version: "0.1".into(),
        subs: BTreeMap::new(),
    };
    assert_eq!(commands(bytes)[0].connect.as_ref(), Some(&expected));
}

#[test]
fn a_reconnect_carries_the_positions_of_server_side_subscriptions() {
    // subs {"#42": {recover, epoch "e1", offset 300}}
    let bytes = "18 0802 2214 1a12 0a03233432 120b 1801 32026531 38ac02 7002";
    let connect = commands(bytes)[0].connect.clone().expect("a connect");
    let position = &connect.subs["#42"];
    assert_eq!((position.recover, &*position.epoch, position.offset), (true, "e1", 300));
    assert!(position.rejects_unrecovered());
}

#[test]
fn the_commands_of_one_frame_are_decoded_in_order() {
    // connect named "swift" with version "1", subscribe to "room", subscribe to "c" with recovery from offset 7, a pong
    let got =
        commands("0e 0801 220a 22057377696674 2a0131  0a 0802 2a06 0a04726f6f6d  0b 0803 2a07 0a0163 1801 3807  00");
    let name = &got[0].connect.as_ref().expect("a connect").name;
    let first = got[1].subscribe.as_ref().expect("a subscribe");
    let second = got[2].subscribe.as_ref().expect("a subscribe");
    assert_eq!((got[0].id, name.as_str()), (1, "swift"));
    assert_eq!((got[1].id, first.channel.as_str(), first.recover), (2, "room", false));
    assert_eq!((second.channel.as_str(), second.recover, second.offset), ("c", true, 7));
    assert!(got[3].is_pong());
}

#[test]
fn every_method_has_its_field_number() {
    let channel = || ChannelRequest { channel: "c".into() };
    let cases: Vec<(&str, Command)> = vec![
        (
            "15 0802 2a11 0a0163 120174 1801 320165 3807 5001 7002",
            Command {
                subscribe: Some(SubscribeRequest {
                    channel: "c".into(),
                    token: "t".into(),
                    recover: true,
                    epoch: "e".into(),
                    offset: 7,
                    flag: 2,
                }),
                ..command(2)
            },
        ),
        (
            "07 0803 3203 0a0163",
            Command {
                unsubscribe: Some(channel()),
                ..command(3)
            },
        ),
        (
            "0b 0804 3a07 0a0163 12027b7d",
            Command {
                publish: Some(PublishRequest {
                    channel: "c".into(),
                    data: "{}".into(),
                }),
                ..command(4)
            },
        ),
        (
            "07 0805 4203 0a0163",
            Command {
                presence: Some(channel()),
                ..command(5)
            },
        ),
        (
            "07 0806 4a03 0a0163",
            Command {
                presence_stats: Some(channel()),
                ..command(6)
            },
        ),
        (
            // A limit of -1 is a varint of ten bytes.
            "1b 0807 5217 0a0163 38ffffffffffffffffff01 4205 0802120165 4801",
            Command {
                history: Some(HistoryRequest {
                    channel: "c".into(),
                    limit: -1,
                    since: Some(StreamPosition {
                        offset: 2,
                        epoch: "e".into(),
                    }),
                    reverse: true,
                }),
                ..command(7)
            },
        ),
        (
            "06 6204 0a027b7d",
            Command {
                send: Some(SendRequest {}),
                ..command(0)
            },
        ),
        (
            "0b 0808 6a07 0a027b7d 12016d",
            Command {
                rpc: Some(RpcRequest {
                    data: "{}".into(),
                    method: "m".into(),
                }),
                ..command(8)
            },
        ),
        (
            "07 0809 7203 0a0174",
            Command {
                refresh: Some(RefreshRequest { token: "t".into() }),
                ..command(9)
            },
        ),
        (
            "0a 080a 7a06 0a0163 120174",
            Command {
                sub_refresh: Some(SubRefreshRequest {
                    channel: "c".into(),
                    token: "t".into(),
                }),
                ..command(10)
            },
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(commands(bytes), [expected], "{bytes}");
    }
}

#[test]
fn ping_and_pong_are_messages_of_length_zero() {
    assert_eq!(Codec::Protobuf.ping(), [0]);
    let got = commands("00");
    assert!(got.len() == 1 && got[0].is_pong());
    let got = commands("00 02 0805");
    assert!(got[0].is_pong() && got[1].id == 5 && !got[1].is_pong());
}

#[test]
fn a_frame_with_one_malformed_command_is_refused_as_a_whole() {
    // A length beyond the frame, a length of eleven bytes, a field cut short, text that is not UTF-8.
    for bytes in [
        "05 0801",
        "ffffffffffffffffffffff 00",
        "03 0801 2a",
        "06 0801 2202 220a",
        "07 0801 2203 0a01ff",
    ] {
        assert_eq!(Codec::Protobuf.decode(&hex(bytes)), Err(Undecodable), "{bytes}");
    }
    assert_eq!(Codec::Protobuf.decode(&hex("")), Ok(Vec::new()));
}
