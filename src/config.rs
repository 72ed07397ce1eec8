//! Configuration: one struct, read once from the environment or flags. Each variable is documented on its field, which
//! is also its `--help` text, and in `.env.example`. Tests build the struct directly.
//!
//! Secrets come from variables or from files, never from flags, which every account of the machine can read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum, value_parser};
use ipnet::IpNet;

pub use liveplan_hub::limits::{LiveLimits, Recovery};
use liveplan_hub::limits::{MOST, seconds, whole};

/// Seconds in a day.
const DAY: i64 = 24 * 60 * 60;

/// The variables of secrets, which are no flags. Each can also be in a file that the variable with `_FILE` names.
pub const SECRETS: [&str; 5] = [
    "DATABASE_URL",
    "REDIS_URL",
    "MASTER_KEY",
    "MASTER_KEY_PREVIOUS",
    "DATABASE_OWNER_URL",
];

/// All settings: each is an environment variable, and those that are not secret are flags too.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Address and port to listen on.
    #[arg(long, env = "BIND", default_value = "127.0.0.1:8080")]
    pub bind: String,

    /// Directory of the embedded Postgres and the master key.
    #[arg(long, env = "DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,

    /// `DATABASE_URL`. [`Config::with_secrets`] sets it.
    #[arg(skip)]
    pub database_url: Option<String>,

    /// File with the URL of a Postgres 15 or later, with a login of the server's own, which `liveplan migrate` makes. The
    /// variable DATABASE_URL can contain the URL itself; there is no flag for it. Both unset: an embedded Postgres in
    /// `DATA_DIR`.
    #[arg(long, env = "DATABASE_URL_FILE")]
    pub database_url_file: Option<PathBuf>,

    /// `DATABASE_OWNER_URL`. [`Config::with_secrets`] sets it.
    #[arg(skip)]
    pub database_owner_url: Option<String>,

    /// File with the URL of the same database with its owner's login, for `migrate` and `housekeeping`. The variable
    /// DATABASE_OWNER_URL can contain the URL itself. A server that has it migrates at start and drops old live events by
    /// itself; better not to give it to servers.
    #[arg(long, env = "DATABASE_OWNER_URL_FILE")]
    pub database_owner_url_file: Option<PathBuf>,

    /// File with the certificates (PEM) of the authorities that the database's certificate may come from. Unset: those of
    /// the system. A database that is not on this machine is reached by TLS, and its certificate must name it, unless
    /// `sslmode` in its URL says otherwise.
    #[arg(long, env = "DATABASE_CA_FILE")]
    pub database_ca_file: Option<PathBuf>,

    /// Maximum connections to Postgres.
    #[arg(long, env = "DATABASE_POOL", default_value_t = 16, value_parser = value_parser!(u32).range(1..=10_000))]
    pub database_pool: u32,

    /// Timeout of one SQL statement, in seconds. If Postgres does not answer at all, a transaction fails after a third
    /// more.
    #[arg(long = "database-statement-seconds", env = "DATABASE_STATEMENT_SECONDS", default_value = "15", value_parser = seconds)]
    pub database_statement: Duration,

    /// Directory of Postgres' programs, if the server does not find those for the embedded Postgres by itself.
    #[arg(long, env = "PG_BINDIR")]
    pub pg_bindir: Option<PathBuf>,

    /// `REDIS_URL`. [`Config::with_secrets`] sets it.
    #[arg(skip)]
    pub redis_url: Option<String>,

    /// File with the URL of Redis or Valkey, required for several nodes: `redis://user:password@host:6379`, or some
    /// servers of a cluster, `redis+cluster://user:password@host:6379,host:6379`; `rediss` and `rediss+cluster` mean TLS.
    /// The variable REDIS_URL can contain the URL itself; there is no flag for it. Both unset: this node is the only one.
    #[arg(long, env = "REDIS_URL_FILE")]
    pub redis_url_file: Option<PathBuf>,

    /// File with the certificates (PEM) of the authorities that Redis' certificate may come from. Unset: those of the
    /// system.
    #[arg(long, env = "REDIS_CA_FILE")]
    pub redis_ca_file: Option<PathBuf>,

    /// Maximum bytes of plans cached in memory.
    #[arg(long, env = "CACHE_BYTES", default_value_t = 64 * 1024 * 1024, value_parser = value_parser!(u64).range(..=MOST))]
    pub cache_bytes: u64,

    /// `MASTER_KEY`. [`Config::with_secrets`] sets it.
    #[arg(skip)]
    pub master_key: Option<String>,

    /// File with the key that encrypts the keys in the database: 32 bytes in base64. The variable MASTER_KEY can contain
    /// the key itself; there is no flag for it. Both unset: `DATA_DIR/master.key`, created on the first start if the
    /// Postgres is the embedded one.
    #[arg(long, env = "MASTER_KEY_FILE")]
    pub master_key_file: Option<PathBuf>,

    /// `MASTER_KEY_PREVIOUS`. [`Config::with_secrets`] sets it.
    #[arg(skip)]
    pub master_key_previous: Option<String>,

    /// File with a second master key that decrypts too, while the first is replaced. The variable MASTER_KEY_PREVIOUS can
    /// contain the key itself. A running node reads this file and the one before again every few seconds.
    #[arg(long, env = "MASTER_KEY_PREVIOUS_FILE")]
    pub master_key_previous_file: Option<PathBuf>,

    /// Other origins whose pages may call the API and open sockets, such as `https://app.example.com`.
    #[arg(long, env = "ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<String>,

    /// Addresses and networks of trusted proxies, whose header names the client's address, such as
    /// `10.0.0.0/8,192.0.2.7`.
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,

    /// Header in which trusted proxies name the client's address. The other one is ignored, since a client may forge
    /// it.
    #[arg(long, env = "PROXY_HEADER", value_enum, default_value_t = ProxyHeader::XForwardedFor)]
    pub proxy_header: ProxyHeader,

    /// Whether responses tell browsers to use only TLS for this host and those below it, for a year
    /// (`Strict-Transport-Security`): `auto` if a trusted proxy says in its header that the request came by TLS,
    /// `always`, or `never`.
    #[arg(long, env = "HSTS", value_enum, default_value_t = Hsts::Auto)]
    pub hsts: Hsts,

    /// Threads that serve sockets and requests; 0 means one per core.
    #[arg(long, env = "WORKERS", default_value_t = 0, value_parser = whole(0..=1024))]
    pub workers: usize,

    /// Lifetime of an access token, in seconds.
    #[arg(long, env = "ACCESS_TOKEN_SECONDS", default_value_t = 900, value_parser = value_parser!(i64).range(1..=30 * DAY))]
    pub access_token_seconds: i64,

    /// Days after which an unused session ends.
    #[arg(long, env = "SESSION_DAYS", default_value_t = 30, value_parser = value_parser!(i64).range(1..=3650))]
    pub session_days: i64,

    /// Days after which a session ends although it is used: the account must sign in again.
    #[arg(long, env = "SESSION_MAX_DAYS", default_value_t = 90, value_parser = value_parser!(i64).range(1..=3650))]
    pub session_max_days: i64,

    /// Days that the log keeps live events for recovery.
    #[arg(long, env = "LIVE_RETENTION_DAYS", default_value_t = 7, value_parser = value_parser!(u32).range(..=3650))]
    pub live_retention_days: u32,

    /// Bounds of a recovery and of the replay buffers.
    #[command(flatten)]
    pub recovery: Recovery,

    /// Seconds between pings on a socket.
    #[arg(long, env = "LIVE_PING_SECONDS", default_value_t = 25, value_parser = value_parser!(u32).range(1..=3600))]
    pub live_ping_seconds: u32,

    /// Maximum completions of a gym that one transaction writes; 1 gives each its own transaction.
    #[arg(long, env = "FOLD_BATCH", default_value_t = 64, value_parser = whole(1..=4096))]
    pub fold_batch: usize,

    /// Seconds over which a shutdown closes the sockets.
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 20, value_parser = value_parser!(u64).range(..=3600))]
    pub drain_seconds: u64,

    /// Address and port of `/metrics` for Prometheus, such as `127.0.0.1:9464`; it needs no password. Unset: no
    /// metrics.
    #[arg(long, env = "METRICS_BIND")]
    pub metrics_bind: Option<String>,

    /// Log format: `text` or `json`.
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: String,

    /// Enables demo accounts with one-click sign-in. Only the `demo` command sets it, never the environment.
    #[arg(skip)]
    pub demo: bool,

    /// The embedded database is discarded afterwards, so it runs without fsync. Only tests set it.
    #[arg(skip)]
    pub throwaway: bool,

    /// Bounds of plain connections and of request bodies.
    #[command(flatten)]
    pub http: HttpLimits,

    /// Bounds of the live hub.
    #[command(flatten)]
    pub live: LiveLimits,

    /// Budgets of signed-in accounts.
    #[command(flatten)]
    pub budgets: BudgetLimits,
}

