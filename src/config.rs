//! Configuration: the environment, read once into one struct. Every variable is documented on its field and in
//! `.env.example`; tests build the struct.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

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

    /// Addresses of proxies whose `X-Forwarded-For` is believed.
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpAddr>,

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
    #[arg(skip)]
    pub live: LiveLimits,
}

/// Bounds of the live hub; the defaults are what production runs.
#[derive(Clone, Debug)]
pub struct LiveLimits {
    /// Bytes that may wait in a connection's outgoing queue.
    pub outbox_bytes: usize,
    /// Bytes of one incoming frame.
    pub frame_bytes: usize,
    /// Commands that may wait on a connection.
    pub pending_commands: usize,
    /// Subscriptions of a connection.
    pub channels: usize,
    /// Bytes of a snapshot in a subscribe reply; over it the client fetches by REST.
    pub snapshot_bytes: usize,
    /// How long a socket may take to send `connect`.
    pub connect_within: Duration,
    /// How long a client may take to answer a ping.
    pub pong_within: Duration,
    /// How long a sequencer waits for a missing number before it reads it from Postgres.
    pub hole_wait: Duration,
    /// How often positions are compared with Postgres.
    pub sweep_every: Duration,
    /// How long the database may be out of reach before subscriptions are let go.
    pub insufficient_after: Duration,
    /// How long somebody must be away before screens are told.
    pub offline_after: Duration,
}

impl Default for LiveLimits {
    fn default() -> Self {
        Self {
            outbox_bytes: 256 * 1024,
            frame_bytes: 64 * 1024,
            pending_commands: 64,
            channels: 128,
            snapshot_bytes: 128 * 1024,
            connect_within: Duration::from_secs(10),
            pong_within: Duration::from_secs(8),
            hole_wait: Duration::from_millis(20),
            sweep_every: Duration::from_secs(1),
            insufficient_after: Duration::from_secs(10),
            offline_after: Duration::from_secs(4),
        }
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
