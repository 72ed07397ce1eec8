//! The `liveplan` binary: its commands.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{self, ExitCode};

use anyhow::anyhow;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use liveplan::app::App;
use liveplan::auth::link::{Page, Secret};
use liveplan::auth::rotation::Kind;
use liveplan::auth::secrets::Purpose;
use liveplan::config::Config;
use liveplan::demo;
use liveplan::error::Lang;
use liveplan::gyms::{self, NewGym};
use liveplan::server::{self, boot};
use liveplan::{accounts, simulate, telemetry};

/// mimalloc, because many threads make short-lived allocations: JSON, rows, frames.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The program behind `liveplan load`.
const LOAD_TOOL: &str = "liveplan-load";

/// A real-time nutrition-plan hub for gyms.
///
/// Without `DATABASE_URL` it runs its own Postgres in `DATA_DIR`. With `REDIS_URL` it shares changes with other nodes.
/// Every option can also be set by an environment variable; `.env.example` explains them. Secrets are no options: they
/// come from variables, or from files that variables or options name.
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
        /// Serve only the live hub, for the SDKs' own test suites. Every channel is open to everybody, and no data is
        /// kept.
        #[arg(long)]
        conformance: bool,
        #[command(flatten)]
        config: Config,
    },
    /// Create a demo gym if there is none, and serve it with one-click sign-in. Every password in it is `demo`.
    ///
    /// It runs its own Postgres in the folder `demo` of `DATA_DIR`, and refuses `DATABASE_URL`. `liveplan serve` lets
    /// nobody sign in to a demo gym.
    Demo(Config),
    /// Simulate members of a running demo gym, over sockets and REST, so that the trainers' walls show activity.
    ///
    /// Example: run `liveplan simulate --members 12 --minutes 10` beside `liveplan demo`.
    Simulate(simulate::Options),
    /// Load-test a running server with real sockets, and check that each socket gets every publication once and in
    /// order.
    ///
    /// This runs the program `liveplan-load`, which must be beside this program or in PATH, with the same arguments.
    /// `liveplan load --help` shows its help.
    #[command(disable_help_flag = true)]
    Load {
        /// Arguments of `liveplan-load`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Apply all pending migrations as the database's owner (`DATABASE_OWNER_URL`), and exit.
    ///
    /// If `DATABASE_URL` is set, this also makes the server's login that it names, or takes all rights from it that the
    /// server does not need.
    Migrate {
        /// Revert all migrations instead. This deletes everything in the database.
        #[arg(long)]
        revert: bool,
        #[command(flatten)]
        config: Config,
    },
    /// Drop live events past their retention (`LIVE_RETENTION_DAYS`) as the database's owner (`DATABASE_OWNER_URL`), and
    /// exit.
    ///
    /// Run it once a day. Servers do everything else by themselves, and those that have the owner's address do this too.
    Housekeeping(Config),
    /// Manage gyms.
    #[command(subcommand)]
    Gym(GymCommand),
    /// Manage accounts.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Manage the epochs of the gyms' logs.
    #[command(subcommand)]
    Epoch(EpochCommand),
    /// Manage the keys in the database and the master key that encrypts them.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print the OpenAPI document.
    Openapi,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Replace keys while the nodes run. Nothing is interrupted: the keys before are accepted for as long as what was made
    /// with them is valid.
    ///
    /// The keys `signing`, `broker` and `refresh` are in the database, and nodes load them every few seconds. To replace
    /// `master`, first let every node accept both master keys (`MASTER_KEY_PREVIOUS`), then run this with the new one as
    /// `MASTER_KEY` and the old one as `MASTER_KEY_PREVIOUS`, then give the nodes the new one alone. A master key in
    /// `DATA_DIR/master.key` is replaced there.
    Rotate {
        /// The keys to replace.
        which: Which,
        /// Seconds until the nodes use the new key: all of them must have loaded it before. Not for `master`.
        #[arg(long, default_value_t = 30, value_parser = value_parser!(u32).range(10..=86_400))]
        after_seconds: u32,
        #[command(flatten)]
        config: Config,
    },
}

