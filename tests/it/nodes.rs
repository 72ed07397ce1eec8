//! Several nodes that share a real Postgres and a real Redis.

mod broker;
mod cluster;
pub mod forged;
mod online;
mod recovery;
mod tls;

use std::time::{Duration, Instant};

use liveplan::auth::Role;
use liveplan::config::Config;
use liveplan_hub::cluster::broker::BrokerCounters;
use prometheus_client::metrics::counter::Counter;
use reqwest::Method;
use serde_json::json;

use crate::harness::redis::{Program, Redis};
use crate::harness::{Client, Gym, Socket, TestApp, until};
use crate::plans::{Published, publish};

/// Two nodes: a nutritionist edits on one and watches on the other.
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
    /// Starts both nodes on the Redis at `url`; the watching node reaches it at `watching`, which may be a proxy.
    pub async fn start(url: &str, watching: &str, sweep_every: Duration) -> Self {
        Self::start_with(url, watching, sweep_every, |_| {}).await
    }

    /// The same, with both nodes configured by `adjust`.
    pub async fn start_with(url: &str, watching: &str, sweep_every: Duration, adjust: impl Fn(&mut Config)) -> Self {
        let adjust = &adjust;
        let on = |url: &str| {
            let url = url.to_owned();
            move |config: &mut Config| {
                config.redis_url = Some(url);
                config.live.sweep_every = sweep_every;
                adjust(config);
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
        until("the watching node is subscribed in Redis", async || {
            count(&pair.heard().subscribed) > 0
        })
        .await;
        pair
    }

    /// The broker's counters of the watching node.
    pub fn heard(&self) -> &BrokerCounters {
        &self.two.app.hub.counters.broker
    }

    /// Edits the meal's title and returns the edit's duration.
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

    /// Waits until the screen shows a title, and returns the time it took.
    pub async fn shows(&mut self, title: &str) -> Duration {
        let began = Instant::now();
        let (_, event) = self.screen.publication(&self.channel).await;
        let days = event["patch"]["days"].as_object().expect("days");
        let meals = &days.values().next().expect("a day")["meals"];
        assert_eq!(meals[&self.plan.meal]["title"], title);
        began.elapsed()
    }

    /// Edits until an edit arrives through Redis before the sweep finds it. Each title counts the attempts.
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
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "no change arrived through Redis within 20 s"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn stop(self) {
        self.two.stop().await;
        self.one.stop().await;
    }
}

/// The value of a counter.
pub fn count(counter: &Counter) -> u64 {
    counter.get()
}

/// The sweep is too slow to help here: a change arrives through Redis, or because the node knows that it missed one.
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
async fn changes_and_presence_cross_nodes_through_redis() {
    a_change_crosses_nodes(Program::Redis).await;
}

#[tokio::test]
async fn changes_and_presence_cross_nodes_through_valkey() {
    a_change_crosses_nodes(Program::Valkey).await;
}

#[tokio::test]
async fn a_killed_redis_delays_changes_and_loses_none() {
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
