//! An attacker who can read and write everything in Redis, with a real client of Redis, and whose records show nowhere.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use liveplan::auth::Role;
use liveplan::events::log_of;
use liveplan_hub::cluster::keyring::{Key, Keyring, Kind};
use liveplan_hub::cluster::wire::{self, NodeMessage};
use liveplan_hub::ids::{LogId, UserId};
use liveplan_hub::log::change::{Committed, LoggedEvent};
use redis::Value;
use serde_json::json;
use uuid::Uuid;

use super::online::Wall;
use super::{NEVER, Pair, count};
use crate::harness::metrics::Scrape;
use crate::harness::redis::Redis;
use crate::harness::{TestApp, until};

/// Bytes of a sealed record before its body: version, key id, MAC.
const HEADER: usize = 49;

/// The attacker's connection.
pub struct Attacker {
    redis: redis::aio::MultiplexedConnection,
    port: u16,
}

impl Attacker {
    pub async fn on(redis: &Redis) -> Self {
        let client = redis::Client::open(redis.url()).expect("a client");
        Self {
            redis: client.get_multiplexed_async_connection().await.expect("a connection"),
            port: redis.port,
        }
    }

    /// Sends a command with binary arguments.
    pub async fn ask(&mut self, command: &[&[u8]]) -> Value {
        let mut message = redis::Cmd::new();
        for word in command {
            message.arg(*word);
        }
        message.query_async(&mut self.redis).await.expect("an answer")
    }

    pub async fn bytes(&mut self, command: &[&[u8]]) -> Option<Vec<u8>> {
        match self.ask(command).await {
            Value::BulkString(bytes) => Some(bytes),
            Value::Nil => None,
            other => panic!("not bytes: {other:?}"),
        }
    }

    /// Publishes to a log's channel, and asserts that a node listens there.
    async fn publish(&mut self, log: LogId, message: &[u8]) {
        let heard = self.ask(&[b"PUBLISH", channel(log).as_bytes(), message]).await;
        assert_eq!(heard, Value::Int(1), "no node listens");
    }

    /// Listens to a log's channel from now on.
    pub async fn listen(&self, log: LogId) -> redis::aio::PubSub {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).expect("a client");
        let mut ears = client.get_async_pubsub().await.expect("a connection");
        ears.subscribe(channel(log)).await.expect("subscribed");
        ears
    }
}

fn channel(log: LogId) -> String {
    format!("liveplan:{{{log}}}:live")
}

/// The next genuine change on a channel: its sealed message and its content.
pub async fn overhear(ears: &mut redis::aio::PubSub) -> (Vec<u8>, Uuid, Committed) {
    let mut messages = ears.on_message();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), messages.next());
        let message = next.await.expect("in time").expect("a message");
        let sealed: Vec<u8> = message.get_payload().expect("bytes");
        if let Some((node, NodeMessage::Change(change))) = wire::decode(&sealed[HEADER..]) {
            return (sealed, node, change);
        }
    }
}

/// What an attacker can make of a genuine message, so that it shows another title.
fn forgeries(genuine: &[u8], node: Uuid, change: &Committed) -> Vec<(&'static str, Vec<u8>)> {
    let shown = String::from_utf8(change.events[0].payload.to_vec()).expect("text");
    let event = LoggedEvent {
        channel: change.events[0].channel.clone(),
        payload: shown.replace("Cena", "Robo").into(),
    };
    let next = Committed {
        seq: change.seq + 1,
        events: vec![event],
        ..change.clone()
    };
    let body = wire::encode(node, &next);
    let own = Key {
        id: Uuid::from_slice(&genuine[1..17]).expect("an id"),
        secret: [7; 32],
    };
    let place = channel(change.log);
    let mut raised = genuine.to_vec();
    // The last byte of the number, after version, node, kind and log.
    raised[HEADER + 1 + 16 + 1 + 16 + 7] += 1;
    let mut other_title = genuine.to_vec();
    let at = genuine.windows(4).position(|w| w == b"Cena").expect("the title");
    other_title[at..at + 4].copy_from_slice(b"Robo");
    vec![
        ("in clear, as an earlier release sends it", body.clone()),
        ("under the genuine MAC", [&genuine[..HEADER], &body].concat()),
        (
            "under an own key with the genuine key's id",
            Keyring::new(&own, &[]).seal(Kind::Message, &[place.as_bytes()], &body),
        ),
        ("with another number", raised),
        ("with another title", other_title),
        ("cut", genuine[..genuine.len() - 1].to_vec()),
        ("with a byte more", [genuine, b" "].concat()),
        ("empty", Vec::new()),
    ]
}

