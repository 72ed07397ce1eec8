//! 1,000 commits per second over 20 gyms at one of two nodes, connected by Redis; five sockets of each gym subscribe at
//! the other. Rounds alternate with a bare write-and-commit at the same rate on the same Postgres.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use liveplan::auth::Role;
use liveplan_load::report::Quantiles;
use liveplan_load::swarm::Swarm;
use liveplan_load::ticks::{FIRST_ID, Ticker};
use serde_json::json;

use super::cast::{self, Troupe};
use super::latency;
use super::node::{Node, Redis};
use super::plot::{self, Bar};
use super::results::Results;
use super::stage::Stage;
use super::stats::{quantile, spread};

const GYMS: usize = 20;
const MEMBERS: usize = 10;
const WATCHERS: i64 = 5;
const RATE: u32 = 1_000;
const ROUNDS: usize = 4;
const SECONDS: u32 = 6;

pub async fn run(stage: &Stage, results: &mut Results) {
    let (gyms, rounds) = (results.many(GYMS), results.rounds(ROUNDS));
    let rate = u32::try_from(results.many(RATE as usize)).expect("fits");
    results.say(format!(
        "\ntwo nodes: {rate} commits/s over {gyms} gyms at one, {WATCHERS} sockets of each gym at the other, Redis between; {rounds} rounds of {SECONDS} s"
    ));
    let Some(redis) = Redis::start().await else {
        return results.say("  this machine has no redis-server");
    };
    let environment = [("REDIS_URL", redis.url.as_str())];
    let here = Node::start(&stage.database, &environment).await;
    let there = Node::start(&stage.database, &environment).await;
    let mut acting = Swarm::start().expect("a swarm");
    let watching = Swarm::start().expect("a swarm");
    let mut tickers = Vec::new();
    for _ in 0..gyms {
        let troupe = Troupe::gather(stage, MEMBERS).await;
        let people = stage.people(troupe.gym.id, Role::Manager, WATCHERS).await;
        for opened in cast::open(&there.address, cast::watching(people, &[troupe.roster()])).await {
            watching.join(opened).expect("joined");
        }
        tickers.extend(troupe.tickers(&here.address, &acting).await);
    }
    latency::prepare_bare(stage).await;
    // Warm up caches.
    drive(&mut acting, &mut tickers, rate, 2).await;
    settled(&watching).await;
    let _ = watching.times().await.expect("times");
    let (mut p50, mut p99, mut all) = (Vec::new(), Vec::new(), [const { Vec::new() }; 4]);
    for round in 1..=rounds {
        let mut bare = latency::bare(stage, rate, SECONDS, 32).await;
        let sent = drive(&mut acting, &mut tickers, rate, SECONDS).await;
        settled(&watching).await;
        let times = watching.times().await.expect("times");
        let receipt = Quantiles::of(&times.from_commit).expect("deliveries");
        let bare = [0.5, 0.99].map(|q| quantile(&mut bare, q).as_secs_f64() * 1e3);
        results.say(format!(
            "  round {round}: bare commit p50 {:.2} ms p99 {:.2} ms; change begun to receipt {receipt} ({:.0} commits/s, {} deliveries)",
            bare[0],
            bare[1],
            f64::from(sent) / f64::from(SECONDS),
            times.from_commit.len()
        ));
        p50.push(receipt.p50 / bare[0]);
        p99.push(receipt.p99 / bare[1]);
        for (list, value) in all.iter_mut().zip([bare[0], receipt.p50, bare[1], receipt.p99]) {
            list.push(value);
        }
    }
    let verdict = watching.judge().await.expect("a verdict");
    assert!(verdict.faults.none(), "{}", verdict.faults);
    results.say(format!(
        "  receipt / bare commit: p50 {}, p99 {}; aim p99 <= 2; no hole, nothing twice",
        spread(p50.clone()),
        spread(p99.clone())
    ));
    results.number("receipt over bare commit", json!({"p50": p50, "p99": p99}));
    draw(results, all);
}

fn draw(results: &mut Results, all: [Vec<f64>; 4]) {
    let names = ["bare commit", "change begun to receipt"];
    let mut bars = all.map(|mut list| {
        list.sort_by(f64::total_cmp);
        (list[list.len() / 2], list[0], list[list.len() - 1])
    });
    let mut groups = Vec::new();
    for (quantile, pair) in ["p50", "p99"].iter().zip(bars.chunks_mut(2)) {
        let bars = pair.iter().zip(names).map(|((value, low, high), name)| Bar {
            name: name.into(),
            value: *value,
            low: *low,
            high: *high,
            label: format!("{value:.2} ms"),
            ours: name != names[0],
        });
        groups.push(((*quantile).to_owned(), bars.collect()));
    }
    let title = "1,000 commits a second, two nodes, Redis between";
    let below = "Latency until a socket at the other node has it, next to a bare write-and-commit at the same rate; lines are the range over the rounds.";
    results.plot("nodes.svg", &plot::bars(title, below, &groups));
}

/// Lets members tick at this rate, each waiting for a reply; returns how many ticks were accepted.
async fn drive(swarm: &mut Swarm, tickers: &mut [Ticker], rate: u32, seconds: u32) -> u32 {
    let mut idle: VecDeque<usize> = (0..tickers.len()).collect();
    let (began, whole) = (Instant::now(), Duration::from_secs(seconds.into()));
    let (mut sent, mut accepted) = (0_u128, 0);
    let first = tickers.first().map_or(0, |ticker| ticker.key);
    while began.elapsed() < whole || idle.len() < tickers.len() {
        let due = began.elapsed().min(whole).as_micros() * u128::from(rate) / 1_000_000;
        while sent < due
            && let Some(at) = idle.pop_front()
        {
            tickers[at].tick(swarm).expect("sent");
            sent += 1;
        }
        let mut next = tokio::time::timeout(Duration::from_millis(1), swarm.answers.recv())
            .await
            .ok()
            .flatten();
        while let Some(answered) = next {
            if answered.id > FIRST_ID {
                assert!(answered.accepted, "a tick is accepted");
                accepted += 1;
                // Keys are consecutive, so this is the ticker's index.
                idle.push_back(answered.key - first);
            }
            next = swarm.answers.try_recv().ok();
        }
    }
    accepted
}

/// Waits until all subscribers have everything, twice in a row.
async fn settled(swarm: &Swarm) {
    let mut before = u64::MAX;
    for _ in 0..200 {
        let now = swarm.deliveries();
        if now == before && swarm.judge().await.expect("a verdict").faults.missing == 0 {
            return;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let verdict = swarm.judge().await.expect("a verdict");
    panic!("{} {:?}", verdict.faults, verdict.ends);
}