/// Budgets of every signed-in account, over all of its devices and all nodes that share a Redis server. An account may
/// use a minute's budget at once.
#[derive(Args, Clone, Debug)]
pub struct BudgetLimits {
    /// Requests per minute of one account that change nothing; 0 means without limit.
    #[arg(long = "budget-reads-per-minute", env = "BUDGET_READS_PER_MINUTE", default_value_t = Self::DEFAULT.reads, value_parser = value_parser!(u32).range(..=MOST_PER_MINUTE))]
    pub reads: u32,

    /// Requests per minute of one account that may change something; 0 means without limit.
    #[arg(long = "budget-writes-per-minute", env = "BUDGET_WRITES_PER_MINUTE", default_value_t = Self::DEFAULT.writes, value_parser = value_parser!(u32).range(..=MOST_PER_MINUTE))]
    pub writes: u32,

    /// Lists, searches and histories per minute of one account, which count as reads too; 0 means without limit.
    #[arg(long = "budget-expensive-reads-per-minute", env = "BUDGET_EXPENSIVE_READS_PER_MINUTE", default_value_t = Self::DEFAULT.expensive, value_parser = value_parser!(u32).range(..=MOST_PER_MINUTE))]
    pub expensive: u32,

    /// Commands per minute of one account on its sockets; 0 means without limit.
    #[arg(long = "budget-commands-per-minute", env = "BUDGET_COMMANDS_PER_MINUTE", default_value_t = Self::DEFAULT.commands, value_parser = value_parser!(u32).range(..=MOST_PER_MINUTE))]
    pub commands: u32,