#[tokio::test]
async fn forged_altered_and_misplaced_messages_show_nothing_and_are_counted() {
    let redis = Redis::start().await;
    let mut pair = Pair::start(&redis.url(), &redis.url(), NEVER).await;
    let log = log_of(pair.gym.id);
    let mut attacker = Attacker::on(&redis).await;
    let mut ears = attacker.listen(log).await;
    pair.edit("Cena").await;
    pair.shows("Cena").await;
    let (genuine, node, change) = overhear(&mut ears).await;
    assert_eq!(change.log, log);
    drop(ears);

    let keyring = pair.two.app.hub.keyring().expect("other nodes").clone();
    let forgeries = forgeries(&genuine, node, &change);
    for (n, (what, forged)) in forgeries.iter().enumerate() {
        attacker.publish(log, forged).await;
        until(&format!("a message {what} is counted"), async || {
            keyring.refused(Kind::Message) == n as u64 + 1
        })
        .await;
    }
    // A genuine message of this gym on another gym's channel.
    let other = pair.two.gym().await;
    let stranger = pair.two.person(other, &[Role::Nutritionist]).await;
    let theirs = crate::plans::publish(&stranger, pair.two.food().await).await;
    let mut screen = stranger.at(pair.two.address).socket().await;
    screen.subscribe(&format!("plan:{}", theirs.id)).await;
    let listening = async || redis.listeners(other.id).await == 1;
    until("the node listens to the other gym's channel", listening).await;
    attacker.publish(log_of(other.id), &genuine).await;
    let refused = forgeries.len() as u64 + 1;
    until("the misplaced message is counted", async || {
        keyring.refused(Kind::Message) == refused
    })
    .await;

    // A replay at its own place opens, but its number was delivered.
    let received = count(&pair.heard().received);
    attacker.publish(log, &genuine).await;
    until("the replay is received", async || {
        count(&pair.heard().received) > received
    })
    .await;

    // The next thing that the screen shows is the next true change, and it comes through Redis.
    pair.edit("Merienda").await;
    pair.shows("Merienda").await;
    assert_eq!(keyring.refused(Kind::Message), refused);
    let scrape = Scrape::of(pair.two.metrics).await;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let refused = refused as f64;
    assert!((scrape.value("redis_refused_total{kind=\"message\"}") - refused).abs() < 0.5);
    pair.stop().await;
}

fn lease_key(node: &str) -> String {
    format!("liveplan:{{nodes}}:lease:{node}")
}

const LEASES: &[u8] = b"liveplan:{nodes}:leases";

fn list_key(log: LogId) -> String {
    format!("liveplan:{{{log}}}:presence")
}

#[tokio::test]
async fn nobody_looks_online_by_a_lease_or_list_that_no_node_wrote() {
    let redis = Redis::start().await;
    let mut wall = Wall::start(Some(&redis), 2).await;
    let log = log_of(wall.gym.id);
    let mut attacker = Attacker::on(&redis).await;
    let users = wall.members.iter().map(|member| *UserId(member.account.0).0.as_bytes());
    let users: Vec<u8> = users.collect::<Vec<_>>().concat();
    let expires =
        (chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).timestamp_millis() + 10_000).to_be_bytes();
    let own = Keyring::new(
        &Key {
            id: Uuid::new_v4(),
            secret: [7; 32],
        },
        &[],
    );
    let keyring = wall.watching.app.hub.keyring().expect("other nodes").clone();
    let began = Instant::now();
    // Longer than any debounce, with every kind of forgery at once.
    while began.elapsed() < Duration::from_secs(6) {
        for (node, sealed) in [(Uuid::new_v4(), true), (Uuid::new_v4(), false)] {
            let (node, list) = (node.to_string(), list_key(log));
            let lease = lease_key(&node);
            let (lease_value, entry) = if sealed {
                let body = [&expires[..], &users].concat();
                (
                    own.seal(Kind::Presence, &[lease.as_bytes()], &expires),
                    own.seal(Kind::Presence, &[list.as_bytes(), node.as_bytes()], &body),
                )
            } else {
                (b"1".to_vec(), users.clone())
            };
            attacker.ask(&[b"SADD", LEASES, node.as_bytes()]).await;
            attacker.ask(&[b"SET", lease.as_bytes(), &lease_value]).await;
            attacker.ask(&[b"HSET", list.as_bytes(), node.as_bytes(), &entry]).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        keyring.refused(Kind::Presence) > 10,
        "{}",
        keyring.refused(Kind::Presence)
    );
    assert_eq!(wall.shows().await["online"], json!({}));
    // The first change that the wall hears is a true one.
    let _phone = wall.members[1].socket().await;
    assert_eq!(wall.hears().await, (1, true));
    wall.watching.stop().await;
}

