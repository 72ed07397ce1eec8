//! Configuration: the environment, read once into one struct. Every variable is documented on its field and in
//! `.env.example`; tests build the struct.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};
use ipnet::IpNet;

pub use liveplan_hub::limits::{LiveLimits, Recovery};
use liveplan_hub::limits::{MOST, seconds, whole};

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// Everything that can be configured, by environment variable or flag.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Address and port to listen on.
    #[arg(long, env = "BIND", default_value = "127.0.0.1:8080")]
    pub bind: String,

    /// Directory of the embedded Postgres and the master key.
    #[arg(long, env = "DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,

    /// Postgres 15 or later, as a URL. Unset: an embedded Postgres in `DATA_DIR`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,

    /// Connections to Postgres.
    #[arg(long, env = "DATABASE_POOL", default_value_t = 16, value_parser = value_parser!(u32).range(1..=10_000))]
    pub database_pool: u32,

    /// Seconds that Postgres may take for one statement. Where it does not answer at all, a transaction is given up after a third more.
    #[arg(long = "database-statement-seconds", env = "DATABASE_STATEMENT_SECONDS", default_value = "15", value_parser = seconds)]
    pub database_statement: Duration,

    /// Directory of Postgres' programs, where the embedded one is not found by itself.
    #[arg(long, env = "PG_BINDIR")]
    pub pg_bindir: Option<PathBuf>,

    /// Redis or Valkey, when there is more than one node: `redis://user:password@host:6379`, or a cluster of which some
    /// servers are named, `redis+cluster://user:password@host:6379,host:6379`. Unset: this node is alone.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,

    /// Bytes of answers that are kept ready in memory.
    #[arg(long, env = "CACHE_BYTES", default_value_t = 64 * 1024 * 1024, value_parser = value_parser!(u64).range(..=MOST))]
    pub cache_bytes: u64,

    /// 32 bytes in base64 that seal the signing keys. Unset: `DATA_DIR/master.key`, made on the first start in embedded mode.
    #[arg(long, env = "MASTER_KEY", hide_env_values = true)]
    pub master_key: Option<String>,

    /// Origins, besides our own, whose pages may call the API and open sockets, such as `https://app.example.com`.
    #[arg(long, env = "ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<String>,

    /// Addresses and networks of proxies that are believed when they say whose request they pass on, such as
    /// `10.0.0.0/8,192.0.2.7`.
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,

    /// The header in which they say it. The other one is never looked at: it would be the client's own word.
    #[arg(long, env = "PROXY_HEADER", value_enum, default_value_t = ProxyHeader::XForwardedFor)]
    pub proxy_header: ProxyHeader,

    /// Threads that serve sockets and requests; 0 is one a core.
    #[arg(long, env = "WORKERS", default_value_t = 0, value_parser = whole(0..=1024))]
    pub workers: usize,

    /// Life of an access token in seconds.
    #[arg(long, env = "ACCESS_TOKEN_SECONDS", default_value_t = 900, value_parser = value_parser!(i64).range(1..=30 * DAY))]
    pub access_token_seconds: i64,

    /// Days that a session may go unused.
    #[arg(long, env = "SESSION_DAYS", default_value_t = 30, value_parser = value_parser!(i64).range(1..=3650))]
    pub session_days: i64,

    /// Days that live events are kept for recovery.
    #[arg(long, env = "LIVE_RETENTION_DAYS", default_value_t = 7, value_parser = value_parser!(u32).range(..=3650))]
    pub live_retention_days: u32,

    /// What a recovery may cost, and what this node remembers for it.
    #[command(flatten)]
    pub recovery: Recovery,

    /// Seconds between pings on a socket.
    #[arg(long, env = "LIVE_PING_SECONDS", default_value_t = 25, value_parser = value_parser!(u32).range(1..=3600))]
    pub live_ping_seconds: u32,

    /// Completions of a gym that are written in one transaction at most; 1 gives each a transaction of its own.
    #[arg(long, env = "FOLD_BATCH", default_value_t = 64, value_parser = whole(1..=4096))]
    pub fold_batch: usize,

    /// Seconds over which sockets are closed at shutdown.
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 20, value_parser = value_parser!(u64).range(..=3600))]
    pub drain_seconds: u64,

    /// Address and port where Prometheus reads `/metrics`, such as `127.0.0.1:9464`. Unset: nowhere. Whoever reaches it may read.
    #[arg(long, env = "METRICS_BIND")]
    pub metrics_bind: Option<String>,

    /// Log as `text` or `json`.
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: String,

    /// One-click sign-in and demo accounts. Set by the `demo` command, never by the environment.
    #[arg(skip)]
    pub demo: bool,

    /// The embedded database is not kept, so it need not wait for the disk. Set by the conformance mode.
    #[arg(skip)]
    pub throwaway: bool,

    /// Bounds of plain connections and of what they send.
    #[command(flatten)]
    pub http: HttpLimits,

    /// Bounds of the live hub.
    #[command(flatten)]
    pub live: LiveLimits,
}