    /// Changes of one meal on one date that a member's history keeps; further ones are refused. 0 means without limit.
    #[arg(long = "budget-changes-of-a-meal", env = "BUDGET_CHANGES_OF_A_MEAL", default_value_t = Self::DEFAULT.changes_of_a_meal, value_parser = value_parser!(u32).range(..=MOST_PER_MINUTE))]
    pub changes_of_a_meal: u32,

    /// Lists, searches and histories that this node reads at once, of all accounts. A fraction of DATABASE_POOL, so that
    /// they leave database connections for everything else.
    #[arg(long = "expensive-reads-at-once", env = "EXPENSIVE_READS_AT_ONCE", default_value_t = Self::DEFAULT.expensive_at_once, value_parser = whole(1..=10_000))]
    pub expensive_at_once: usize,
}

/// The highest budget: a debt of a minute is counted in microseconds.
const MOST_PER_MINUTE: i64 = 60_000_000;

impl BudgetLimits {
    const DEFAULT: Self = Self {
        reads: 3000,
        writes: 1200,
        expensive: 600,
        commands: 6000,
        changes_of_a_meal: 200,
        expensive_at_once: 4,
    };
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Config {
    /// Reads the secrets from the environment, or from the files that it names.
    ///
    /// # Errors
    /// If a file cannot be read, or a secret is set in both ways.
    pub fn with_secrets(mut self) -> anyhow::Result<Self> {
        let [database, redis, master, previous, owner] = SECRETS;
        self.database_url = text(database, variable(database)?, self.database_url_file.as_deref())?;
        self.database_owner_url = text(owner, variable(owner)?, self.database_owner_url_file.as_deref())?;
        self.redis_url = text(redis, variable(redis)?, self.redis_url_file.as_deref())?;
        // The files of master keys are read again later.
        self.master_key = variable(master)?;
        self.master_key_previous = variable(previous)?;
        self.master_key()?;
        self.master_key_previous()?;
        Ok(self)
    }

    /// The configured master key, read from its file if it is in one.
    ///
    /// # Errors
    /// If the file cannot be read, or the key is set in both ways.
    pub fn master_key(&self) -> anyhow::Result<Option<String>> {
        text(SECRETS[2], self.master_key.clone(), self.master_key_file.as_deref())
    }

    /// The second master key, if one is configured: see [`Self::master_key`].
    ///
    /// # Errors
    /// As [`Self::master_key`].
    pub fn master_key_previous(&self) -> anyhow::Result<Option<String>> {
        text(
            SECRETS[3],
            self.master_key_previous.clone(),
            self.master_key_previous_file.as_deref(),
        )
    }
}

/// The value of a variable; an empty one counts as unset.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    let text = value.map(|value| value.into_string().map_err(|_| anyhow::anyhow!("{name} is not UTF-8")));
    text.transpose()
}

