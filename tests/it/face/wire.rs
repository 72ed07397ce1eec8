//! Every reply and push in both codecs, once with all fields set and once with all optional fields absent.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use liveplan_hub::protocol::{
    Answer, ClientInfo, Codec, ConnectResult, Empty, ErrorReply, Event, HistoryResult, PresenceResult,
    PresenceStatsResult, Publication, Push, Reply, RpcResult, SubRefreshResult, SubscribeResult, Unsubscribed, Watcher,
};

use super::check;

fn publication() -> Publication {
    Publication {
        data: r#"{"b":1.50, "a":"é"}"#.into(),
        offset: 300,
    }
}

fn info() -> ClientInfo {
    ClientInfo {
        user: "42".into(),
        client: "c1".into(),
    }
}

fn subscribed() -> SubscribeResult {
    SubscribeResult {
        expires: true,
        ttl: 60,
        recoverable: true,
        epoch: "e1".into(),
        publications: vec![publication(), publication()],
        recovered: true,
        offset: 299,
        positioned: true,
        data: r#"{"version":3}"#.into(),
        was_recovering: true,
    }
}

fn connected() -> ConnectResult {
    ConnectResult {
        client: "c1".into(),
        version: "0.1.0".into(),
        expires: true,
        ttl: 900,
        subs: BTreeMap::from([
            ("#42".into(), SubscribeResult::default()),
            ("member:1".into(), subscribed()),
        ]),
        ping: 25,
        pong: true,
        session: "s1".into(),
        node: "n1".into(),
        time: 1_781_092_800_000,
    }
}

/// Answers with all fields set.
fn answers() -> Vec<Answer> {
    let presence = BTreeMap::from([("c1".into(), info()), ("c2".into(), info())]);
    let stats = PresenceStatsResult {
        num_clients: 2,
        num_users: 1,
    };
    let history = HistoryResult {
        publications: vec![publication()],
        epoch: "e1".into(),
        offset: 300,
    };
    vec![
        Answer::Error(ErrorReply {
            code: 109,
            message: "token_expired: Your access token has expired.".into(),
            temporary: true,
        }),
        Answer::Connect(connected()),
        Answer::Subscribe(subscribed()),
        Answer::Unsubscribe(Empty {}),
        Answer::Publish(Empty {}),
        Answer::Presence(PresenceResult { presence }),
        Answer::PresenceStats(stats),
        Answer::History(history),
        Answer::Rpc(RpcResult { data: "null".into() }),
        Answer::Refresh(connected()),
        Answer::SubRefresh(SubRefreshResult { expires: true, ttl: 60 }),
    ]
}

/// Answers with all optional fields absent.
fn bare_answers() -> Vec<Answer> {
    vec![
        Answer::Error(ErrorReply::default()),
        Answer::Connect(ConnectResult::default()),
        Answer::Subscribe(SubscribeResult::default()),
        Answer::Presence(PresenceResult::default()),
        Answer::PresenceStats(PresenceStatsResult::default()),
        Answer::History(HistoryResult::default()),
        Answer::Refresh(ConnectResult::default()),
        Answer::SubRefresh(SubRefreshResult::default()),
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::Publication(publication()),
        Event::Publication(Publication {
            offset: 0,
            ..publication()
        }),
        Event::Join(Watcher { info: Some(info()) }),
        Event::Leave(Watcher { info: Some(info()) }),
        Event::Join(Watcher {
            info: Some(ClientInfo::default()),
        }),
        Event::Unsubscribe(Unsubscribed {
            code: 2500,
            reason: "insufficient state".into(),
        }),
    ]
}

#[test]
fn replies_and_pushes_keep_their_bytes_in_both_codecs() {
    let replies = answers().into_iter().chain(bare_answers());
    let replies = replies.map(|answer| Reply::to(7, answer));
    let pushes = events().into_iter().map(|event| {
        Reply::push(Push {
            channel: "plan:1".into(),
            event: Some(event),
        })
    });
    let mut text = String::new();
    let mut write = |bytes: [Vec<u8>; 2]| {
        let [json, protobuf] = bytes;
        let json = String::from_utf8(json).expect("text");
        let hex = protobuf
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let _ = writeln!(text, "{json}\n{hex}\n");
    };
    write(Codec::ALL.map(|codec| codec.ping().to_vec()));
    for reply in replies.chain(pushes) {
        write(Codec::ALL.map(|codec| codec.encode(&reply).expect("encoded")));
    }
    check("wire.txt", text.trim_end());
}
