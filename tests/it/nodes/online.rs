//! Presence across nodes that die, pause or lose their leases.

use std::time::{Duration, Instant};

use liveplan::auth::Role;
use liveplan::events::{log_of, user_of};
use redis::Value as Answer;
use serde_json::Value;

use crate::harness::process::Node;
use crate::harness::redis::Redis;
use crate::harness::{Client, Gym, Socket, TestApp, until};

/// A trainer who watches their roster at one node, and the trainer's members.
pub struct Wall {
    pub watching: TestApp,
    pub gym: Gym,
    trainer: Client,
    pub members: Vec<Client>,
    roster: String,
    socket: Socket,
}

impl Wall {
    pub async fn start(redis: Option<&Redis>, members: usize) -> Self {
        let url = redis.map(Redis::url);
        let watching = TestApp::start_with(|config| config.redis_url = url).await;
        let gym = watching.gym().await;
        let trainer = watching.person(gym, &[Role::Trainer]).await;
        let roster = format!("roster:{}", trainer.account);
        let mut wall = Self {
            socket: trainer.socket().await,
            watching,
            gym,
            trainer,
            members: Vec::new(),
            roster,
        };
        for _ in 0..members {
            let member = wall.watching.person(gym, &[Role::Member]).await;
            wall.watching.assign(gym, &wall.trainer, &member).await;
            wall.members.push(member);
        }
        wall.socket.subscribe(&wall.roster).await;
        wall
    }

    /// Waits for the next change of presence and returns the member's index and whether they are online.
    pub async fn hears(&mut self) -> (usize, bool) {
        let (offset, event) = self.socket.publication(&self.roster).await;
        assert_eq!((offset, event["type"].as_str()), (0, Some("presence.changed")));
        let (account, online) = event["patch"]["online"]
            .as_object()
            .and_then(|o| o.iter().next())
            .expect("somebody");
        let known = |m: &Client| m.account.to_string() == *account;
        let member = self.members.iter().position(known).expect("a member");
        let last_seen = &event["patch"]["last_seen"][account];
        assert_eq!(last_seen.is_null(), online == true, "{event}");
        (member, online == true)
    }

    /// The roster state that a new subscription gets.
    pub async fn shows(&self) -> Value {
        let mut fresh = self.trainer.socket().await;
        fresh.subscribe(&self.roster).await["subscribe"]["data"].take()
    }
}

#[tokio::test]
async fn a_quick_reconnect_does_not_flicker_and_last_seen_is_the_time_of_the_disconnect() {
    let mut wall = Wall::start(None, 3).await;
    let phone = wall.members[0].socket().await;
    assert_eq!(wall.hears().await, (0, true));
    // The phone disconnects and returns. The two other members show that the node checked presence twice meanwhile.
    drop(phone);
    let accounts = || wall.watching.app.hub.connections().users();
    until("the phone's account is gone", async || {
        !accounts()[&log_of(wall.gym.id)].contains(&user_of(wall.members[0].account))
    })
    .await;
    let other = wall.members[1].socket().await;
    assert_eq!(wall.hears().await, (1, true));
    let _third = wall.members[2].socket().await;
    assert_eq!(wall.hears().await, (2, true));
    assert_eq!(wall.shows().await["online"][wall.members[0].account.to_string()], true);
    let phone = wall.members[0].socket().await;
    drop(other);
    assert_eq!(wall.hears().await, (1, false));
    let before = wall.watching.app.clock.now();
    drop(phone);
    assert_eq!(wall.hears().await, (0, false));
    let account = wall.members[0].account.to_string();
    let shown = wall.shows().await;
    assert!(shown["online"][&account].is_null(), "{shown}");
    let seen: chrono::DateTime<chrono::Utc> = shown["last_seen"][&account]
        .as_str()
        .and_then(|at| at.parse().ok())
        .expect("a time");
    // `last_seen` is the time when the socket ended, not the time of the publication.
    let late = (seen - before).num_milliseconds();
    assert!((-100..2500).contains(&late), "last_seen is {late} ms late");
    wall.watching.stop().await;
}