/// A secret from its variable or from its file, but not from both.
fn text(name: &str, value: Option<String>, file: Option<&Path>) -> anyhow::Result<Option<String>> {
    match (value, file) {
        (Some(_), Some(_)) => anyhow::bail!("both {name} and {name}_FILE are set; unset one of them"),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {name}_FILE {}", path.display()))?;
            let text = text.trim();
            anyhow::ensure!(!text.is_empty(), "{name}_FILE {} is empty", path.display());
            Ok(Some(text.to_owned()))
        }
        (value, None) => Ok(value),
    }
}

/// Bounds of plain connections (those that are not WebSockets) and of request bodies.
#[derive(Args, Clone, Debug)]
pub struct HttpLimits {
    /// Maximum plain connections of this node: requests and WebSocket handshakes. For a further one, the oldest of the
    /// address that has most is closed, unless the server works on its request. A quarter of the files that the process
    /// may open is a second bound.
    #[arg(long = "http-connections", env = "HTTP_CONNECTIONS", default_value_t = Self::DEFAULT.connections, value_parser = whole(1..=MOST))]
    pub connections: usize,

    /// Maximum plain connections per IPv4 address or IPv6 /64. High, since the phones in a gym share the address of its
    /// Wi-Fi. For a further one, the oldest of the address is closed. Not applied to trusted proxies.
    #[arg(long = "http-connections-per-address", env = "HTTP_CONNECTIONS_PER_ADDRESS", default_value_t = Self::DEFAULT.connections_per_address, value_parser = whole(1..=MOST))]
    pub connections_per_address: usize,

    /// Seconds that a client may take to send a request's head, and that a connection may idle between requests.
    #[arg(long = "http-head-seconds", env = "HTTP_HEAD_SECONDS", default_value = "5", value_parser = seconds)]
    pub head_within: Duration,

    /// Seconds that a client may take to send a body, plus the time of the largest allowed body at
    /// HTTP_BODY_BYTES_PER_SECOND.
    #[arg(long = "http-body-seconds", env = "HTTP_BODY_SECONDS", default_value = "10", value_parser = seconds)]
    pub body_within: Duration,

    /// Slowest accepted rate of a body, in bytes per second.
    #[arg(long = "http-body-bytes-per-second", env = "HTTP_BODY_BYTES_PER_SECOND", default_value_t = Self::DEFAULT.body_bytes_per_second, value_parser = value_parser!(u32).range(1..))]
    pub body_bytes_per_second: u32,
}

impl HttpLimits {
    const DEFAULT: Self = Self {
        connections: 5000,
        connections_per_address: 2500,
        head_within: Duration::from_secs(5),
        body_within: Duration::from_secs(10),
        body_bytes_per_second: 8 * 1024,
    };
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// When responses carry `Strict-Transport-Security`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hsts {
    /// If a trusted proxy says that the request came by TLS.
    Auto,
    /// On every response.
    Always,
    /// On none.
    Never,
}

