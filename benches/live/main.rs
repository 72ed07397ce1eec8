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

use liveplan::load::process;
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

async fn run(only: &[String], results: &mut Results) {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|arg| arg == name);
    let stage = Stage::set().await;
    if wanted("latency") {
        latency::run(&stage, results).await;
        results.close("latency");
    }
    if wanted("reads") {
        reads::run(&stage, results).await;
        results.close("reads");
    }
    if wanted("slow") {
        slow::run(&stage, results).await;
        results.close("slow");
    }
    if wanted("fanout") {
        fanout::run(&stage, results).await;
        results.close("fanout");
    }
    if wanted("folding") {
        folding::run(&stage, results).await;
        results.close("folding");
    }
    if wanted("nodes") {
        nodes::run(&stage, results).await;
        results.close("nodes");
    }
    if wanted("recovery") {
        recovery::run(&stage, results).await;
        results.close("recovery");
    }
    if wanted("memory") {
        memory::run(&stage, results).await;
        results.close("memory");
    }
    // Takes minutes, so only when asked for: `make leaks`.
    if only.iter().any(|arg| arg == "leaks") {
        leaks::run(&stage, results).await;
        results.close("leaks");
    }
    stage.clear().await;
}