#[tokio::test]
async fn members_of_a_killed_node_go_offline_together_and_those_of_a_paused_node_come_back() {
    let redis = Redis::start().await;
    let mut wall = Wall::start(Some(&redis), 3).await;
    let mut node = Node::start(&wall.watching.database, &redis.url()).await;
    let mut phones = Vec::new();
    for member in &wall.members {
        phones.push(member.at(node.address).socket().await);
    }
    assert!(all_three(&mut wall).await.0);
    node.pause();
    let (online, spread) = all_three(&mut wall).await;
    assert!(
        !online && spread < Duration::from_secs(1),
        "online: {online}, within {spread:?}"
    );
    node.resume();
    assert!(all_three(&mut wall).await.0);
    node.kill();
    let (online, spread) = all_three(&mut wall).await;
    assert!(
        !online && spread < Duration::from_secs(1),
        "online: {online}, within {spread:?}"
    );
    drop(phones);
    wall.watching.stop().await;
}

/// The presence that the wall gets for all three members, which must be the same, and the time between first and last.
async fn all_three(wall: &mut Wall) -> (bool, Duration) {
    let (first, online) = wall.hears().await;
    let began = Instant::now();
    let mut others = [wall.hears().await, wall.hears().await];
    others.sort_unstable();
    let mut expected: Vec<_> = (0..3).filter(|n| *n != first).map(|n| (n, online)).collect();
    expected.sort_unstable();
    assert_eq!(others.to_vec(), expected);
    (online, began.elapsed())
}

#[tokio::test]
async fn flushed_leases_are_renewed_and_nobody_flickers() {
    let redis = Redis::start().await;
    let mut wall = Wall::start(Some(&redis), 1).await;
    let url = redis.url();
    let other = TestApp::node(&wall.watching.database, |config| config.redis_url = Some(url)).await;
    let phone = wall.members[0].at(other.address).socket().await;
    assert_eq!(wall.hears().await, (0, true));
    let list = format!("liveplan:{{{}}}:presence", wall.gym.id);
    for _ in 0..4 {
        redis.ask(&["FLUSHALL"]).await;
        // Both nodes have written their lists again.
        let began = Instant::now();
        while redis.ask(&["HLEN", &list]).await != Answer::Int(2) {
            assert!(began.elapsed() < Duration::from_secs(5), "the leases are not renewed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // The next change of presence is the disconnect, and it comes only after the debounce.
    let dropped = Instant::now();
    drop(phone);
    assert_eq!(wall.hears().await, (0, false));
    assert!(
        dropped.elapsed() > Duration::from_secs(3),
        "the member went offline before the disconnect"
    );
    other.stop().await;
    wall.watching.stop().await;
}

#[tokio::test]
async fn a_long_absence_of_redis_takes_nobody_offline() {
    let mut redis = Redis::start().await;
    let mut wall = Wall::start(Some(&redis), 1).await;
    let url = redis.url();
    let other = TestApp::node(&wall.watching.database, |config| config.redis_url = Some(url)).await;
    let phone = wall.members[0].at(other.address).socket().await;
    assert_eq!(wall.hears().await, (0, true));
    redis.kill();
    let failures = &wall.watching.app.hub.counters.broker.lease_failures;
    let before = super::count(failures);
    // Longer than the lease and the debounce together.
    until("ten renewals of the lease have failed", async || {
        super::count(failures) > before + 9
    })
    .await;
    assert_eq!(wall.shows().await["online"][wall.members[0].account.to_string()], true);
    redis.restart().await;
    let dropped = Instant::now();
    drop(phone);
    assert_eq!(wall.hears().await, (0, false));
    assert!(
        dropped.elapsed() > Duration::from_secs(3),
        "the member went offline before the disconnect"
    );
    other.stop().await;
    wall.watching.stop().await;
}