/// The header in which proxies name the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, the usual one.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Parses a network or a single address.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse().map(|address: std::net::IpAddr| IpNet::from(address)))
        .map_err(|_| format!("{text} is neither an address nor a network such as 10.0.0.0/8"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn defaults_of_flags_equal_the_defaults_of_the_structs() {
        let config = Cli::parse_from(["liveplan"]).config;
        assert_eq!(format!("{:?}", config.live), format!("{:?}", LiveLimits::default()));
        assert_eq!(format!("{:?}", config.http), format!("{:?}", HttpLimits::default()));
        assert_eq!(
            format!("{:?}", config.budgets),
            format!("{:?}", BudgetLimits::default())
        );
    }

    #[test]
    fn every_variable_is_in_the_example() {
        use clap::CommandFactory as _;
        let example = include_str!("../.env.example");
        let command = Cli::command();
        let variables: Vec<_> = command.get_arguments().filter_map(|a| a.get_env()?.to_str()).collect();
        assert!(variables.len() > 30, "{variables:?}");
        for variable in variables.into_iter().chain(SECRETS) {
            assert!(
                example.contains(&format!("# {variable}=")),
                "{variable} is not in .env.example"
            );
        }
    }

    /// Tries the extremes of the number types on each numeric flag.
    #[test]
    fn numbers_that_would_overflow_a_clock_or_an_allocation_are_refused() {
        use clap::CommandFactory as _;
        let flags: Vec<String> = Cli::command()
            .get_arguments()
            .filter(|a| a.get_num_args().is_none_or(|n| n.takes_values()) && a.get_possible_values().is_empty())
            .filter_map(|a| a.get_long().map(str::to_owned))
            .collect();
        let texts = [
            "bind",
            "data-dir",
            "database-url-file",
            "database-owner-url-file",
            "database-ca-file",
            "pg-bindir",
            "redis-url-file",
            "redis-ca-file",
            "master-key-file",
            "master-key-previous-file",
            "metrics-bind",
        ];
        let texts = [&texts[..], &["allowed-origins", "trusted-proxies", "log-format"]].concat();
        let numbers: Vec<_> = flags.iter().filter(|flag| !texts.contains(&flag.as_str())).collect();
        assert!(numbers.len() > 25, "{numbers:?}");
        for flag in numbers {
            for end in ["18446744073709551615", "9223372036854775807", "1e300", "-1"] {
                let parsed = Cli::try_parse_from(["liveplan".to_owned(), format!("--{flag}={end}")]);
                assert!(parsed.is_err(), "--{flag}={end} is accepted");
            }
        }
        for none in [
            "--database-pool=0",
            "--live-ping-seconds=0",
            "--session-days=0",
            "--session-max-days=0",
            "--live-reads-at-once=0",
            "--http-body-bytes-per-second=0",
        ] {
            assert!(Cli::try_parse_from(["liveplan", none]).is_err(), "{none} is accepted");
        }
    }

    #[test]
    fn no_flag_takes_a_secret() {
        for name in SECRETS {
            let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
            let refused = Cli::try_parse_from(["liveplan".to_owned(), format!("{flag}=hunter2")]).err();
            let refused = refused.expect(&flag).to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn a_secret_is_read_from_its_file_without_the_line_break_at_its_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("secret");
        std::fs::write(&file, "postgres://u:p@h/d\n").expect("written");
        let read = |value: Option<&str>, file: Option<&Path>| text("DATABASE_URL", value.map(str::to_owned), file);
        assert_eq!(
            read(None, Some(&file)).expect("read").as_deref(),
            Some("postgres://u:p@h/d")
        );
        assert_eq!(read(Some("a"), None).expect("read").as_deref(), Some("a"));
        assert_eq!(read(None, None).expect("nothing"), None);
        for (value, file) in [
            (Some("a"), file.as_path()),
            (None, dir.path()),
            (None, &dir.path().join("none")),
        ] {
            assert!(read(value, Some(file)).is_err(), "{}", file.display());
        }
        std::fs::write(&file, "\n").expect("written");
        assert!(read(None, Some(&file)).is_err(), "an empty file is a mistake");
    }

    #[test]
    fn networks_and_addresses_are_parsed() {
        assert_eq!(network("10.1.0.0/16").map(|n| n.to_string()), Ok("10.1.0.0/16".into()));
        assert_eq!(network("::1").map(|n| n.to_string()), Ok("::1/128".into()));
        assert!(network("gateway").is_err());
    }
}
