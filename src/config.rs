//! Configuration: the environment, read once into one struct. Every variable is documented on its field and in
//! `.env.example`; tests build the struct.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

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
    #[arg(long, env = "DATABASE_POOL", default_value_t = 16)]
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
    #[arg(long, env = "CACHE_BYTES", default_value_t = 64 * 1024 * 1024)]
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
    #[arg(long, env = "WORKERS", default_value_t = 0)]
    pub workers: usize,

    /// Life of an access token in seconds.
    #[arg(long, env = "ACCESS_TOKEN_SECONDS", default_value_t = 900)]
    pub access_token_seconds: i64,

    /// Days that a session may go unused.
    #[arg(long, env = "SESSION_DAYS", default_value_t = 30)]
    pub session_days: i64,

    /// Days that live events are kept for recovery.
    #[arg(long, env = "LIVE_RETENTION_DAYS", default_value_t = 7)]
    pub live_retention_days: u32,

    /// What a recovery may cost, and what this node remembers for it.
    #[command(flatten)]
    pub recovery: Recovery,

    /// Seconds between pings on a socket.
    #[arg(long, env = "LIVE_PING_SECONDS", default_value_t = 25)]
    pub live_ping_seconds: u32,

    /// Completions of a gym that are written in one transaction at most; 1 gives each a transaction of its own.
    #[arg(long, env = "FOLD_BATCH", default_value_t = 64)]
    pub fold_batch: usize,

    /// Seconds over which sockets are closed at shutdown.
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 20)]
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

    /// Bounds of the live hub.
    #[command(flatten)]
    pub live: LiveLimits,
}

/// How proxies say whose request they pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, which most write.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Bounds of the live hub; the defaults are what production runs. Those that operators may need to change have a variable.
#[derive(Args, Clone, Debug)]
pub struct LiveLimits {
    /// Bytes that may wait in a connection's outgoing queue. Over it a channel that is slow is let go as a whole, and commands wait
    /// until the client has read their answers.
    #[arg(long = "live-outbox-bytes", env = "LIVE_OUTBOX_BYTES", default_value_t = Self::DEFAULT.outbox_bytes)]
    pub outbox_bytes: usize,
    /// Seconds within which bytes that wait for a client must move; else the socket is closed and its memory freed.
    #[arg(long = "live-write-seconds", env = "LIVE_WRITE_SECONDS", default_value = "20", value_parser = seconds)]
    pub write_within: Duration,
    /// Bytes that the kernel may hold for a client that reads slowly; it would grow this to megabytes.
    #[arg(long = "live-send-buffer-bytes", env = "LIVE_SEND_BUFFER_BYTES", default_value_t = Self::DEFAULT.send_buffer_bytes)]
    pub send_buffer_bytes: usize,
    /// Bytes of one incoming message.
    #[arg(long = "live-frame-bytes", env = "LIVE_FRAME_BYTES", default_value_t = Self::DEFAULT.frame_bytes)]
    pub frame_bytes: usize,
    /// Commands that may wait on a connection. A client that comes back asks for all its channels at once, so this is more than
    /// the channels.
    #[arg(long = "live-pending-commands", env = "LIVE_PENDING_COMMANDS", default_value_t = Self::DEFAULT.pending_commands)]
    pub pending_commands: usize,
    /// Bytes of commands that may wait on a connection.
    #[arg(long = "live-pending-bytes", env = "LIVE_PENDING_BYTES", default_value_t = Self::DEFAULT.pending_bytes)]
    pub pending_bytes: usize,
    /// Subscriptions of a connection.
    #[arg(long = "live-channels", env = "LIVE_CHANNELS", default_value_t = Self::DEFAULT.channels)]
    pub channels: usize,
    /// Messages and commands that a connection may send a second, in the long run.
    #[arg(long = "live-commands-per-second", env = "LIVE_COMMANDS_PER_SECOND", default_value_t = Self::DEFAULT.commands_per_second)]
    pub commands_per_second: u32,
    /// Messages and commands that it may send at once after it was quiet.
    #[arg(long = "live-commands-at-once", env = "LIVE_COMMANDS_AT_ONCE", default_value_t = Self::DEFAULT.commands_at_once)]
    pub commands_at_once: u32,
    /// Bytes that a connection may send a second, in the long run.
    #[arg(long = "live-bytes-per-second", env = "LIVE_BYTES_PER_SECOND", default_value_t = Self::DEFAULT.bytes_per_second)]
    pub bytes_per_second: u32,
    /// Bytes that it may send at once after it was quiet.
    #[arg(long = "live-bytes-at-once", env = "LIVE_BYTES_AT_ONCE", default_value_t = Self::DEFAULT.bytes_at_once)]
    pub bytes_at_once: u32,
    /// Sockets of this node; over it upgrades are answered with 503. The files that the process may open bound it too.
    #[arg(long = "live-sockets", env = "LIVE_SOCKETS", default_value_t = Self::DEFAULT.sockets)]
    pub sockets: usize,
    /// Sockets of one address on this node. High, since a gym's phones share its Wi-Fi's address.
    #[arg(long = "live-sockets-per-address", env = "LIVE_SOCKETS_PER_ADDRESS", default_value_t = Self::DEFAULT.sockets_per_address)]
    pub sockets_per_address: usize,
    /// Sockets of one account on this node; with one more its oldest is closed for good.
    #[arg(long = "live-sockets-per-account", env = "LIVE_SOCKETS_PER_ACCOUNT", default_value_t = Self::DEFAULT.sockets_per_account)]
    pub sockets_per_account: usize,
    /// Sockets of one gym on this node; further ones are sent away to come back later.
    #[arg(long = "live-sockets-per-gym", env = "LIVE_SOCKETS_PER_GYM", default_value_t = Self::DEFAULT.sockets_per_gym)]
    pub sockets_per_gym: usize,
    /// Sockets that are open and have not finished `connect`; over it upgrades are answered with 503. One address may have half.
    #[arg(long = "live-connecting", env = "LIVE_CONNECTING", default_value_t = Self::DEFAULT.connecting)]
    pub connecting: usize,
    /// Connects and subscribes that may read the database at once: a few less than DATABASE_POOL, so that a storm of sockets
    /// leaves connections for everything else.
    #[arg(long = "live-reads-at-once", env = "LIVE_READS_AT_ONCE", default_value_t = Self::DEFAULT.reads_at_once)]
    pub reads_at_once: usize,
    /// Bytes of a snapshot in a subscribe reply; over it the client fetches by REST.
    #[arg(long = "live-snapshot-bytes", env = "LIVE_SNAPSHOT_BYTES", default_value_t = Self::DEFAULT.snapshot_bytes)]
    pub snapshot_bytes: usize,
    /// Seconds that a socket may take to send `connect`.
    #[arg(long = "live-connect-seconds", env = "LIVE_CONNECT_SECONDS", default_value = "10", value_parser = seconds)]
    pub connect_within: Duration,
    /// Seconds that a client may take to answer a ping.
    #[arg(long = "live-pong-seconds", env = "LIVE_PONG_SECONDS", default_value = "8", value_parser = seconds)]
    pub pong_within: Duration,
    /// How long a sequencer waits for a missing number before it reads it from Postgres.
    #[arg(skip = Self::DEFAULT.hole_wait)]
    pub hole_wait: Duration,
    /// Subscribers of a channel from which on a change waits for another that is about to follow it.
    #[arg(skip = Self::DEFAULT.wide)]
    pub wide: usize,
    /// How long it waits at most, for each subscriber.
    #[arg(skip = Self::DEFAULT.wide_wait)]
    pub wide_wait: Duration,
    /// How long it waits at most, however many they are.
    #[arg(skip = Self::DEFAULT.widest_wait)]
    pub widest_wait: Duration,
    /// How often positions are compared with Postgres.
    #[arg(skip = Self::DEFAULT.sweep_every)]
    pub sweep_every: Duration,
    /// How long the database may be out of reach before subscriptions are let go.
    #[arg(skip = Self::DEFAULT.insufficient_after)]
    pub insufficient_after: Duration,
    /// How long somebody must be away before screens are told.
    #[arg(skip = Self::DEFAULT.offline_after)]
    pub offline_after: Duration,
}

