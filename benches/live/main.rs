//! Measures the latency of a change until a socket has it, the cost of a delivery next to other servers, the cost of
//! reading a plan, the gain of folding, the effect of slow readers, replication between two nodes, recovery after a
//! node dies, and the memory of an idle socket. Everything is real: the release binary in its own process, its own
//! durable Postgres, sockets over loopback. `make bench` runs all parts; `cargo bench --bench live -- fanout` runs the
//! parts named. With `BENCH_SMALL=1` it only checks that every part runs.
//!
//! Compare ratios within a run; absolute times depend on the machine and its other load. [`results`] stores the results
//! in `docs/bench`.

#![expect(clippy::expect_used, reason = "a benchmark that cannot continue must end")]

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

/// Files that this process and its servers may open: the sockets of the largest part and some more.
const FILES: u64 = 16_384;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, port, texts] = arguments.as_slice()
        && what == "floor"
    {
        return floor::serve(port, texts);
    }
    // Ignore the flags that `cargo bench` passes to its own harness.
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

/// The parts, in the order in which they run.
const PARTS: [&str; 8] = [
    "latency", "reads", "slow", "fanout", "folding", "nodes", "recovery", "memory",
];
/// Runs only on request, since it takes long: `make leaks`.
const LEAKS: &str = "leaks";

async fn run(only: &[String], results: &mut Results) {
    let wanted = |name: &str| (only.is_empty() && name != LEAKS) || only.iter().any(|arg| arg == name);
    for part in PARTS.into_iter().chain([LEAKS]).filter(|part| wanted(part)) {
        // Each part starts with an empty database and a new server, so that it gives the same result when it runs
        // alone.
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
