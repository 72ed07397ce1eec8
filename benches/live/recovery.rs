//! 10,000 clients lose their node to a kill, reconnect to the other one while plans are being edited, and miss nothing.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use liveplan::auth::Role;
use liveplan_hub::protocol::Codec;
use liveplan_load::door::{Door, Position};
use liveplan_load::swarm::{Swarm, Verdict};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::cast;
use super::node::{Node, Redis};
use super::results::Results;
use super::stage::{Gym, Person, Stage};
use super::stats::{ms, quantile};

const CLIENTS: usize = 10_000;
const GYMS: usize = 10;
/// Clients that reconnect at the same time.
const AT_ONCE: usize = 256;
/// The first reconnect delay of an SDK is a random part of this.
const BACKOFF_MS: u64 = 500;
/// Interval of edits of each gym's plan while the clients reconnect.
const EDIT_EVERY: Duration = Duration::from_millis(250);
const AIM: Duration = Duration::from_secs(15);

pub async fn run(stage: &Stage, results: &mut Results) {
    let clients = results.many(CLIENTS);
    results.say(format!(
        "\nrecovery: {clients} clients of {GYMS} gyms whose node is killed, with edits going on at the other"
    ));
    let Some(redis) = Redis::start().await else {
        return results.say("  this machine has no redis-server");
    };
    let environment = [("REDIS_URL", redis.url.as_str())];
    let mut dies = Node::start(&stage.database, &environment).await;
    let lives = Node::start(&stage.database, &environment).await;
    let before = Swarm::start().expect("a swarm");
    let (mut gyms, mut everybody) = (Vec::new(), Vec::new());
    for _ in 0..GYMS {
        let gym = stage.gym().await;
        let count = i64::try_from(clients / GYMS).expect("fits");
        let people = stage.people(gym.id, Role::Manager, count).await;
        everybody.extend(cast::watching(people, &[format!("plan:{}", gym.plan)]));
        gyms.push(gym);
    }
    let mut places = Vec::new();
    for opened in cast::open(&dies.address, everybody.clone()).await {
        places.push(opened.joined[0].position.clone());
        before.join(opened).expect("joined");
    }
    let mut editors = Editors::at(stage, &lives.address, gyms).await;
    for _ in 0..2 {
        editors.edit_all().await;
    }
    let seen = arrived(&before).await;
    for place in &mut places {
        place.offset = place.offset.max(seen.last[&place.channel]);
    }
    dies.kill();
    let killed = Instant::now();
    drop(before);
    let editing = editors.go_on();
    let returning = everybody.into_iter().map(|(person, _)| person).zip(places).collect();
    let (swarm, mut took, recovered) = come_back(&lives.address, returning, killed).await;
    let all = killed.elapsed();
    editing.abort();
    let count = took.len();
    let verdict = arrived(&swarm).await;
    assert!(
        verdict.faults.none() && swarm.lost() == 0,
        "{} {:?}",
        verdict.faults,
        verdict.ends
    );
    assert_eq!(recovered, count, "each client recovered, none needed a new snapshot");
    let publications: u64 = verdict.publications.values().sum();
    results.say(format!(
        "  all back after {} (half after {}); each client recovered, with {publications} publications of their plans meanwhile, nothing missing, nothing repeated; aim <= {} s",
        ms(all),
        ms(quantile(&mut took, 0.5)),
        AIM.as_secs()
    ));
    results.number("all back after, seconds", all.as_secs_f64());
}

/// Reconnects every client with its last position; returns how long each took, and how many recovered.
async fn come_back(address: &str, clients: Vec<(Person, Position)>, killed: Instant) -> (Swarm, Vec<Duration>, usize) {
    let swarm = Swarm::start().expect("a swarm");
    let door = Door {
        address: address.to_owned(),
        codec: Codec::Json,
    };
    let back = stream::iter(clients).map(async |(person, place)| {
        let pause = Duration::from_millis(rand::random_range(0..BACKOFF_MS));
        tokio::time::sleep_until((killed + pause).into()).await;
        let opened = door.open(&person.token, &[place]).await.expect("it comes back");
        let recovered = opened.joined[0].recovered;
        swarm.join(opened).expect("joined");
        (killed.elapsed(), recovered)
    });
    let back: Vec<_> = back.buffer_unordered(AT_ONCE).collect().await;
    let recovered = back.iter().filter(|(_, recovered)| *recovered).count();
    let took = back.into_iter().map(|(took, _)| took).collect();
    (swarm, took, recovered)
}

/// Waits until all subscribers have everything.
async fn arrived(swarm: &Swarm) -> Verdict {
    for _ in 0..200 {
        let before = swarm.deliveries();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let verdict = swarm.judge().await.expect("a verdict");
        if verdict.faults.missing == 0 && swarm.deliveries() == before {
            return verdict;
        }
    }
    swarm.judge().await.expect("a verdict")
}

/// The authors who edit the gyms' plans.
struct Editors {
    http: reqwest::Client,
    meals: Vec<(String, Person, Value)>,
    turn: usize,
}

impl Editors {
    async fn at(stage: &Stage, address: &str, gyms: Vec<Gym>) -> Self {
        let mut meals = Vec::new();
        for gym in gyms {
            let plan = stage.get(&gym.author, &format!("/plans/{}", gym.plan)).await;
            let meal = plan["days"][0]["meals"][0]["id"].as_str().expect("a meal");
            let url = format!("http://{address}/api/v1/plans/{}/days/1/meals/{meal}", gym.plan);
            meals.push((url, gym.author, plan["version"].clone()));
        }
        Self {
            http: reqwest::Client::new(),
            meals,
            turn: 0,
        }
    }

    async fn edit_all(&mut self) {
        self.turn += 1;
        for (url, author, version) in &mut self.meals {
            let title = format!("Lunch {}", self.turn);
            let request = self.http.patch(url.as_str()).bearer_auth(&author.token);
            let request = request
                .header("If-Match", format!("\"{version}\""))
                .json(&json!({"title": title}));
            let answer = request.send().await.expect("an answer");
            let written: Value = answer.error_for_status().expect("an edit").json().await.expect("JSON");
            *version = written["version"].clone();
        }
    }

    /// Edits until the task is aborted.
    fn go_on(mut self) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                self.edit_all().await;
                tokio::time::sleep(EDIT_EVERY).await;
            }
        })
    }
}
