//! Completions per second of 32 members, each of whom waits for a reply before the next, in one gym and in many:
//! folded, and with one transaction each (`FOLD_BATCH=1`). Both nodes run throughout on one Postgres; rounds alternate
//! between them.

use std::time::{Duration, Instant};

use liveplan_load::report::Quantiles;
use liveplan_load::swarm::{Answered, Swarm};
use liveplan_load::ticks::{FIRST_ID, Ticker};
use serde_json::json;

use super::cast::Troupe;
use super::node::Node;
use super::plot::{self, Bar};
use super::results::Results;
use super::stage::Stage;
use super::stats::spread;

const CLIENTS: usize = 32;
const MANY: usize = 8;
const ROUNDS: usize = 4;
const TIME: Duration = Duration::from_secs(4);
const WAYS: [&str; 2] = ["one by one", "folded"];

/// The members of one or more gyms; each has a socket at both nodes.
struct Crowd {
    name: String,
    tickers: Vec<Ticker>,
    keys: [Vec<usize>; 2],
}

pub async fn run(stage: &Stage, results: &mut Results) {
    let rounds = results.rounds(ROUNDS);
    let time = if results.small { TIME / 8 } else { TIME };
    results.say(format!(
        "\nfolding: {CLIENTS} clients that wait for each answer, {rounds} rounds of {} s",
        time.as_secs_f64()
    ));
    let single = Node::start(&stage.database, &[("FOLD_BATCH", "1")]).await;
    let mut swarms = [Swarm::start().expect("a swarm"), Swarm::start().expect("a swarm")];
    let addresses = [single.address.as_str(), stage.address.as_str()];
    let mut groups = Vec::new();
    for gyms in [1, MANY] {
        let mut crowd = Crowd::gather(stage, gyms, &swarms, addresses).await;
        // Warm up caches.
        for (way, swarm) in swarms.iter_mut().enumerate() {
            crowd.work(way, swarm, time / 4).await;
        }
        let (mut speeds, mut tails) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for round in 1..=rounds {
            let mut said = Vec::new();
            for (way, swarm) in swarms.iter_mut().enumerate() {
                let (speed, times) = crowd.work(way, swarm, time).await;
                said.push(format!("{} {speed:.0}/s ({times})", WAYS[way]));
                speeds[way].push(speed);
                tails[way].push(times.p99);
            }
            results.say(format!("  {}, round {round}: {}", crowd.name, said.join("; ")));
        }
        let ratios = |lists: &[Vec<f64>; 2]| -> Vec<f64> {
            lists[1]
                .iter()
                .zip(&lists[0])
                .map(|(folded, single)| folded / single)
                .collect()
        };
        results.say(format!(
            "  {}: folded / one by one {}, aim >= 4; p99 {}, aim <= 1",
            crowd.name,
            spread(ratios(&speeds)),
            spread(ratios(&tails))
        ));
        results.number(
            &crowd.name,
            json!({"per_second": speeds, "p99_ms": tails, "folded_over_one_by_one": ratios(&speeds)}),
        );
        let bars = WAYS.iter().zip(speeds).map(|(way, mut speeds)| {
            speeds.sort_by(f64::total_cmp);
            let value = speeds[speeds.len() / 2];
            Bar {
                name: (*way).into(),
                value,
                low: speeds[0],
                high: speeds[speeds.len() - 1],
                label: format!("{value:.0} a second"),
                ours: *way == WAYS[1],
            }
        });
        groups.push((crowd.name, bars.collect()));
    }
    let below = "Each client waits only for its reply before the next completion; lines are the range over the rounds.";
    results.plot("folding.svg", &plot::bars("Completions of 32 clients", below, &groups));
}

impl Crowd {
    async fn gather(stage: &Stage, gyms: usize, swarms: &[Swarm; 2], addresses: [&str; 2]) -> Self {
        let (mut tickers, mut keys) = (Vec::new(), [Vec::new(), Vec::new()]);
        for _ in 0..gyms {
            let troupe = Troupe::gather(stage, CLIENTS / gyms).await;
            for way in 0..2 {
                let opened = troupe.tickers(addresses[way], &swarms[way]).await;
                keys[way].extend(opened.iter().map(|ticker| ticker.key));
                if way == 1 {
                    tickers.extend(opened);
                }
            }
        }
        Self {
            name: if gyms == 1 {
                "one gym".into()
            } else {
                format!("{gyms} gyms")
            },
            tickers,
            keys,
        }
    }

    /// Completions per second at one of the nodes, and their latencies until the member's own socket had them.
    async fn work(&mut self, way: usize, swarm: &mut Swarm, time: Duration) -> (f64, Quantiles) {
        let keys = &self.keys[way];
        let _ = swarm.times().await.expect("times");
        let began = Instant::now();
        let (mut accepted, mut waiting) = (0_u32, 0);
        for (ticker, key) in self.tickers.iter_mut().zip(keys) {
            ticker.key = *key;
            send(ticker, swarm);
            waiting += 1;
        }
        while waiting > 0 {
            let Answered { key, id, accepted: yes } = swarm.answers.recv().await.expect("an answer");
            let Some(at) = keys.iter().position(|k| *k == key).filter(|_| id > FIRST_ID) else {
                continue;
            };
            assert!(yes, "a completion is accepted");
            if began.elapsed() < time {
                accepted += 1;
                send(&mut self.tickers[at], swarm);
            } else {
                waiting -= 1;
            }
        }
        let times = swarm.times().await.expect("times");
        (
            f64::from(accepted) / time.as_secs_f64(),
            Quantiles::of(&times.from_send).expect("deliveries"),
        )
    }
}

fn send(ticker: &mut Ticker, swarm: &Swarm) {
    swarm.sent(&ticker.channel).expect("said");
    ticker.tick(swarm).expect("sent");
}
