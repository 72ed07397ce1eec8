//! The Protobuf codec on the product's own sockets.

use std::process::Stdio;

use liveplan::auth::Role;
use liveplan_hub::protocol::{Answer, ChannelRequest, Command, HistoryRequest, PublishRequest, SubRefreshRequest};
use serde_json::{Value, json};

use crate::harness::{BinarySocket, TestApp};
use crate::plans::{publish, rename};

#[tokio::test]
async fn the_subprotocol_is_echoed_and_the_query_also_selects_protobuf() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    let token = member.token.as_deref().expect("signed in");
    let asked = [
        ("", Some("centrifuge-protobuf"), Some("centrifuge-protobuf")),
        ("", Some("other, centrifuge-protobuf"), Some("centrifuge-protobuf")),
        ("?cf_protocol=protobuf", None, None),
    ];
    for (query, offer, echoed) in asked {
        let mut socket = BinarySocket::open(app.address, query, offer).await;
        assert_eq!(socket.subprotocol.as_deref(), echoed, "{query} {offer:?}");
        let result = socket.connect(token).await;
        assert_eq!((result.ping, result.pong, result.expires), (25, true, true));
        let own = &result.subs[&format!("member:{}", member.account)];
        assert!(own.recoverable && own.positioned && !own.epoch.is_empty());
        assert!(serde_json::from_slice::<Value>(&own.data).expect("JSON").is_object());
    }
    app.stop().await;
}

#[tokio::test]
async fn both_codecs_carry_the_same_bytes() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let author = app.person(gym, &[Role::Nutritionist]).await;
    let mut plan = publish(&author, app.food().await).await;
    let channel = format!("plan:{}", plan.id);
    let mut binary = BinarySocket::connected(app.address, author.token.as_deref().expect("signed in")).await;
    let Answer::Subscribe(snapshot) = binary.subscribe(&channel).await else {
        panic!("no subscription")
    };
    let mut text = author.socket().await;
    let reply = text.subscribe(&channel).await;
    assert_eq!(
        serde_json::from_slice::<Value>(&snapshot.data).expect("JSON"),
        reply["subscribe"]["data"]
    );
    assert_eq!(reply["subscribe"]["offset"], snapshot.offset);

    rename(&author, &mut plan, "Ñoquis «al pesto» 1.50").await;
    let (offset, payload) = binary.publication(&channel).await;
    let line = text.next_line().await;
    let push: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(push["push"]["pub"]["offset"], offset);
    let payload = std::str::from_utf8(&payload).expect("UTF-8");
    assert!(
        line.contains(&format!(r#""pub":{{"data":{payload},"offset":{offset}}}"#)),
        "{line} is not {payload}"
    );
    app.stop().await;
}

#[tokio::test]
async fn operations_that_product_channels_do_not_offer_are_refused_in_both_codecs() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let author = app.person(gym, &[Role::Nutritionist]).await;
    let plan = publish(&author, app.food().await).await;
    let channel = format!("plan:{}", plan.id);
    let mut binary = BinarySocket::connected(app.address, author.token.as_deref().expect("signed in")).await;
    let mut text = author.socket().await;
    binary.subscribe(&channel).await;
    text.subscribe(&channel).await;
    let named = || ChannelRequest {
        channel: channel.clone(),
    };
    let asked = [
        (
            108,
            Command {
                presence: Some(named()),
                ..Command::default()
            },
        ),
        (
            108,
            Command {
                presence_stats: Some(named()),
                ..Command::default()
            },
        ),
        (
            108,
            Command {
                history: Some(HistoryRequest {
                    channel: channel.clone(),
                    limit: -1,
                    ..HistoryRequest::default()
                }),
                ..Command::default()
            },
        ),
        (
            108,
            Command {
                sub_refresh: Some(SubRefreshRequest {
                    channel: channel.clone(),
                    token: "t".into(),
                }),
                ..Command::default()
            },
        ),
        (
            103,
            Command {
                publish: Some(PublishRequest {
                    channel: channel.clone(),
                    data: "{}".into(),
                }),
                ..Command::default()
            },
        ),
    ];
    for (code, command) in asked {
        let answer = binary.call(command).await;
        assert!(matches!(&answer, Answer::Error(e) if e.code == code), "{answer:?}");
    }
    for (code, method) in [
        (108, "presence"),
        (108, "presence_stats"),
        (108, "history"),
        (108, "sub_refresh"),
        (103, "publish"),
    ] {
        let reply = text.call(method, json!({"channel": channel, "data": {}})).await;
        assert_eq!(reply["error"]["code"], code, "{method}: {reply}");
    }
    app.stop().await;
}

#[tokio::test]
async fn an_unrecoverable_position_is_refused_if_the_client_requires_recovery() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let author = app.person(gym, &[Role::Nutritionist]).await;
    let plan = publish(&author, app.food().await).await;
    let channel = format!("plan:{}", plan.id);
    let lost = json!({"channel": channel, "recover": true, "epoch": "another", "offset": 1});
    let mut text = author.socket().await;
    let reply = text.call("subscribe", lost.clone()).await;
    let result = &reply["subscribe"];
    assert_eq!(
        (&result["was_recovering"], &result["recovered"]),
        (&json!(true), &Value::Null),
        "{reply}"
    );
    assert!(result["data"].is_object());
    text.call("unsubscribe", json!({"channel": channel})).await;
    let mut strict = lost;
    strict["flag"] = json!(2);
    assert_eq!(text.call("subscribe", strict.clone()).await["error"]["code"], 112);

    let mut binary = BinarySocket::connected(app.address, author.token.as_deref().expect("signed in")).await;
    let answer = binary
        .call(Command {
            subscribe: Some(serde_json::from_value(strict).expect("a request")),
            ..Command::default()
        })
        .await;
    assert!(matches!(&answer, Answer::Error(e) if e.code == 112), "{answer:?}");
    app.stop().await;
}

#[tokio::test]
async fn malformed_commands_close_the_socket() {
    let app = TestApp::start().await;
    for bytes in [vec![5, 8, 1], vec![0xFF; 20], b"{\"id\":1}".to_vec()] {
        let mut socket = BinarySocket::open(app.address, "", Some("centrifuge-protobuf")).await;
        socket.send_bytes(bytes).await;
        assert_eq!(socket.next().await, Err(3501));
    }
    app.stop().await;
}

/// Runs the official Python SDK in Protobuf mode: snapshot, live change, recovery and refusals.
#[tokio::test]
async fn the_python_sdk_follows_a_plan_in_protobuf() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let author = app.person(gym, &[Role::Nutritionist]).await;
    let plan = publish(&author, app.food().await).await;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let ready = tokio::process::Command::new(format!("{root}tools/conformance"))
        .arg("setup")
        .status()
        .await
        .expect("the SDK is set up");
    assert!(ready.success());
    let given = json!({
        "address": app.address.to_string(), "token": author.token, "plan": plan.id, "meal": plan.meal, "version": plan.version,
    });
    let run = tokio::process::Command::new(format!("{root}target/conformance/venv/bin/python"))
        .arg(format!("{root}tests/conformance/product.py"))
        .env("GIVEN", given.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(std::time::Duration::from_mins(1), run)
        .await
        .expect("it ends in time")
        .expect("Python runs");
    assert!(
        run.status.success(),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    app.stop().await;
}