/// Bounds of plain connections, which are those that are not sockets, and of what they send.
#[derive(Args, Clone, Debug)]
pub struct HttpLimits {
    /// Connections of this node that are not sockets: requests, and handshakes. What is over it is closed at once. A quarter of
    /// the files that the process may open bounds them too.
    #[arg(long = "http-connections", env = "HTTP_CONNECTIONS", default_value_t = Self::DEFAULT.connections, value_parser = whole(1..=MOST))]
    pub connections: usize,

    /// Those of one address, or of one /64 of IPv6. High, since a gym's phones share its Wi-Fi's address. A trusted proxy is
    /// bounded in all alone.
    #[arg(long = "http-connections-per-address", env = "HTTP_CONNECTIONS_PER_ADDRESS", default_value_t = Self::DEFAULT.connections_per_address, value_parser = whole(1..=MOST))]
    pub connections_per_address: usize,

    /// Seconds that a client may take to send a request's head, and that a connection may be idle between requests.
    #[arg(long = "http-head-seconds", env = "HTTP_HEAD_SECONDS", default_value = "5", value_parser = seconds)]
    pub head_within: Duration,

    /// Seconds that a client may take to send a body, besides the time that the largest one takes at HTTP_BODY_BYTES_PER_SECOND.
    #[arg(long = "http-body-seconds", env = "HTTP_BODY_SECONDS", default_value = "10", value_parser = seconds)]
    pub body_within: Duration,

    /// Bytes a second that the slowest client sends of a body.
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

/// How proxies say whose request they pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, which most write.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// A network, or an address alone.
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
    fn what_is_not_set_is_the_default_that_tests_have() {
        let config = Cli::parse_from(["liveplan"]).config;
        assert_eq!(format!("{:?}", config.live), format!("{:?}", LiveLimits::default()));
        assert_eq!(format!("{:?}", config.http), format!("{:?}", HttpLimits::default()));
    }

    #[test]
    fn every_variable_is_in_the_example() {
        use clap::CommandFactory as _;
        let example = include_str!("../.env.example");
        let command = Cli::command();
        let variables: Vec<_> = command.get_arguments().filter_map(|a| a.get_env()?.to_str()).collect();
        assert!(variables.len() > 30, "{variables:?}");
        for variable in variables {
            assert!(
                example.contains(&format!("# {variable}=")),
                "{variable} is not in .env.example"
            );
        }
    }

    /// What stands in a text at the ends of the number types.
    #[test]
    fn no_number_is_taken_that_a_clock_or_an_allocation_cannot_bear() {
        use clap::CommandFactory as _;
        let flags: Vec<String> = Cli::command()
            .get_arguments()
            .filter(|a| a.get_num_args().is_none_or(|n| n.takes_values()) && a.get_possible_values().is_empty())
            .filter_map(|a| a.get_long().map(str::to_owned))
            .collect();
        let texts = [
            "bind",
            "data-dir",
            "database-url",
            "pg-bindir",
            "redis-url",
            "master-key",
            "metrics-bind",
        ];
        let texts = [&texts[..], &["allowed-origins", "trusted-proxies", "log-format"]].concat();
        let numbers: Vec<_> = flags.iter().filter(|flag| !texts.contains(&flag.as_str())).collect();
        assert!(numbers.len() > 25, "{numbers:?}");
        for flag in numbers {
            for end in ["18446744073709551615", "9223372036854775807", "1e300", "-1"] {
                let parsed = Cli::try_parse_from(["liveplan".to_owned(), format!("--{flag}={end}")]);
                assert!(parsed.is_err(), "--{flag}={end} is taken");
            }
        }
        for none in [
            "--database-pool=0",
            "--live-ping-seconds=0",
            "--session-days=0",
            "--live-reads-at-once=0",
            "--http-body-bytes-per-second=0",
        ] {
            assert!(Cli::try_parse_from(["liveplan", none]).is_err(), "{none} is taken");
        }
    }

    #[test]
    fn networks_are_read() {
        assert_eq!(network("10.1.0.0/16").map(|n| n.to_string()), Ok("10.1.0.0/16".into()));
        assert_eq!(network("::1").map(|n| n.to_string()), Ok("::1/128".into()));
        assert!(network("gateway").is_err());
    }
}
