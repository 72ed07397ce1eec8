//! The JSON codec, as the SDKs read and write it.

use super::super::*;
use super::text;

#[test]
fn the_commands_of_one_frame_are_decoded_in_order() {
    let frame = "{\"id\":1,\"connect\":{\"token\":\"t\",\"name\":\"js\",\"future\":1}}\n{\"id\":2,\"subscribe\":{\"channel\":\"room:x\"}}\n{}";
    let commands = Codec::Json.decode(&frame.into()).expect("commands");
    assert_eq!(commands[0].connect.as_ref().expect("connect").token, "t");
    assert_eq!(commands[1].subscribe.as_ref().expect("subscribe").channel, "room:x");
    assert!(commands[2].is_pong());
    assert_eq!(Codec::Json.decode(&"{\"id\":".into()), Err(Undecodable));
}

#[test]
fn empty_fields_are_omitted_and_empty_results_are_written() {
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
fn pushes_have_the_names_that_sdks_read() {
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
        push(Event::Join(Watcher { info: Some(info) })),
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

#[test]
fn fields_that_sdks_read_without_a_default_are_written_even_if_zero_or_empty() {
    let stats = PresenceStatsResult::default();
    assert_eq!(
        text(&Reply::to(6, Answer::PresenceStats(stats))),
        r#"{"id":6,"presence_stats":{"num_clients":0,"num_users":0}}"#
    );
    let nobody = PresenceResult::default();
    assert_eq!(
        text(&Reply::to(5, Answer::Presence(nobody))),
        r#"{"id":5,"presence":{"presence":{}}}"#
    );
    let info = ClientInfo {
        user: String::new(),
        client: "c".into(),
    };
    let presence = [("c".to_owned(), info.clone())].into();
    assert_eq!(
        text(&Reply::to(5, Answer::Presence(PresenceResult { presence }))),
        r#"{"id":5,"presence":{"presence":{"c":{"user":"","client":"c"}}}}"#
    );
    let left = Push {
        channel: "c".into(),
        event: Some(Event::Leave(Watcher { info: Some(info) })),
    };
    assert_eq!(
        text(&Reply::push(left)),
        r#"{"push":{"channel":"c","leave":{"info":{"user":"","client":"c"}}}}"#
    );
    let ended = Push {
        channel: "c".into(),
        event: Some(Event::Unsubscribe(Unsubscribed::default())),
    };
    assert_eq!(
        text(&Reply::push(ended)),
        r#"{"push":{"channel":"c","unsubscribe":{"code":0,"reason":""}}}"#
    );
    assert_eq!(
        text(&Reply::to(1, Answer::Error(ErrorReply::default()))),
        r#"{"id":1,"error":{"code":0,"message":""}}"#
    );
}

#[test]
fn fields_that_every_sdk_has_a_default_for_are_omitted() {
    let history = HistoryResult::default();
    assert_eq!(
        text(&Reply::to(7, Answer::History(history))),
        r#"{"id":7,"history":{}}"#
    );
    let subscribed = SubscribeResult::default();
    assert_eq!(
        text(&Reply::to(2, Answer::Subscribe(subscribed))),
        r#"{"id":2,"subscribe":{}}"#
    );
    assert_eq!(
        text(&Reply::to(1, Answer::Connect(ConnectResult::default()))),
        r#"{"id":1,"connect":{"client":"","version":""}}"#
    );
}
