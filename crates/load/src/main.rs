//! The `liveplan-load` program; `liveplan load` runs it too.

use std::process::ExitCode;

use clap::Parser;
use liveplan_load::Options;
use tracing_subscriber::EnvFilter;

/// The server's allocator. Deliveries allocate nothing in this tool, but replies and reports do.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load a running server with real sockets, and verify that each got every publication exactly once and in order.
///
/// Sockets are authenticated and subscribed. The tool compares the publications of every socket with those of all
/// others and with the server's own log. It prints the latency of deliveries and, with `--pid`, their cost to the
/// server. It ends with an error if a publication is missing, repeated or out of order. The changes are real: it
/// renames meals of the demo gym (and restores their names) or ticks them, so run it on a demo, or on a gym created for
/// the purpose. It loads only this machine unless `--allow-remote` names another.
///
/// Next to a running `liveplan demo`:
///
///   liveplan load --connections 200 --seconds 10 --pid $(pgrep -x liveplan)
///   liveplan load ticks --connections 45 --burst 10 --codec both
///   liveplan load ticks --rate 500 --json
///   liveplan load idle --connections 250 --pid $(pgrep -x liveplan)
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match run(&Cli::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(liveplan_load::run(options))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    anyhow::ensure!(
        report.is_right(),
        "a subscriber did not get every publication exactly once and in order"
    );
    Ok(())
}
