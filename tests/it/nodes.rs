//! Several nodes on one Postgres and one Redis, all real.

mod broker;
mod cluster;
mod online;
mod recovery;

use std::time::{Duration, Instant};

use liveplan::auth::Role;
use liveplan::config::Config;
use liveplan_hub::cluster::broker::BrokerCounters;
use prometheus_client::metrics::counter::Counter;
use reqwest::Method;
use serde_json::json;

use crate::harness::redis::{Program, Redis};
use crate::harness::{Client, Gym, Socket, TestApp};
use crate::plans::{Published, publish};

/// Two nodes: somebody edits at one, and watches at the other.
pub struct Pair {
    pub one: TestApp,
    pub two: TestApp,
    pub gym: Gym,
    pub author: Client,
    plan: Published,
    pub channel: String,
    pub screen: Socket,
}

impl Pair {
    /// On a Redis; the watching node may see it through a proxy.
    pub async fn start(url: &str, watching: &str, sweep_every: Duration) -> Self {
        let on = |url: &str| {
            let url = url.to_owned();
            move |config: &mut Config| {
                config.redis_url = Some(url);
                config.live.sweep_every = sweep_every;
            }
        };
        let one = TestApp::start_with(on(url)).await;
        let two = TestApp::node(&one.database, on(watching)).await;
        let gym = one.gym().await;
        Self::in_gym(one, two, gym).await
    }

    async fn in_gym(one: TestApp, two: TestApp, gym: Gym) -> Self {
        let author = one.person(gym, &[Role::Nutritionist]).await;
        let plan = publish(&author, one.food().await).await;
        let channel = format!("plan:{}", plan.id);
        let mut screen = author.at(two.address).socket().await;
        screen.subscribe(&channel).await;
        let pair = Self {
            one,
            two,
            gym,
            author,
            plan,
            channel,
            screen,
        };
        until("the watching node hears", || count(&pair.heard().subscribed) > 0).await;
        pair
    }

    /// Counters of the watching node.
    pub fn heard(&self) -> &BrokerCounters {
        &self.two.app.hub.counters.broker
    }

    /// Edits, and returns how long the edit took.
    pub async fn edit(&mut self, title: &str) -> Duration {
        let path = format!("/plans/{}/days/1/meals/{}", self.plan.id, self.plan.meal);
        let began = Instant::now();
        let made = self
            .author
            .write(Method::PATCH, &path, Some(&json!({"title": title})), self.plan.version)
            .await
            .ok();
        self.plan.version = made["version"].as_i64().expect("a version");
        began.elapsed()
    }

    /// Waits until the screen shows a title, and returns how long it took.
    pub async fn shows(&mut self, title: &str) -> Duration {
        let began = Instant::now();
        let (_, event) = self.screen.publication(&self.channel).await;
        let days = event["patch"]["days"].as_object().expect("days");
        let meals = &days.values().next().expect("a day")["meals"];
        assert_eq!(meals[&self.plan.meal]["title"], title);
        began.elapsed()
    }

    /// Edits until an edit came through Redis and not by the sweep. How many it took shows in the titles.
    pub async fn is_fast_again(&mut self) {
        let received = count(&self.heard().received);
        let began = Instant::now();
        for n in 0.. {
            let title = format!("Otra vez {n}");
            self.edit(&title).await;
            self.shows(&title).await;
            if count(&self.heard().received) > received {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "nothing comes through Redis");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn stop(self) {
        self.two.stop().await;
        self.one.stop().await;
    }
}

/// What a counter says.
pub fn count(counter: &Counter) -> u64 {
    counter.get()
}

/// Waits, for a bounded time, until something is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(20), "not so that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A sweep too slow to help: what arrives came through Redis, or because the node knew that it had missed something.
pub const NEVER: Duration = Duration::from_hours(1);

async fn a_change_crosses_nodes(program: Program) {
    let redis = Redis::of(program).await;
    let mut pair = Pair::start(&redis.url(), &redis.url(), NEVER).await;
    for title in ["Cena", "Merienda"] {
        pair.edit(title).await;
        pair.shows(title).await;
    }
    let (one, gym) = (&pair.one, pair.gym);
    let trainer = one.person(gym, &[Role::Trainer]).await;
    let member = one.person(gym, &[Role::Member]).await;
    one.assign(gym, &trainer, &member).await;
    let roster = format!("roster:{}", trainer.account);
    let mut wall = trainer.at(pair.two.address).socket().await;
    wall.subscribe(&roster).await;
    let phone = member.socket().await;
    let (offset, event) = wall.publication(&roster).await;
    assert_eq!((offset, event["type"].as_str()), (0, Some("presence.changed")));
    assert_eq!(event["patch"]["online"][member.account.to_string()], true);
    drop(phone);
    let (_, event) = wall.publication(&roster).await;
    assert!(event["patch"]["online"][member.account.to_string()].is_null());
    assert!(event["patch"]["last_seen"][member.account.to_string()].is_string());
    pair.stop().await;
}

#[tokio::test]
async fn a_change_crosses_nodes_through_redis_and_presence_does_too() {
    a_change_crosses_nodes(Program::Redis).await;
}

#[tokio::test]
async fn a_change_crosses_nodes_through_valkey_and_presence_does_too() {
    a_change_crosses_nodes(Program::Valkey).await;
}

#[tokio::test]
async fn a_killed_redis_delays_a_change_and_loses_nothing() {
    let mut redis = Redis::start().await;
    let mut pair = Pair::start(&redis.url(), &redis.url(), Duration::from_secs(1)).await;
    for (n, title) in ["Antes", "Sin Redis", "Después"].into_iter().enumerate() {
        match n {
            1 => redis.kill(),
            2 => redis.restart().await,
            _ => {}
        }
        pair.edit(title).await;
        let took = pair.shows(title).await;
        assert!(took < Duration::from_secs(3), "{title} took {took:?}");
    }
    pair.is_fast_again().await;
    pair.stop().await;
}
