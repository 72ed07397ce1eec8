//! What a change costs until a screen has it, what a plan costs to read, what slow readers cost the others, what an idle socket
//! weighs and what those that have gone leave: the release binary in a process of its own, a durable Postgres of its own, real
//! sockets over loopback. `make bench` runs it; with the name of a part, `cargo bench` runs that alone.
//!
//! Ratios within a run count; absolute times depend on the machine and on what else it does.

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on ends")]

mod latency;
mod leaks;
mod memory;
mod reads;
mod slow;
mod stage;
mod stats;
mod wire;

use stage::Stage;

fn main() {
    // `cargo bench` passes flags of its own harness.
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|arg| arg == name);
    println!("liveplan {}: make bench", env!("CARGO_PKG_VERSION"));
    println!("machine: {}", stats::machine());
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            let stage = Stage::set().await;
            if wanted("latency") {
                latency::run(&stage).await;
            }
            if wanted("reads") {
                reads::run(&stage).await;
            }
            if wanted("slow") {
                slow::run(&stage).await;
            }
            if wanted("memory") {
                memory::run(&stage).await;
            }
            // Takes minutes, so only when asked for: `make leaks`.
            if only.iter().any(|arg| arg == "leaks") {
                leaks::run(&stage).await;
            }
            stage.clear().await;
        });
}
