//! The bytes of both codecs, as SDKs send and expect them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::commands::{SendRequest, StreamPosition};
use super::*;

/// Bytes written as hexadecimal with spaces between what belongs together.
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

fn commands(bytes: &str) -> Vec<Command> {
    Codec::Protobuf.decode(&hex(bytes)).expect("commands")
}

fn command(id: u32) -> Command {
    Command {
        id,
        ..Command::default()
    }
}

fn written(reply: &Reply) -> Bytes {
    Codec::Protobuf.encode(reply).expect("encoded").into()
}

fn text(reply: &Reply) -> String {
    String::from_utf8(Codec::Json.encode(reply).expect("encoded")).expect("UTF-8")
}

fn publication(data: &'static str, offset: u64) -> Reply {
    Reply::push(Push {
        channel: "plan:x".into(),
        event: Some(Event::Publication(Publication {
            data: data.into(),
            offset,
        })),
    })
}

mod protobuf_bytes {
    use super::*;

    #[test]
    fn a_connect_as_the_python_sdk_sends_it() {
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
    fn a_connect_as_the_dart_swift_and_java_sdks_send_it() {
        // token "t", data "{}", name "dart", version "0.1", headers {"a":"b"}, flag 1: what we do not use is skipped.
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
    fn a_reconnect_brings_the_positions_of_server_side_subscriptions() {
        // subs {"#42": {recover, epoch "e1", offset 300}}
        let bytes = "18 0802 2214 1a12 0a03233432 120b 1801 32026531 38ac02 7002";
        let connect = commands(bytes)[0].connect.clone().expect("a connect");
        let position = &connect.subs["#42"];
        assert_eq!((position.recover, &*position.epoch, position.offset), (true, "e1", 300));
        assert!(position.rejects_unrecovered());
    }

    #[test]
    fn several_commands_of_a_frame_come_in_order() {
        // connect named "swift" with version "1", subscribe to "plan", subscribe to "c" with recovery from offset 7, a pong
        let got = commands(
            "0e 0801 220a 22057377696674 2a0131  0a 0802 2a06 0a04706c616e  0b 0803 2a07 0a0163 1801 3807  00",
        );
        let name = &got[0].connect.as_ref().expect("a connect").name;
        let first = got[1].subscribe.as_ref().expect("a subscribe");
        let second = got[2].subscribe.as_ref().expect("a subscribe");
        assert_eq!((got[0].id, name.as_str()), (1, "swift"));
        assert_eq!((got[1].id, first.channel.as_str(), first.recover), (2, "plan", false));
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
    fn ping_and_pong_are_a_message_of_no_length() {
        assert_eq!(Codec::Protobuf.ping(), [0]);
        let got = commands("00");
        assert!(got.len() == 1 && got[0].is_pong());
        let got = commands("00 02 0805");
        assert!(got[0].is_pong() && got[1].id == 5 && !got[1].is_pong());
    }

    #[test]
    fn a_damaged_frame_is_refused_as_a_whole() {
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

    #[test]
    fn replies_and_pushes_have_their_field_numbers() {
        let info = ClientInfo {
            user: "u".into(),
            client: "c".into(),
        };
        let push = |event| {
            Reply::push(Push {
                channel: "c".into(),
                event: Some(event),
            })
        };
        let member = Member {
            info: Some(info.clone()),
        };
        let unsubscribed = Unsubscribed {
            code: 2500,
            reason: "r".into(),
        };
        let first = SubscribeResult {
            offset: 1,
            ..SubscribeResult::default()
        };
        let connected = ConnectResult {
            client: "c".into(),
            version: "v".into(),
            expires: true,
            ttl: 60,
            subs: BTreeMap::from([("#1".into(), first)]),
            ping: 25,
            pong: true,
            session: "s".into(),
            node: "n".into(),
            time: 1,
        };
        let subscribed = SubscribeResult {
            expires: true,
            ttl: 60,
            recoverable: true,
            epoch: "e".into(),
            publications: vec![Publication {
                data: "1".into(),
                offset: 3,
            }],
            recovered: true,
            offset: 2,
            positioned: true,
            data: "{}".into(),
            was_recovering: true,
        };
        let cases = [
            (
                Reply::to(
                    1,
                    Answer::Error(ErrorReply {
                        code: 109,
                        message: "m".into(),
                        temporary: true,
                    }),
                ),
                "0b 0801 1207 086d 12016d 1801",
            ),
            (publication("{}", 9), "12 2210 1206706c616e3a78 2206 22027b7d 3009"),
            (publication("{}", 0), "10 220e 1206706c616e3a78 2204 22027b7d"),
            (
                push(Event::Join(member.clone())),
                "0f 220d 120163 2a08 0a06 0a0175 120163",
            ),
            (push(Event::Leave(member)), "0f 220d 120163 3208 0a06 0a0175 120163"),
            (
                push(Event::Unsubscribe(unsubscribed)),
                "0d 220b 120163 3a06 10c413 1a0172",
            ),
            (
                Reply::to(1, Answer::Connect(connected.clone())),
                "24 0801 2a20 0a0163 120176 1801 203c 3208 0a022331 12024801 3819 4001 4a0173 52016e 5801",
            ),
            (
                Reply::to(2, Answer::Subscribe(subscribed)),
                "20 0802 321c 0801 103c 1801 320165 3a05 220131 3003 4001 4802 5001 5a027b7d 6001",
            ),
            (Reply::to(3, Answer::Unsubscribe(Empty {})), "04 0803 3a00"),
            (Reply::to(4, Answer::Publish(Empty {})), "04 0804 4200"),
            (
                Reply::to(
                    5,
                    Answer::Presence(PresenceResult {
                        presence: BTreeMap::from([("c".into(), info)]),
                    }),
                ),
                "11 0805 4a0d 0a0b 0a0163 1206 0a0175 120163",
            ),
            (
                Reply::to(
                    6,
                    Answer::PresenceStats(PresenceStatsResult {
                        num_clients: 2,
                        num_users: 1,
                    }),
                ),
                "08 0806 5204 0802 1001",
            ),
            (
                Reply::to(
                    7,
                    Answer::History(HistoryResult {
                        publications: vec![Publication {
                            data: "1".into(),
                            offset: 3,
                        }],
                        epoch: "e".into(),
                        offset: 3,
                    }),
                ),
                "10 0807 5a0c 0a05 220131 3003 120165 1803",
            ),
            (
                Reply::to(8, Answer::Rpc(RpcResult { data: "{}".into() })),
                "08 0808 6a04 0a027b7d",
            ),
            (
                Reply::to(
                    9,
                    Answer::Refresh(ConnectResult {
                        client: "c".into(),
                        version: "v".into(),
                        expires: true,
                        ttl: 60,
                        ..ConnectResult::default()
                    }),
                ),
                "0e 0809 720a 0a0163 120176 1801 203c",
            ),
            (
                Reply::to(10, Answer::SubRefresh(SubRefreshResult { expires: true, ttl: 60 })),
                "08 080a 7a04 0801 103c",
            ),
        ];
        for (reply, bytes) in cases {
            assert_eq!(written(&reply), hex(bytes), "{reply:?}");
        }
    }
}

mod json_text {
    use super::*;

    #[test]
    fn several_commands_of_a_frame_come_in_order() {
        let frame = "{\"id\":1,\"connect\":{\"token\":\"t\",\"name\":\"js\",\"future\":1}}\n{\"id\":2,\"subscribe\":{\"channel\":\"plan:x\"}}\n{}";
        let commands = Codec::Json.decode(&frame.into()).expect("commands");
        assert_eq!(commands[0].connect.as_ref().expect("connect").token, "t");
        assert_eq!(commands[1].subscribe.as_ref().expect("subscribe").channel, "plan:x");
        assert!(commands[2].is_pong());
        assert_eq!(Codec::Json.decode(&"{\"id\":".into()), Err(Undecodable));
    }

    #[test]
    fn empty_fields_are_left_out_and_empty_results_are_there() {
        assert_eq!(
            text(&Reply::to(7, Answer::Unsubscribe(Empty {}))),
            r#"{"id":7,"unsubscribe":{}}"#
        );
        let result = SubscribeResult {
            recoverable: true,
            epoch: "e".into(),
            ..SubscribeResult::default()
        };
        assert_eq!(
            text(&Reply::to(2, Answer::Subscribe(result))),
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"e"}}"#
        );
        let result = ConnectResult {
            client: "c".into(),
            version: "1".into(),
            ping: 25,
            pong: true,
            ..ConnectResult::default()
        };
        assert_eq!(
            text(&Reply::to(1, Answer::Connect(result))),
            r#"{"id":1,"connect":{"client":"c","version":"1","ping":25,"pong":true}}"#
        );
    }

    #[test]
    fn pushes_are_named_as_the_sdks_name_them() {
        let push = |event| {
            text(&Reply::push(Push {
                channel: "#4\"2".into(),
                event: Some(event),
            }))
        };
        let info = ClientInfo {
            user: "42".into(),
            client: "c".into(),
        };
        assert_eq!(
            push(Event::Join(Member { info: Some(info) })),
            r##"{"push":{"channel":"#4\"2","join":{"info":{"user":"42","client":"c"}}}}"##
        );
        let unsubscribed = Unsubscribed {
            code: 2000,
            reason: "r".into(),
        };
        assert_eq!(
            push(Event::Unsubscribe(unsubscribed)),
            r##"{"push":{"channel":"#4\"2","unsubscribe":{"code":2000,"reason":"r"}}}"##
        );
        let publication = Publication {
            data: "1".into(),
            offset: 2,
        };
        assert_eq!(
            push(Event::Publication(publication)),
            r##"{"push":{"channel":"#4\"2","pub":{"data":1,"offset":2}}}"##
        );
    }
}

#[test]
fn payloads_are_carried_to_the_byte_by_both_codecs() {
    const DATA: &str = r#"{"b":1.50,"a":"é", "c":1e2}"#;
    let rpc = Reply::to(3, Answer::Rpc(RpcResult { data: DATA.into() }));
    assert_eq!(text(&rpc), format!(r#"{{"id":3,"rpc":{{"data":{DATA}}}}}"#));
    assert_eq!(
        text(&publication(DATA, 9)),
        format!(r#"{{"push":{{"channel":"plan:x","pub":{{"data":{DATA},"offset":9}}}}}}"#)
    );
    for reply in [rpc, publication(DATA, 9)] {
        let binary = written(&reply);
        assert!(binary.windows(DATA.len()).any(|w| w == DATA.as_bytes()));
    }
    let json = format!(r#"{{"id":1,"rpc":{{"method":"m","data":{DATA}}}}}"#);
    let got = Codec::Json.decode(&json.into()).expect("commands");
    assert_eq!(got[0].rpc.as_ref().expect("an rpc").data, DATA);
}

/// Any JSON, spelled in ways that a parser and writer would not keep.
fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        Just(Bytes::from_static(b"{\"a\": 1.50, \"a\": 2}")),
        Just(Bytes::from_static(b"\"\\u00e9 \\n\"")),
        "[ -~]{0,20}".prop_map(|s| serde_json::to_string(&s).expect("JSON").into()),
        any::<i64>().prop_map(|n| n.to_string().into()),
        any::<Vec<u8>>().prop_map(|v| serde_json::to_string(&v).expect("JSON").into()),
    ]
}

fn any_subscribe() -> impl Strategy<Value = SubscribeRequest> {
    (
        any::<String>(),
        any::<String>(),
        any::<bool>(),
        any::<String>(),
        any::<u64>(),
        any::<i64>(),
    )
        .prop_map(|(channel, token, recover, epoch, offset, flag)| SubscribeRequest {
            channel,
            token,
            recover,
            epoch,
            offset,
            flag,
        })
}

fn any_connect() -> impl Strategy<Value = ConnectRequest> {
    let subs = prop::collection::btree_map(any::<String>(), any_subscribe(), 0..3);
    (any::<String>(), subs, any::<String>(), any::<String>()).prop_map(|(token, subs, name, version)| ConnectRequest {
        token,
        subs,
        name,
        version,
    })
}

fn any_history() -> impl Strategy<Value = HistoryRequest> {
    let since = prop::option::of((any::<u64>(), any::<String>()));
    (any::<String>(), any::<i32>(), since, any::<bool>()).prop_map(|(channel, limit, since, reverse)| HistoryRequest {
        channel,
        limit,
        since: since.map(|(offset, epoch)| StreamPosition { offset, epoch }),
        reverse,
    })
}

fn any_command() -> impl Strategy<Value = Command> {
    let channel = || prop::option::of(any::<String>().prop_map(|channel| ChannelRequest { channel }));
    let publish = (any::<String>(), payload()).prop_map(|(channel, data)| PublishRequest { channel, data });
    let rpc = (payload(), any::<String>()).prop_map(|(data, method)| RpcRequest { data, method });
    let sub_refresh =
        (any::<String>(), any::<String>()).prop_map(|(channel, token)| SubRefreshRequest { channel, token });
    let asked = (
        prop::option::of(any_connect()),
        prop::option::of(any_subscribe()),
        prop::option::of(publish),
        prop::option::of(any_history()),
        prop::option::of(rpc),
        prop::option::of(sub_refresh),
    );
    let tokens = prop::option::of(any::<String>().prop_map(|token| RefreshRequest { token }));
    (any::<u32>(), asked, channel(), channel(), channel(), tokens).prop_map(
        |(
            id,
            (connect, subscribe, publish, history, rpc, sub_refresh),
            unsubscribe,
            presence,
            presence_stats,
            refresh,
        )| {
            Command {
                id,
                connect,
                subscribe,
                unsubscribe,
                publish,
                presence,
                presence_stats,
                history,
                send: None,
                rpc,
                refresh,
                sub_refresh,
            }
        },
    )
}

fn any_info() -> impl Strategy<Value = ClientInfo> {
    (any::<String>(), any::<String>()).prop_map(|(user, client)| ClientInfo { user, client })
}

fn any_publication() -> impl Strategy<Value = Publication> {
    (payload(), any::<u64>()).prop_map(|(data, offset)| Publication { data, offset })
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let event = prop_oneof![
        any_publication().prop_map(Event::Publication),
        any_info().prop_map(|info| Event::Join(Member { info: Some(info) })),
        any_info().prop_map(|info| Event::Leave(Member { info: Some(info) })),
        (any::<u32>(), any::<String>()).prop_map(|(code, reason)| Event::Unsubscribe(Unsubscribed { code, reason })),
    ];
    let push = (any::<String>(), event).prop_map(|(channel, event)| Push {
        channel,
        event: Some(event),
    });
    let publications = || prop::collection::vec(any_publication(), 0..4);
    prop_oneof![
        push.prop_map(Answer::Push),
        (any::<u32>(), any::<String>(), any::<bool>()).prop_map(|(code, message, temporary)| {
            Answer::Error(ErrorReply {
                code,
                message,
                temporary,
            })
        }),
        (any::<String>(), any::<u32>(), publications(), any::<u64>(), payload()).prop_map(
            |(epoch, ttl, publications, offset, data)| {
                Answer::Subscribe(SubscribeResult {
                    epoch,
                    ttl,
                    publications,
                    offset,
                    data,
                    recovered: ttl % 2 == 0,
                    was_recovering: offset % 2 == 0,
                    ..SubscribeResult::default()
                })
            }
        ),
        prop::collection::btree_map(any::<String>(), any_info(), 0..3)
            .prop_map(|presence| Answer::Presence(PresenceResult { presence })),
        (publications(), any::<String>(), any::<u64>()).prop_map(|(publications, epoch, offset)| {
            Answer::History(HistoryResult {
                publications,
                epoch,
                offset,
            })
        }),
        payload().prop_map(|data| Answer::Rpc(RpcResult { data })),
    ]
}

/// The one member of a JSON object besides the id and the channel: its name and what it holds.
fn member(json: &str) -> (String, Box<RawValue>) {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).expect("an object");
    let mut rest = members
        .into_iter()
        .filter(|(name, _)| name != "id" && name != "channel");
    let one = rest.next().expect("a member");
    assert!(rest.next().is_none());
    one
}

/// Reads a JSON reply as an SDK does.
fn read_json(json: &str) -> Answer {
    fn of<T: DeserializeOwned>(raw: &RawValue) -> T {
        serde_json::from_str(raw.get()).expect("a result")
    }
    let (name, raw) = member(json);
    match name.as_str() {
        "error" => Answer::Error(of(&raw)),
        "subscribe" => Answer::Subscribe(of(&raw)),
        "presence" => Answer::Presence(of(&raw)),
        "history" => Answer::History(of(&raw)),
        "rpc" => Answer::Rpc(of(&raw)),
        "push" => {
            #[derive(serde::Deserialize)]
            struct Named {
                channel: String,
            }
            let channel = of::<Named>(&raw).channel;
            let (name, event) = member(raw.get());
            let event = match name.as_str() {
                "pub" => Event::Publication(of(&event)),
                "join" => Event::Join(of(&event)),
                "leave" => Event::Leave(of(&event)),
                "unsubscribe" => Event::Unsubscribe(of(&event)),
                other => panic!("{other}"),
            };
            Answer::Push(Push {
                channel,
                event: Some(event),
            })
        }
        other => panic!("{other}"),
    }
}

proptest! {
    #[test]
    fn commands_come_out_as_they_went_in(commands in prop::collection::vec(any_command(), 0..4)) {
        let lines: Vec<String> = commands.iter().map(|c| serde_json::to_string(c).expect("JSON")).collect();
        prop_assert_eq!(Codec::Json.decode(&lines.join("\n").into()), Ok(commands.clone()));
        let binary: Vec<u8> = commands.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect();
        prop_assert_eq!(Codec::Protobuf.decode(&binary.into()), Ok(commands));
    }

    #[test]
    fn replies_come_out_as_they_went_in(id in 1_u32.., answer in any_answer()) {
        let reply = Reply::to(id, answer);
        prop_assert_eq!(&Reply::decode_length_delimited(written(&reply)).expect("a reply"), &reply);
        let json = text(&reply);
        prop_assert!(!json.contains('\n'));
        prop_assert_eq!(Some(read_json(&json)), reply.answer);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = Codec::Json.decode(&bytes);
        let _ = Codec::Protobuf.decode(&bytes);
    }

    #[test]
    fn damaged_commands_are_read_or_refused_without_a_panic(
        command in any_command(),
        at in any::<prop::sample::Index>(),
        byte: u8,
        cut in any::<prop::sample::Index>(),
    ) {
        for (codec, mut bytes) in [
            (Codec::Json, serde_json::to_vec(&command).expect("JSON")),
            (Codec::Protobuf, command.encode_length_delimited_to_vec()),
        ] {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let cut = cut.index(bytes.len() + 1);
            bytes.truncate(cut);
            let _ = codec.decode(&bytes.into());
        }
    }
}
