//! The `liveplan` binary: its commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use liveplan::config::Config;
use liveplan::db::migrations::{self, Direction};
use liveplan::load;
use liveplan::server::{self, boot};
use liveplan::simulate;
use liveplan::telemetry;

/// Much is allocated for a moment, by many threads: JSON, rows, frames.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A real-time nutrition-plan hub for gyms.
///
/// Without `DATABASE_URL` it runs a Postgres of its own in `DATA_DIR`; with `REDIS_URL` it shares changes with other nodes.
/// Every option can be given by environment variable too; `.env.example` explains them.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API, the live hub and the web app.
    Serve {
        /// Serve the live hub alone to the SDKs' own test suites instead: every channel is open to anyone, on a database of
        /// its own that is not kept.
        #[arg(long)]
        conformance: bool,
        #[command(flatten)]
        config: Config,
    },
    /// Make a demo gym, once, and serve it with one-click sign-in. Every password in it is `demo`.
    Demo(Config),
    /// Act as members of a running demo gym, over sockets and REST, so that the trainers' walls live.
    ///
    /// Example: `liveplan simulate --members 12 --minutes 10` beside `liveplan demo`.
    Simulate(simulate::Options),
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
    #[command(verbatim_doc_comment)]
    Load(load::Options),
    /// Bring the database up to date and end.
    Migrate {
        /// Revert all migrations instead; everything in the database is lost.
        #[arg(long)]
        revert: bool,
        #[command(flatten)]
        config: Config,
    },
    /// Manage gyms.
    #[command(subcommand)]
    Gym(GymCommand),
    /// Manage the epochs of live positions.
    #[command(subcommand)]
    Epoch(EpochCommand),
    /// Print the OpenAPI document.
    Openapi,
}

#[derive(Subcommand)]
enum EpochCommand {
    /// Make every client take a new snapshot: after rows were restored or changed behind liveplan's back.
    ///
    /// A restore of the whole database is noticed at the next start without it. Nodes that are running notice within a
    /// second.
    Rotate {
        /// Only those of this gym, by its short name; all by default.
        #[arg(long)]
        gym: Option<String>,
        #[command(flatten)]
        config: Config,
    },
}

#[derive(Subcommand)]
enum GymCommand {
    /// Make a gym and its first owner; the password is read from `LIVEPLAN_PASSWORD`.
    Create {
        /// Short name in addresses, such as `centro`.
        #[arg(long)]
        slug: String,
        /// Full name.
        #[arg(long)]
        name: String,
        /// IANA time zone, such as `Europe/Madrid`.
        #[arg(long)]
        time_zone: String,
        /// `es` or `en`.
        #[arg(long, default_value = "es")]
        locale: String,
        /// The owner's email.
        #[arg(long)]
        owner_email: String,
        /// The owner's name.
        #[arg(long)]
        owner_name: String,
        /// The owner's password, at least 8 characters.
        #[arg(long, env = "LIVEPLAN_PASSWORD", hide_env_values = true)]
        password: String,
        #[command(flatten)]
        config: Config,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve { conformance, config } => {
            telemetry::start(&config.log_format);
            if conformance {
                liveplan::conformance::serve(config, |_| {})
            } else {
                server::run(config, |_| {})
            }
        }
        Command::Demo(mut config) => {
            telemetry::start(&config.log_format);
            config.demo = true;
            server::run(config, |started| {
                println!("liveplan demo: open {}", server::page(started.address));
                // The handle is kept: dropping it stops nothing, the signal does.
                std::mem::forget(started.stop);
            })
        }
        Command::Migrate { revert, config } => {
            telemetry::start(&config.log_format);
            let direction = if revert { Direction::Down } else { Direction::Up };
            runtime()?.block_on(async {
                let (url, postgres) = boot::database(&config).await?;
                let ran = migrations::run(&url, direction).await;
                if let Some(postgres) = postgres {
                    postgres.stop().await?;
                }
                println!("{} migrations ran", ran?);
                Ok(())
            })
        }
        Command::Gym(GymCommand::Create {
            slug,
            name,
            time_zone,
            locale,
            owner_email,
            owner_name,
            password,
            config,
        }) => {
            telemetry::start(&config.log_format);
            let gym = liveplan::gyms::NewGym {
                slug,
                name,
                time_zone,
                locale,
                owner_email,
                owner_name,
                password,
            };
            runtime()?.block_on(async {
                let booted = boot::boot(&config).await?;
                let made = liveplan::gyms::create(&booted.app, gym).await;
                booted.stop().await;
                println!(
                    "gym {} made",
                    made.map_err(|e| anyhow::anyhow!("{}", e.detail(liveplan::error::Lang::En)))?
                );
                Ok(())
            })
        }
        Command::Epoch(EpochCommand::Rotate { gym, config }) => {
            telemetry::start(&config.log_format);
            let rotated = runtime()?.block_on(server::epoch::rotate(&config, gym.as_deref()))?;
            println!("{rotated} epochs rotated");
            Ok(())
        }
        Command::Simulate(options) => {
            telemetry::start("text");
            let tally = runtime()?.block_on(simulate::run(&options))?;
            println!("{tally}");
            Ok(())
        }
        Command::Load(options) => {
            telemetry::start("text");
            let report = runtime()?.block_on(load::run(&options))?;
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
        Command::Openapi => {
            println!("{}", serde_json::to_string_pretty(&server::openapi())?);
            Ok(())
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
