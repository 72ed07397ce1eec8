//! What a change costs until a screen has it, what a delivery costs beside others, what a plan costs to read, what folding
//! brings, what slow readers cost the others, how two nodes stay together, how clients come back from a dead one, and what an idle socket weighs: the release binary
//! in a process of its own, a durable Postgres of its own, real sockets over loopback. `make bench` runs it; with names of
//! parts, `cargo bench --bench live -- fanout` runs those alone. With `BENCH_SMALL=1` it only shows that everything runs.
//!
//! Ratios within a run count; absolute times depend on the machine and on what else it does. [`results`] keeps them in
//! `docs/bench`.

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on ends")]

mod cast;
mod fanout;
mod floor;
mod folding;
mod latency;
mod leaks;
mod memory;
mod node;
mod nodes;
mod peers;
mod plot;
mod reads;
mod recovery;
mod results;
mod slow;
mod stage;
mod stats;
mod wire;

use liveplan_load::process;
use results::Results;
use stage::Stage;

/// Files that this process and its servers may open: the sockets of the largest part, and what else they need.
const FILES: u64 = 16_384;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, port, texts] = arguments.as_slice()
        && what == "floor"
    {
        return floor::serve(port, texts);
    }
    // `cargo bench` passes flags of its own harness.
    let only: Vec<_> = arguments.into_iter().filter(|arg| !arg.starts_with('-')).collect();
    let mut results = Results::new(std::env::var_os("BENCH_SMALL").is_some());
    println!("liveplan {}: make bench", env!("CARGO_PKG_VERSION"));
    println!("machine: {}", stats::machine());
    process::allow_files(FILES).expect("enough files");
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(run(&only, &mut results));
}

/// Parts, in the order in which they run.
const PARTS: [&str; 8] = [
    "latency", "reads", "slow", "fanout", "folding", "nodes", "recovery", "memory",
];
/// Takes long, so only when asked for: `make leaks`.
const LEAKS: &str = "leaks";

async fn run(only: &[String], results: &mut Results) {
    let wanted = |name: &str| (only.is_empty() && name != LEAKS) || only.iter().any(|arg| arg == name);
    for part in PARTS.into_iter().chain([LEAKS]).filter(|part| wanted(part)) {
        // Each begins with an empty database and a new server, as it does when it runs alone.
        let stage = Stage::set().await;
        match part {
            "latency" => latency::run(&stage, results).await,
            "reads" => reads::run(&stage, results).await,
            "slow" => slow::run(&stage, results).await,
            "fanout" => fanout::run(&stage, results).await,
            "folding" => folding::run(&stage, results).await,
            "nodes" => nodes::run(&stage, results).await,
            "recovery" => recovery::run(&stage, results).await,
            "memory" => memory::run(&stage, results).await,
            _ => leaks::run(&stage, results).await,
        }
        results.close(part);
        stage.clear().await;
    }
}
