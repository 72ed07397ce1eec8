//! The conformance mode: its own tokens, channels and echo endpoint. `tools/conformance` runs the SDKs' own test suites
//! against it.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use liveplan::auth::jwt;
use liveplan::conformance::Started;
use liveplan::server::Stop;
use liveplan_hub::protocol::{Answer, ChannelRequest, Command, Event, PublishRequest};
use serde_json::{Value, json};

use crate::harness::raw::frame;
use crate::harness::{BinarySocket, RawSocket, Socket, config};

pub struct Conformance {
    pub address: SocketAddr,
    stop: Stop,
    thread: JoinHandle<()>,
}

impl Conformance {
    pub async fn start() -> Self {
        let (sender, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut config = config("");
            config.database_url = None;
            let started = move |started| drop(sender.send(started));
            if let Err(error) = liveplan::conformance::serve(config, started) {
                eprintln!("the server failed to run: {error:?}");
            }
        });
        let started = tokio::task::spawn_blocking(move || started.recv_timeout(Duration::from_mins(1))).await;
        let Started { address, stop, .. } = started.expect("joined").expect("the server starts");
        Self { address, stop, thread }
    }

    pub async fn stop(self) {
        self.stop.now();
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        joined.expect("joined").expect("no panic");
    }

    pub async fn socket(&self, user: &str) -> Socket {
        let mut socket = Socket::open(self.address).await;
        socket.connect(&token(&json!({"sub": user}))).await;
        assert!(socket.connected["connect"].is_object(), "{}", socket.connected);
        socket
    }
}

pub fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(b"secret");
    jwt::encode(&Header::default(), claims, &key).expect("a token")
}

/// Seconds since 1970, `from_now` seconds from now.
fn unix(from_now: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_secs()).expect("it fits") + from_now
}

#[test]
fn it_refuses_to_start_with_a_configured_database() {
    let refused = liveplan::conformance::serve(config("postgresql://liveplan@localhost/production"), |_| {});
    assert!(refused.expect_err("refused").to_string().contains("unset DATABASE_URL"));
}

#[tokio::test]
async fn any_client_may_publish_and_read_history_and_presence() {
    let server = Conformance::start().await;
    let mut ana = server.socket("ana").await;
    let own = &ana.connected["connect"]["subs"]["#ana"];
    assert_eq!((&own["recoverable"], &own["data"]), (&json!(true), &Value::Null));
    let join = ana.next().await.expect("a join");
    assert_eq!(join["push"]["join"]["info"]["user"], "ana");

    let fresh = ana.subscribe("room").await;
    let result = &fresh["subscribe"];
    assert!(
        result["epoch"].is_string() && result["offset"].is_null() && result["expires"].is_null(),
        "{fresh}"
    );
    let mut ben = BinarySocket::connected(server.address, &token(&json!({"sub": "ben"}))).await;
    assert!(matches!(ben.subscribe("room").await, Answer::Subscribe(_)));
    loop {
        let push = ana.next().await.expect("a join");
        if push["push"]["join"]["info"]["user"] == "ben" {
            break;
        }
    }

    // Ana receives Ben's bytes unchanged, except that the newline is replaced.
    let publish = PublishRequest {
        channel: "room".into(),
        data: "{\"a\":\n1.50}".into(),
    };
    let done = ben
        .call(Command {
            publish: Some(publish),
            ..Command::default()
        })
        .await;
    assert_eq!(done, Answer::Publish(liveplan_hub::protocol::Empty {}));
    assert_eq!(ben.publication("room").await, (1, "{\"a\": 1.50}".into()));
    assert_eq!(ana.publication("room").await, (1, json!({"a": 1.5})));
    assert_eq!(
        ana.call("publish", json!({"channel": "room", "data": 2})).await["publish"],
        json!({})
    );
    assert_eq!(ben.publication("room").await, (2, "2".into()));

    let history = ana
        .call("history", json!({"channel": "room", "limit": -1, "reverse": true}))
        .await;
    let read: Vec<&Value> = history["history"]["publications"]
        .as_array()
        .expect("some")
        .iter()
        .map(|p| &p["offset"])
        .collect();
    assert_eq!(read, [&json!(2), &json!(1)]);
    let position = ana.call("history", json!({"channel": "room"})).await;
    assert_eq!(
        (&position["history"]["offset"], &position["history"]["publications"]),
        (&json!(2), &Value::Null)
    );
    let since = json!({"offset": 1, "epoch": "another"});
    let wrong = ana
        .call("history", json!({"channel": "room", "limit": 1, "since": since}))
        .await;
    assert_eq!(wrong["error"]["code"], 112);

    let stats = ana.call("presence_stats", json!({"channel": "room"})).await;
    assert_eq!(stats["presence_stats"], json!({"num_clients": 2, "num_users": 2}));
    let presence = ben
        .call(Command {
            presence: Some(ChannelRequest { channel: "room".into() }),
            ..Command::default()
        })
        .await;
    let Answer::Presence(presence) = presence else {
        panic!("{presence:?}")
    };
    let mut users: Vec<&str> = presence.presence.values().map(|c| c.user.as_str()).collect();
    users.sort_unstable();
    assert_eq!(users, ["ana", "ben"]);

    ana.call("unsubscribe", json!({"channel": "room"})).await;
    loop {
        match ben.push("room").await {
            Event::Leave(who) => {
                assert_eq!(who.info.expect("who").user, "ana");
                break;
            }
            Event::Join(_) | Event::Publication(_) => {}
            Event::Unsubscribe(why) => panic!("{why:?}"),
        }
    }
    let stats = ana.call("presence_stats", json!({"channel": "room"})).await;
    assert_eq!(stats["presence_stats"], json!({"num_clients": 1, "num_users": 1}));
    let nobody = json!({"channel": "nobody's"});
    let stats = ana.call("presence_stats", nobody.clone()).await;
    assert_eq!(stats["presence_stats"], json!({"num_clients": 0, "num_users": 0}));
    let presence = ana.call("presence", nobody).await;
    assert_eq!(presence["presence"], json!({"presence": {}}));
    assert_eq!(
        ana.call("rpc", json!({"method": "anything"})).await["error"]["code"],
        108
    );
    assert_eq!(ana.subscribe("").await["error"]["code"], 102);
    server.stop().await;
}

