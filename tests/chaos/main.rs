//! Chaos test: two nodes, Redis, Postgres and 200 clients of both codecs, under load and with random faults in every
//! component. When the faults are over, every screen shows the database's state, no acknowledged command is lost or has
//! taken effect twice, and nobody watches a channel without the right.
//!
//! The short form is part of `cargo test`; `make chaos` runs the long one. `CHAOS_SEED` replays a schedule of faults,
//! `CHAOS_SECONDS` sets the time during which faults occur.

#![expect(clippy::expect_used, reason = "a test that lacks something it needs fails")]

mod check;
mod client;
mod faults;
#[path = "../it/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the integration tests use the rest")]
mod harness;
mod load;
mod schedule;
mod seen;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client::Client;
use faults::Faults;
use load::{Book, Rest};
use world::World;

/// The duration of the faults in the short form, in seconds.
const SHORT_SECONDS: u64 = 40;
/// The time within which all clients must have connected for the first time.
const CONNECTED_WITHIN: Duration = Duration::from_mins(1);
/// The maximum number of findings that are printed.
const SHOWN: usize = 200;

fn main() -> ExitCode {
    // `cargo test NAME` runs this binary too: it acts as one test named `chaos` and runs only if that is meant.
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let listed = std::env::args().any(|arg| arg == "--list");
    if listed || wanted.is_some_and(|name| !"chaos".contains(&name)) {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("CHAOS_SEED").unwrap_or_else(rand::random);
    let run = Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(SHORT_SECONDS));
    println!("chaos: CHAOS_SEED={seed} CHAOS_SECONDS={}", run.as_secs());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let wrong = runtime.block_on(chaos(seed, run));
    for text in wrong.iter().take(SHOWN) {
        println!("WRONG {text}");
    }
    if wrong.is_empty() {
        println!("chaos: passed with CHAOS_SEED={seed}");
        return ExitCode::SUCCESS;
    }
    println!(
        "chaos: {} findings. Again: CHAOS_SEED={seed} CHAOS_SECONDS={} cargo test --test chaos",
        wrong.len(),
        run.as_secs()
    );
    ExitCode::FAILURE
}

async fn chaos(seed: u64, run: Duration) -> Vec<String> {
    let began = Instant::now();
    let world = Arc::new(World::make().await);
    let book = Arc::<Book>::default();
    let rest = Rest::new(&world, &book);
    let clients = world.clients(seed);
    all_connected(&clients).await;
    println!("{} clients are connected after {:.1?}", clients.len(), began.elapsed());

    let faults = Faults::prepare(world.clone(), clients.clone(), rest.clone()).await;
    let people = load::start(&world, &clients, &rest, seed);
    let schedule = schedule::faults(seed, run);
    faults.clone().run(schedule).await;
    println!("the last fault is over after {:.1?}", began.elapsed());
    book.stop.store(true, Ordering::Release);
    for person in people {
        person.await.expect("no panic");
    }
    println!("every command has a clear answer after {:.1?}", began.elapsed());

    let wrong = check::all(&world, &clients, &rest).await;
    report(&world, &clients, &book, &faults);
    println!("ended after {:.1?}", began.elapsed());
    drop(faults);
    if let Ok(world) = Arc::try_unwrap(world) {
        world.stop().await;
    }
    wrong
}

async fn all_connected(clients: &[Arc<Client>]) {
    let began = Instant::now();
    while clients.iter().any(|client| !client.seen().connected) {
        assert!(began.elapsed() < CONNECTED_WITHIN, "not all clients connect");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn report(world: &World, clients: &[Arc<Client>], book: &Book, faults: &Faults) {
    let done = faults.done.lock().expect("no panic");
    let total: usize = done.values().sum();
    println!(
        "{total} faults besides {} lost messages: {done:?}",
        world.redis_proxy.lost()
    );
    let mut codes: BTreeMap<u64, usize> = BTreeMap::new();
    let mut sums = [0; 5];
    for client in clients {
        let seen = client.seen();
        let counts = [
            seen.attempts,
            seen.connections,
            seen.recovered,
            seen.snapshots,
            seen.publications,
        ];
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
        for (code, count) in &seen.codes {
            *codes.entry(*code).or_default() += count;
        }
    }
    let [attempts, connections, recovered, snapshots, publications] = sums;
    println!(
        "clients: {attempts} attempts, {connections} connections, {recovered} recoveries, {snapshots} snapshots, \
         {publications} publications; codes {codes:?}"
    );
    let counts = book.counts.lock().expect("no panic");
    let repeated = book.repeated.lock().expect("no panic");
    println!("commands, acknowledged and refused: {counts:?}; {repeated} unclear answers");
}
