//! Properties: every message survives a round trip through both codecs, and no input makes a decoder panic.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::super::commands::StreamPosition;
use super::super::*;
use super::{text, written};

/// Any JSON value, spelled so that parsing and re-encoding would change its bytes.
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
        any_info().prop_map(|info| Event::Join(Watcher { info: Some(info) })),
        any_info().prop_map(|info| Event::Leave(Watcher { info: Some(info) })),
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

/// Returns the name and value of the one field in a JSON object besides `id` and `channel`.
fn field(json: &str) -> (String, Box<RawValue>) {
    let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).expect("an object");
    let mut rest = fields.into_iter().filter(|(name, _)| name != "id" && name != "channel");
    let one = rest.next().expect("a field");
    assert!(rest.next().is_none());
    one
}

/// Decodes a JSON reply as an SDK does.
fn read_json(json: &str) -> Answer {
    fn of<T: DeserializeOwned>(raw: &RawValue) -> T {
        serde_json::from_str(raw.get()).expect("a result")
    }
    let (name, raw) = field(json);
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
            let (name, event) = field(raw.get());
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
    fn commands_survive_a_round_trip_through_both_codecs(commands in prop::collection::vec(any_command(), 0..4)) {
        let lines: Vec<String> = commands.iter().map(|c| serde_json::to_string(c).expect("JSON")).collect();
        prop_assert_eq!(Codec::Json.decode(&lines.join("\n").into()), Ok(commands.clone()));
        let binary: Vec<u8> = commands.iter().flat_map(prost::Message::encode_length_delimited_to_vec).collect();
        prop_assert_eq!(Codec::Protobuf.decode(&binary.into()), Ok(commands));
    }

    #[test]
    fn replies_survive_a_round_trip_through_both_codecs(id in 1_u32.., answer in any_answer()) {
        let reply = Reply::to(id, answer);
        prop_assert_eq!(&Reply::decode_length_delimited(written(&reply)).expect("a reply"), &reply);
        let json = text(&reply);
        prop_assert!(!json.contains('\n'));
        prop_assert_eq!(Some(read_json(&json)), reply.answer);
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = Codec::Json.decode(&bytes);
        let _ = Codec::Protobuf.decode(&bytes);
    }

    #[test]
    fn damaged_commands_are_decoded_or_refused_without_a_panic(
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