/// The keys that `keys rotate` can replace.
#[derive(Clone, Copy, ValueEnum)]
enum Which {
    /// The keys that sign access tokens.
    Signing,
    /// The keys of what nodes exchange through Redis.
    Broker,
    /// The keys of refresh tokens. Tokens of the key before stay good for as long as their sessions.
    Refresh,
    /// The keys of what guards a sign-in: secrets of known devices, and keys of counts.
    SignIn,
    /// The key that encrypts all others.
    Master,
}

#[derive(Subcommand)]
enum EpochCommand {
    /// Start new epochs, so that every client takes a new snapshot. Use this after another program restored or changed
    /// rows.
    ///
    /// Running nodes notice the new epochs within a second. A restore of the whole database needs no rotation: liveplan
    /// notices it at the next start.
    Rotate {
        /// Slug of the only gym whose epoch is rotated; all gyms by default.
        #[arg(long)]
        gym: Option<String>,
        #[command(flatten)]
        config: Config,
    },
}

#[derive(Subcommand)]
enum GymCommand {
    /// Create a gym, and print a one-time link with which its first owner joins. The link works for seven days.
    Create {
        /// Short name in URLs and at sign-in, such as `centro`.
        #[arg(long)]
        slug: String,
        /// Full name.
        #[arg(long)]
        name: String,
        /// IANA time zone, such as `Europe/Madrid`.
        #[arg(long)]
        time_zone: String,
        /// Language of the gym and its owner, `es` or `en`.
        #[arg(long, default_value = "es")]
        locale: String,
        /// The owner's email.
        #[arg(long)]
        owner_email: String,
        /// The owner's name.
        #[arg(long)]
        owner_name: String,
        #[command(flatten)]
        site: Site,
        #[command(flatten)]
        config: Config,
    },
    /// Print a one-time link with which a person becomes an owner of a gym, for a first owner who has lost the link. The
    /// link works for seven days, and replaces an earlier one for the same email.
    InviteOwner {
        /// Slug of the gym.
        #[arg(long)]
        slug: String,
        /// The owner's email.
        #[arg(long)]
        email: String,
        /// The owner's name.
        #[arg(long)]
        name: String,
        /// Language of the owner, `es` or `en`.
        #[arg(long, default_value = "es")]
        locale: String,
        #[command(flatten)]
        site: Site,
        #[command(flatten)]
        config: Config,
    },
}

#[derive(Subcommand)]
enum AccountCommand {
    /// Print a one-time link with which a person sets a new password, such as an owner, whom nobody in the gym can
    /// reset. The link works for seven days, and replaces earlier ones of the account.
    Reset {
        /// Slug of a gym to which the account belongs.
        #[arg(long)]
        gym: String,
        /// Email of the account.
        #[arg(long)]
        email: String,
        #[command(flatten)]
        site: Site,
        #[command(flatten)]
        config: Config,
    },
}

/// Where people reach the web app.
#[derive(Args)]
struct Site {
    /// Address of the server, at the beginning of the printed link.
    #[arg(long, default_value = "http://localhost:8080")]
    url: String,
}