#[tokio::test]
async fn nobody_stays_online_by_a_lease_or_list_that_is_put_back() {
    let redis = Redis::start().await;
    let mut wall = Wall::start(Some(&redis), 2).await;
    let log = log_of(wall.gym.id);
    let url = redis.url();
    let other = TestApp::node(&wall.watching.database, |config| config.redis_url = Some(url)).await;
    let phones = [
        wall.members[0].at(other.address).socket().await,
        wall.members[1].at(other.address).socket().await,
    ];
    let mut came = [wall.hears().await, wall.hears().await];
    came.sort_unstable();
    assert_eq!(came, [(0, true), (1, true)]);
    let mut attacker = Attacker::on(&redis).await;
    let (node, list) = (other.app.hub.node.clone(), list_key(log));
    let lease = lease_key(&node);
    let entry = [b"HGET", list.as_bytes(), node.as_bytes()];
    let with_both = attacker.bytes(&entry).await.expect("an entry");

    // One member leaves; the node lives, and the attacker writes its earlier list over each new one.
    let [leaving, staying] = phones;
    drop(leaving);
    let zero = wall.members[0].account.to_string();
    let one = json!({wall.members[1].account.to_string(): true});
    let put_back: [&[u8]; 4] = [b"HSET", list.as_bytes(), node.as_bytes(), &with_both];
    let only_the_list: [&[&[u8]]; 1] = [&put_back];
    let replaying = async |attacker: &mut Attacker, commands: &[&[&[u8]]]| {
        loop {
            for command in commands {
                attacker.ask(command).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let offline = async || wall.shows().await["online"][&zero].is_null();
    tokio::select! {
        () = until("the member who left is offline", offline) => {}
        () = replaying(&mut attacker, &only_the_list) => unreachable!("it goes on"),
    }
    // Once the attacker stops, the node's own list is there again.
    let healed = async || wall.shows().await["online"] == one;
    until("the member who stayed is online", healed).await;

    // The node ends, and the attacker keeps its last lease and lists in place.
    let last = attacker.bytes(&[b"GET", lease.as_bytes()]).await.expect("a lease");
    let with_one = attacker.bytes(&entry).await.expect("an entry");
    drop(staying);
    other.stop().await;
    let entry: [&[u8]; 4] = [b"HSET", list.as_bytes(), node.as_bytes(), &with_one];
    let commands: [&[&[u8]]; 3] = [
        &[b"SADD", LEASES, node.as_bytes()],
        &[b"SET", lease.as_bytes(), &last],
        &entry,
    ];
    let nobody = async || wall.shows().await["online"] == json!({});
    let began = Instant::now();
    tokio::select! {
        () = async {
            until("nobody is online", nobody).await;
            // And nobody comes back, however long the attacker goes on.
            while began.elapsed() < Duration::from_secs(20) {
                assert!(nobody().await, "a member of a node that has ended is online");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        } => {}
        () = replaying(&mut attacker, &commands) => unreachable!("it goes on"),
    }
    let keyring = wall.watching.app.hub.keyring().expect("other nodes");
    assert!(keyring.refused(Kind::Presence) > 0);
    wall.watching.stop().await;
}