impl LiveLimits {
    const DEFAULT: Self = Self {
        outbox_bytes: 256 * 1024,
        write_within: Duration::from_secs(20),
        send_buffer_bytes: 64 * 1024,
        frame_bytes: 64 * 1024,
        pending_commands: 256,
        pending_bytes: 256 * 1024,
        channels: 128,
        commands_per_second: 50,
        commands_at_once: 400,
        bytes_per_second: 64 * 1024,
        bytes_at_once: 1024 * 1024,
        sockets: 20_000,
        sockets_per_address: 5000,
        sockets_per_account: 20,
        sockets_per_gym: 5000,
        connecting: 1000,
        reads_at_once: 12,
        snapshot_bytes: 128 * 1024,
        connect_within: Duration::from_secs(10),
        pong_within: Duration::from_secs(8),
        hole_wait: Duration::from_millis(20),
        wide: 256,
        wide_wait: Duration::from_micros(20),
        widest_wait: Duration::from_millis(25),
        sweep_every: Duration::from_secs(1),
        insufficient_after: Duration::from_secs(10),
        offline_after: Duration::from_secs(4),
    };
}

impl Default for LiveLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Bounds of recovery. A subscription that was away gets what it missed from this node's memory, then from Postgres; with
/// more than these it gets a new snapshot.
#[derive(Args, Clone, Debug)]
pub struct Recovery {
    /// Missed publications that a subscription is given one by one.
    #[arg(
        id = "recover-events",
        long = "live-recover-events",
        env = "LIVE_RECOVER_EVENTS",
        default_value_t = 1000
    )]
    pub events: usize,

    /// Bytes of them.
    #[arg(id = "recover-bytes", long = "live-recover-bytes", env = "LIVE_RECOVER_BYTES", default_value_t = 256 * 1024)]
    pub bytes: usize,

    /// Changes of each gym with sockets here that this node remembers.
    #[arg(long = "live-memory-events", env = "LIVE_MEMORY_EVENTS", default_value_t = 1000)]
    pub memory_events: usize,

    /// Bytes of them.
    #[arg(long = "live-memory-bytes", env = "LIVE_MEMORY_BYTES", default_value_t = 256 * 1024)]
    pub memory_bytes: usize,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            events: 1000,
            bytes: 256 * 1024,
            memory_events: 1000,
            memory_bytes: 256 * 1024,
        }
    }
}

/// A network, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse().map(|address: std::net::IpAddr| IpNet::from(address)))
        .map_err(|_| format!("{text} is neither an address nor a network such as 10.0.0.0/8"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|d| !d.is_zero())
        .ok_or_else(|| "more than zero seconds".to_owned())
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

    #[test]
    fn networks_and_seconds_are_read() {
        assert_eq!(network("10.1.0.0/16").map(|n| n.to_string()), Ok("10.1.0.0/16".into()));
        assert_eq!(network("::1").map(|n| n.to_string()), Ok("::1/128".into()));
        assert!(network("gateway").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("soon").is_err());
    }
}
