//! Replies and pushes in Protobuf, byte for byte as the SDKs read them.

use std::collections::BTreeMap;

use super::super::*;
use super::{hex, publication, written};

fn check(reply: &Reply, bytes: &str) {
    assert_eq!(written(reply), hex(bytes), "{reply:?}");
}

fn info() -> ClientInfo {
    ClientInfo {
        user: "u".into(),
        client: "c".into(),
    }
}

fn third() -> Publication {
    Publication {
        data: "1".into(),
        offset: 3,
    }
}

#[test]
fn connect_and_refresh_have_the_bytes_that_sdks_read() {
    let refreshed = ConnectResult {
        client: "c".into(),
        version: "v".into(),
        expires: true,
        ttl: 60,
        ..ConnectResult::default()
    };
    check(
        &Reply::to(9, Answer::Refresh(refreshed.clone())),
        "0e 0809 720a 0a0163 120176 1801 203c",
    );
    let own = SubscribeResult {
        offset: 1,
        ..SubscribeResult::default()
    };
    let connected = ConnectResult {
        subs: BTreeMap::from([("#1".into(), own)]),
        ping: 25,
        pong: true,
        session: "s".into(),
        node: "n".into(),
        time: 1,
        ..refreshed
    };
    check(
        &Reply::to(1, Answer::Connect(connected)),
        "24 0801 2a20 0a0163 120176 1801 203c 3208 0a022331 12024801 3819 4001 4a0173 52016e 5801",
    );
}

#[test]
fn subscribe_sub_refresh_and_unsubscribe_have_the_bytes_that_sdks_read() {
    let subscribed = SubscribeResult {
        expires: true,
        ttl: 60,
        recoverable: true,
        epoch: "e".into(),
        publications: vec![third()],
        recovered: true,
        offset: 2,
        positioned: true,
        data: "{}".into(),
        was_recovering: true,
    };
    check(
        &Reply::to(2, Answer::Subscribe(subscribed)),
        "20 0802 321c 0801 103c 1801 320165 3a05 220131 3003 4001 4802 5001 5a027b7d 6001",
    );
    let refreshed = SubRefreshResult { expires: true, ttl: 60 };
    check(&Reply::to(10, Answer::SubRefresh(refreshed)), "08 080a 7a04 0801 103c");
    check(&Reply::to(3, Answer::Unsubscribe(Empty {})), "04 0803 3a00");
}

#[test]
fn publish_rpc_and_errors_have_the_bytes_that_sdks_read() {
    check(&Reply::to(4, Answer::Publish(Empty {})), "04 0804 4200");
    check(
        &Reply::to(8, Answer::Rpc(RpcResult { data: "{}".into() })),
        "08 0808 6a04 0a027b7d",
    );
    let error = ErrorReply {
        code: 109,
        message: "m".into(),
        temporary: true,
    };
    check(&Reply::to(1, Answer::Error(error)), "0b 0801 1207 086d 12016d 1801");
}

#[test]
fn presence_and_history_have_the_bytes_that_sdks_read() {
    let presence = BTreeMap::from([("c".into(), info())]);
    check(
        &Reply::to(5, Answer::Presence(PresenceResult { presence })),
        "11 0805 4a0d 0a0b 0a0163 1206 0a0175 120163",
    );
    let stats = PresenceStatsResult {
        num_clients: 2,
        num_users: 1,
    };
    check(&Reply::to(6, Answer::PresenceStats(stats)), "08 0806 5204 0802 1001");
    // Protobuf omits zero and empty fields, even those that the JSON codec writes.
    let nobody = PresenceResult::default();
    check(&Reply::to(5, Answer::Presence(nobody)), "04 0805 4a00");
    let nobody = PresenceStatsResult::default();
    check(&Reply::to(6, Answer::PresenceStats(nobody)), "04 0806 5200");
    let history = HistoryResult {
        publications: vec![third()],
        epoch: "e".into(),
        offset: 3,
    };
    check(
        &Reply::to(7, Answer::History(history)),
        "10 0807 5a0c 0a05 220131 3003 120165 1803",
    );
}

#[test]
fn pushes_have_the_bytes_that_sdks_read() {
    let push = |event| {
        Reply::push(Push {
            channel: "c".into(),
            event: Some(event),
        })
    };
    check(&publication("{}", 9), "12 2210 1206726f6f6d3a78 2206 22027b7d 3009");
    check(&publication("{}", 0), "10 220e 1206726f6f6d3a78 2204 22027b7d");
    let watcher = Watcher { info: Some(info()) };
    check(
        &push(Event::Join(watcher.clone())),
        "0f 220d 120163 2a08 0a06 0a0175 120163",
    );
    check(&push(Event::Leave(watcher)), "0f 220d 120163 3208 0a06 0a0175 120163");
    let unsubscribed = Unsubscribed {
        code: 2500,
        reason: "r".into(),
    };
    check(
        &push(Event::Unsubscribe(unsubscribed)),
        "0d 220b 120163 3a06 10c413 1a0172",
    );
}
