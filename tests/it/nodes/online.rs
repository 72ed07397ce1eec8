//! Who is online, across nodes that die, pause or lose their leases.

use std::time::{Duration, Instant};

use liveplan::auth::Role;
use liveplan::events::{log_of, user_of};
use redis::Value as Answer;
use serde_json::Value;

use crate::harness::process::Node;
use crate::harness::redis::Redis;
use crate::harness::{Client, Gym, Socket, TestApp, until};

/// A trainer who watches at one node, and members who are theirs.
struct Wall {
    watching: TestApp,
    gym: Gym,
    trainer: Client,
    members: Vec<Client>,
    roster: String,
    socket: Socket,
}

impl Wall {
    async fn start(redis: Option<&Redis>, members: usize) -> Self {
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

    /// The next thing that it is told of a member: whether they are online.
    async fn hears(&mut self) -> (usize, bool) {
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

    /// What a screen that is opened now shows.
    async fn shows(&self) -> Value {
        let mut fresh = self.trainer.socket().await;
        fresh.subscribe(&self.roster).await["subscribe"]["data"].take()
    }
}

#[tokio::test]
async fn somebody_who_reconnects_does_not_flicker_and_who_stays_away_was_last_seen_then() {
    let mut wall = Wall::start(None, 3).await;
    let phone = wall.members[0].socket().await;
    assert_eq!(wall.hears().await, (0, true));
    // Away and back; that two others come one after the other shows that the node looked twice in between.
    drop(phone);
    let accounts = || wall.watching.app.hub.connections().users();
    until("the phone is gone", async || {
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
    // When the socket ended, not when screens were told.
    let late = (seen - before).num_milliseconds();
    assert!((-100..2500).contains(&late), "{late} ms after");
    wall.watching.stop().await;
}

#[tokio::test]
async fn the_members_of_a_killed_node_vanish_together_and_those_of_a_paused_one_come_back() {
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
    assert!(!online && spread < Duration::from_secs(1), "over {spread:?}");
    node.resume();
    assert!(all_three(&mut wall).await.0);
    node.kill();
    let (online, spread) = all_three(&mut wall).await;
    assert!(!online && spread < Duration::from_secs(1), "over {spread:?}");
    drop(phones);
    wall.watching.stop().await;
}

/// What the wall is told of all three, which is the same, and how far apart.
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
async fn leases_that_were_flushed_are_written_again_and_nobody_flickers() {
    let redis = Redis::start().await;
    let mut wall = Wall::start(Some(&redis), 1).await;
    let url = redis.url();
    let other = TestApp::node(&wall.watching.database, |config| config.redis_url = Some(url)).await;
    let phone = wall.members[0].at(other.address).socket().await;
    assert_eq!(wall.hears().await, (0, true));
    let list = format!("liveplan:{{{}}}:online", wall.gym.id);
    for _ in 0..4 {
        redis.ask(&["FLUSHALL"]).await;
        // Both nodes' words are there again.
        let began = Instant::now();
        while redis.ask(&["HLEN", &list]).await != Answer::Int(2) {
            assert!(began.elapsed() < Duration::from_secs(5), "they are not written again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // The next word is that the phone is gone, and only once it is.
    let dropped = Instant::now();
    drop(phone);
    assert_eq!(wall.hears().await, (0, false));
    assert!(dropped.elapsed() > Duration::from_secs(3), "it had been told before");
    other.stop().await;
    wall.watching.stop().await;
}

#[tokio::test]
async fn a_redis_that_is_away_for_long_takes_nobody_offline() {
    let mut redis = Redis::start().await;
    let mut wall = Wall::start(Some(&redis), 1).await;
    let url = redis.url();
    let other = TestApp::node(&wall.watching.database, |config| config.redis_url = Some(url)).await;
    let phone = wall.members[0].at(other.address).socket().await;
    assert_eq!(wall.hears().await, (0, true));
    redis.kill();
    let failures = &wall.watching.app.hub.counters.broker.lease_failures;
    let before = super::count(failures);
    // Longer than a lease and the debounce together.
    until("many exchanges failed", async || super::count(failures) > before + 9).await;
    assert_eq!(wall.shows().await["online"][wall.members[0].account.to_string()], true);
    redis.restart().await;
    let dropped = Instant::now();
    drop(phone);
    assert_eq!(wall.hears().await, (0, false));
    assert!(dropped.elapsed() > Duration::from_secs(3), "it had been told before");
    other.stop().await;
    wall.watching.stop().await;
}