impl Site {
    fn link(&self, secret: &Secret, page: Page) -> String {
        format!("{}{}", self.url.trim_end_matches('/'), secret.link(page))
    }
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
            let config = config.with_secrets()?;
            telemetry::start(&config.log_format);
            if conformance {
                liveplan::conformance::serve(config, |_| {})
            } else {
                server::run(config, |_| {})
            }
        }
        Command::Demo(config) => {
            let config = config.with_secrets()?;
            telemetry::start(&config.log_format);
            let config = demo::configure(config)?;
            server::run(config, |started| {
                println!("liveplan demo: open {}", server::page(started.address));
                // Nobody needs this handle: the demo runs until a signal stops it.
                std::mem::forget(started.stop);
            })
        }
        Command::Migrate { revert, config } => {
            let config = config.with_secrets()?;
            telemetry::start(&config.log_format);
            let ran = runtime()?.block_on(server::owner::migrate(&config, revert))?;
            println!("{ran} migrations ran");
            Ok(())
        }
        Command::Housekeeping(config) => {
            let config = config.with_secrets()?;
            telemetry::start(&config.log_format);
            let dropped = runtime()?.block_on(server::owner::housekeeping(&config))?;
            println!("{dropped} partitions dropped");
            Ok(())
        }
        Command::Gym(command) => manage_gym(command),
        Command::Account(AccountCommand::Reset {
            gym,
            email,
            site,
            config,
        }) => {
            let secret = with_app(config, async |app| accounts::reset_by_operator(app, &gym, &email).await)?;
            println!("{}", site.link(&secret, Page::Reset));
            Ok(())
        }
        Command::Epoch(EpochCommand::Rotate { gym, config }) => {
            let config = config.with_secrets()?;
            telemetry::start(&config.log_format);
            let rotated = runtime()?.block_on(server::epoch::rotate(&config, gym.as_deref()))?;
            println!("{rotated} epochs rotated");
            Ok(())
        }
        Command::Keys(KeysCommand::Rotate {
            which,
            after_seconds,
            config,
        }) => {
            let config = config.with_secrets()?;
            telemetry::start(&config.log_format);
            let kind = match which {
                Which::Signing => Some(Kind::Signing),
                Which::Broker => Some(Kind::Shared(Purpose::Broker)),
                Which::Refresh => Some(Kind::Shared(Purpose::RefreshTokens)),
                Which::SignIn => Some(Kind::Shared(Purpose::SignIn)),
                Which::Master => None,
            };
            let done = runtime()?.block_on(async {
                match kind {
                    Some(kind) => server::keys::rotate(&config, kind, after_seconds).await,
                    None => server::keys::rotate_master(&config).await,
                }
            })?;
            println!("{done}");
            Ok(())
        }
        Command::Simulate(options) => {
            telemetry::start("text");
            let tally = runtime()?.block_on(simulate::run(&options))?;
            println!("{tally}");
            Ok(())
        }
        Command::Load { arguments } => Err(load(&arguments)),
        Command::Openapi => {
            println!("{}", serde_json::to_string_pretty(&server::openapi())?);
            Ok(())
        }
    }
}

fn manage_gym(command: GymCommand) -> anyhow::Result<()> {
    match command {
        GymCommand::Create {
            slug,
            name,
            time_zone,
            locale,
            owner_email,
            owner_name,
            site,
            config,
        } => {
            let gym = NewGym {
                slug,
                name,
                time_zone,
                locale,
                owner_email,
                owner_name,
            };
            let (gym, secret) = with_app(config, async |app| gyms::create(app, gym).await)?;
            println!("gym {gym} created");
            println!("{}", site.link(&secret, Page::Invitation));
        }
        GymCommand::InviteOwner {
            slug,
            email,
            name,
            locale,
            site,
            config,
        } => {
            let secret = with_app(config, async |app| {
                gyms::invite_owner(app, &slug, &email, &name, &locale).await
            })?;
            println!("{}", site.link(&secret, Page::Invitation));
        }
    }
    Ok(())
}

/// Runs `work` with an [`App`] that does not serve.
fn with_app<T>(config: Config, work: impl AsyncFnOnce(&App) -> liveplan::error::Result<T>) -> anyhow::Result<T> {
    let config = config.with_secrets()?;
    telemetry::start(&config.log_format);
    runtime()?.block_on(async {
        let booted = boot::boot(&config).await?;
        let done = work(&booted.app).await;
        booted.stop().await;
        done.map_err(|e| anyhow!("{}", e.detail(Lang::En)))
    })
}

/// Replaces this process with the load tool, beside this program or in PATH. Returns only if that fails.
fn load(arguments: &[OsString]) -> anyhow::Error {
    let beside = std::env::current_exe().map(|program| program.with_file_name(LOAD_TOOL));
    let program = beside.ok().filter(|path| path.is_file());
    let error = process::Command::new(program.unwrap_or_else(|| PathBuf::from(LOAD_TOOL)))
        // The tool's help shows this as the program's name.
        .arg0("liveplan load")
        .args(arguments)
        .exec();
    if error.kind() == io::ErrorKind::NotFound {
        anyhow!(
            "{LOAD_TOOL} is neither beside this program nor in PATH: `cargo build --release -p {LOAD_TOOL}` builds it as \
             target/release/{LOAD_TOOL}"
        )
    } else {
        anyhow!(error).context(format!("running {LOAD_TOOL}"))
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