#[tokio::test]
async fn its_tokens_name_users_grant_channels_and_expire() {
    let server = Conformance::start().await;
    let mut nobody = Socket::open(server.address).await;
    nobody.connect("").await;
    assert!(nobody.connected["connect"]["subs"].is_null(), "{}", nobody.connected);
    assert!(nobody.subscribe("room").await["subscribe"].is_object());
    let mut expired = Socket::open(server.address).await;
    let reply = expired.connect(&token(&json!({"sub": "a", "exp": unix(-1)}))).await;
    assert_eq!(reply["error"]["code"], 109);
    let mut forged = Socket::open(server.address).await;
    forged.send("connect", json!({"token": "forged"})).await;
    assert_eq!(forged.closed().await, 3500);

    let mut ana = Socket::open(server.address).await;
    let connected = ana.connect(&token(&json!({"sub": "ana", "exp": unix(60)}))).await;
    assert_eq!(connected["connect"]["expires"], true);
    let refreshed = ana
        .call("refresh", json!({"token": token(&json!({"sub": "ana"}))}))
        .await;
    assert!(
        refreshed["refresh"]["expires"].is_null() && refreshed["refresh"]["client"].is_string(),
        "{refreshed}"
    );
    let grant = |channel: &str, exp: i64| token(&json!({"sub": "ana", "channel": channel, "exp": exp}));
    for (channel, token, code) in [
        ("one", grant("two", unix(60)), 103),
        ("one", "forged".to_owned(), 103),
        ("one", grant("one", unix(-1)), 109),
    ] {
        let refused = ana.call("subscribe", json!({"channel": channel, "token": token})).await;
        assert_eq!(refused["error"]["code"], code);
    }
    let granted = ana
        .call("subscribe", json!({"channel": "one", "token": grant("one", unix(60))}))
        .await;
    let ttl = granted["subscribe"]["ttl"].as_u64().expect("a ttl");
    assert!(
        granted["subscribe"]["expires"] == true && (50..=60).contains(&ttl),
        "{granted}"
    );
    let renewed = ana
        .call(
            "sub_refresh",
            json!({"channel": "one", "token": grant("one", unix(600))}),
        )
        .await;
    assert!(
        renewed["sub_refresh"]["ttl"].as_u64().expect("a ttl") > 500,
        "{renewed}"
    );
    let forged = ana
        .call(
            "sub_refresh",
            json!({"channel": "one", "token": grant("two", unix(600))}),
        )
        .await;
    assert_eq!(forged["error"]["code"], 103);
    // A token at its end of life; its client still has a grace period to renew it.
    let brief = ana
        .call("sub_refresh", json!({"channel": "one", "token": grant("one", unix(1))}))
        .await;
    assert_eq!(brief["sub_refresh"], json!({"expires": true, "ttl": 1}));
    server.stop().await;
}

#[tokio::test]
async fn the_echo_endpoint_conforms_to_rfc_6455() {
    let server = Conformance::start().await;
    let open = || RawSocket::open(server.address, "/connection/echo");
    let mut socket = open().await;
    let fragments = [
        frame(0x1, b"h\xc3"),
        frame(0x89, b"ping"),
        frame(0x0, b"\xa9"),
        frame(0x80, b""),
    ]
    .concat();
    socket.send(&fragments).await;
    assert_eq!(socket.next().await, Some((0x8A, b"ping".to_vec())));
    assert_eq!(socket.next().await, Some((0x81, "hé".as_bytes().to_vec())));
    // The echo keeps the frame's type, and reassembles a frame that arrives byte by byte.
    for byte in frame(0x82, &[0, 255, 10]) {
        socket.send(&[byte]).await;
    }
    assert_eq!(socket.next().await, Some((0x82, vec![0, 255, 10])));
    let big: Vec<u8> = (0..16_usize << 20)
        .map(|n| u8::try_from(n % 251).expect("a byte"))
        .collect();
    socket.send(&frame(0x82, &big)).await;
    let (first, got) = socket.next().await.expect("an echo");
    assert!(first == 0x82 && got == big, "the echo of 16 MiB differs");
    socket.send(&frame(0x88, &[3, 233, b'b', b'y', b'e'])).await;
    assert_eq!(
        socket.next().await,
        Some((0x88, vec![3, 233])),
        "the echo must answer a close with its code"
    );
    assert_eq!(socket.next().await, None);

    let mut too_big = vec![0x82, 0xFF];
    too_big.extend_from_slice(&((16_u64 << 20) + 1).to_be_bytes());
    too_big.extend_from_slice(&[0; 4]);
    for (bytes, code) in [
        (frame(0xC1, b"x"), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x80, b"x"), 1002),
        (frame(0x09, b""), 1002),
        (frame(0x88, &[3, 237]), 1002),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x01, b"\xf4\x90"), 1007),
        (too_big, 1009),
    ] {
        let mut socket = open().await;
        socket.send(&[frame(0x81, b"before"), bytes.clone()].concat()).await;
        assert_eq!(socket.next().await, Some((0x81, b"before".to_vec())));
        assert_eq!(socket.closed().await, code, "{bytes:x?}");
    }
    server.stop().await;
}
