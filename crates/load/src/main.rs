//! The `liveplan-load` binary; `liveplan load` is this too.

use std::process::ExitCode;

use clap::Parser;
use liveplan_load::Options;
use tracing_subscriber::EnvFilter;

/// As the server has it. For a delivery nothing is allocated, but for answers and for reports it is.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load a running server with real sockets, and check that each got every publication once and in order.
///
/// Sockets are authenticated and subscribed; a publication is held against what all others got and against the server's
/// own log. It prints how long deliveries took and, with `--pid`, what they cost the server. It ends with an error when
/// one was missing, came twice or out of order. The changes are real: meals of the demo gym are renamed (and named back)
/// or ticked, so it is for a demo, or for a gym of your own made for it. Only this machine is loaded unless
/// `--allow-remote` names another.
///
/// Beside `liveplan demo`:
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
        "a subscriber did not get every publication once and in order"
    );
    Ok(())
}
