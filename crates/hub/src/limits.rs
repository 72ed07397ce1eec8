//! The hub's bounds. Those that operators may need to change have an environment variable.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, value_parser};

/// The largest value of any bound, in bytes or items: one tebibyte. Sums of several such values do not overflow, and a
/// buffer preallocated for one is still possible.
pub const MOST: u64 = 1 << 40;

/// Bounds of the hub. The defaults are those of production; the bounds that operators may need to change have a
/// variable.
#[derive(Args, Clone, Debug)]
pub struct LiveLimits {
    /// Bytes that may wait in a connection's outbox. Over it, a slow client loses whole channels (unsubscribe 2500),
    /// and its commands wait until it has read their answers.
    #[arg(long = "live-outbox-bytes", env = "LIVE_OUTBOX_BYTES", default_value_t = Self::DEFAULT.outbox_bytes, value_parser = whole(1..=MOST))]
    pub outbox_bytes: usize,
    /// Seconds within which bytes waiting for a client must make progress; otherwise the socket is closed and its
    /// memory freed.
    #[arg(long = "live-write-seconds", env = "LIVE_WRITE_SECONDS", default_value = "20", value_parser = seconds)]
    pub write_within: Duration,
    /// Bytes of the kernel's send buffer per socket. Without a bound, the kernel grows it to megabytes for a slow
    /// client.
    #[arg(long = "live-send-buffer-bytes", env = "LIVE_SEND_BUFFER_BYTES", default_value_t = Self::DEFAULT.send_buffer_bytes, value_parser = whole(1..=MOST))]
    pub send_buffer_bytes: usize,
    /// Bytes of one incoming message.
    #[arg(long = "live-frame-bytes", env = "LIVE_FRAME_BYTES", default_value_t = Self::DEFAULT.frame_bytes, value_parser = whole(1..=MOST))]
    pub frame_bytes: usize,
    /// Commands that may wait on a connection. More than LIVE_CHANNELS, because a reconnecting client subscribes to all
    /// of its channels at once.
    #[arg(long = "live-pending-commands", env = "LIVE_PENDING_COMMANDS", default_value_t = Self::DEFAULT.pending_commands, value_parser = whole(1..=MOST))]
    pub pending_commands: usize,
    /// Bytes of commands that may wait on a connection.
    #[arg(long = "live-pending-bytes", env = "LIVE_PENDING_BYTES", default_value_t = Self::DEFAULT.pending_bytes, value_parser = whole(1..=MOST))]
    pub pending_bytes: usize,
    /// Subscriptions per connection.
    #[arg(long = "live-channels", env = "LIVE_CHANNELS", default_value_t = Self::DEFAULT.channels, value_parser = whole(1..=MOST))]
    pub channels: usize,
    /// Messages and commands per second that a connection may send on average.
    #[arg(long = "live-commands-per-second", env = "LIVE_COMMANDS_PER_SECOND", default_value_t = Self::DEFAULT.commands_per_second, value_parser = value_parser!(u32).range(1..))]
    pub commands_per_second: u32,
    /// Messages and commands that a connection may send in a burst after a quiet period.
    #[arg(long = "live-commands-at-once", env = "LIVE_COMMANDS_AT_ONCE", default_value_t = Self::DEFAULT.commands_at_once, value_parser = value_parser!(u32).range(1..))]
    pub commands_at_once: u32,
    /// Bytes per second that a connection may send on average.
    #[arg(long = "live-bytes-per-second", env = "LIVE_BYTES_PER_SECOND", default_value_t = Self::DEFAULT.bytes_per_second, value_parser = value_parser!(u32).range(1..))]
    pub bytes_per_second: u32,
    /// Bytes that a connection may send in a burst after a quiet period.
    #[arg(long = "live-bytes-at-once", env = "LIVE_BYTES_AT_ONCE", default_value_t = Self::DEFAULT.bytes_at_once, value_parser = value_parser!(u32).range(1..))]
    pub bytes_at_once: u32,
    /// Sockets on this node; over it, upgrades are answered with 503. The process's limit of open files bounds them
    /// too.
    #[arg(long = "live-sockets", env = "LIVE_SOCKETS", default_value_t = Self::DEFAULT.sockets, value_parser = whole(1..=MOST))]
    pub sockets: usize,
    /// Sockets from one IP address on this node. High, because all phones in a gym share the address of its Wi-Fi.
    #[arg(long = "live-sockets-per-address", env = "LIVE_SOCKETS_PER_ADDRESS", default_value_t = Self::DEFAULT.sockets_per_address, value_parser = whole(1..=MOST))]
    pub sockets_per_address: usize,
    /// Sockets of one account on this node; one more closes the account's oldest socket for good (close 3504).
    #[arg(value_name = "SOCKETS_PER_ACCOUNT", long = "live-sockets-per-account", env = "LIVE_SOCKETS_PER_ACCOUNT", default_value_t = Self::DEFAULT.sockets_per_user, value_parser = whole(1..=MOST))]
    pub sockets_per_user: usize,
    /// Sockets of one gym on this node; further ones are closed with 3013, and their clients come back later.
    #[arg(value_name = "SOCKETS_PER_GYM", long = "live-sockets-per-gym", env = "LIVE_SOCKETS_PER_GYM", default_value_t = Self::DEFAULT.sockets_per_log, value_parser = whole(1..=MOST))]
    pub sockets_per_log: usize,
    /// Open sockets that have not finished `connect`; one IP address may hold half of them. Beyond either, the oldest
    /// socket without a valid token of the address that has most of them is closed (3013) for the newcomer; if all have
    /// one, the upgrade is answered with 503.
    #[arg(long = "live-connecting", env = "LIVE_CONNECTING", default_value_t = Self::DEFAULT.connecting, value_parser = whole(1..=MOST))]
    pub connecting: usize,
    /// Connects and subscribes that may read the database at once. A few less than DATABASE_POOL, so that a reconnect
    /// storm leaves database connections for everything else.
    #[arg(long = "live-reads-at-once", env = "LIVE_READS_AT_ONCE", default_value_t = Self::DEFAULT.reads_at_once, value_parser = whole(1..=MOST))]
    pub reads_at_once: usize,
    /// Bytes of a snapshot in a subscribe reply; a larger snapshot is replaced by a URL that the client fetches.
    #[arg(long = "live-snapshot-bytes", env = "LIVE_SNAPSHOT_BYTES", default_value_t = Self::DEFAULT.snapshot_bytes, value_parser = whole(1..=MOST))]
    pub snapshot_bytes: usize,
    /// Seconds that a socket may take to send `connect`.
    #[arg(long = "live-connect-seconds", env = "LIVE_CONNECT_SECONDS", default_value = "10", value_parser = seconds)]
    pub connect_within: Duration,
    /// Seconds that a client may take to answer a ping.
    #[arg(long = "live-pong-seconds", env = "LIVE_PONG_SECONDS", default_value = "8", value_parser = seconds)]
    pub pong_within: Duration,
    /// Seconds between pings on a socket.
    #[arg(skip = Self::DEFAULT.ping_seconds)]
    pub ping_seconds: u32,
    /// How long a sequencer waits for a missing number before it reads it from Postgres.
    #[arg(skip = Self::DEFAULT.hole_wait)]
    pub hole_wait: Duration,
    /// From this many subscribers on, a channel is wide: a change waits for another that is about to follow it.
    #[arg(skip = Self::DEFAULT.wide)]
    pub wide: usize,
    /// How long such a change waits at most, per subscriber of the channel.
    #[arg(skip = Self::DEFAULT.wide_wait)]
    pub wide_wait: Duration,
    /// How long such a change waits at most, regardless of the number of subscribers.
    #[arg(skip = Self::DEFAULT.widest_wait)]
    pub widest_wait: Duration,
    /// Interval between sweeps.
    #[arg(skip = Self::DEFAULT.sweep_every)]
    pub sweep_every: Duration,
    /// How long a sequencer's log reads may fail before the log's subscriptions are ended.
    #[arg(skip = Self::DEFAULT.insufficient_after)]
    pub insufficient_after: Duration,
    /// How long a user must be away before others are notified (debounce).
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
        sockets_per_user: 20,
        sockets_per_log: 5000,
        connecting: 1000,
        reads_at_once: 12,
        snapshot_bytes: 128 * 1024,
        connect_within: Duration::from_secs(10),
        pong_within: Duration::from_secs(8),
        ping_seconds: 25,
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

/// Bounds of recovery. A returning subscription gets the publications that it missed from this node's replay buffer,
/// else from Postgres; beyond these bounds it gets a new snapshot.
#[derive(Args, Clone, Debug)]
pub struct Recovery {
    /// Missed publications that one recovery may replay.
    #[arg(
        id = "recover-events",
        long = "live-recover-events",
        env = "LIVE_RECOVER_EVENTS",
        default_value_t = 1000,
        value_parser = whole(0..=MOST)
    )]
    pub events: usize,

    /// Bytes of missed publications that one recovery may replay.
    #[arg(id = "recover-bytes", long = "live-recover-bytes", env = "LIVE_RECOVER_BYTES", default_value_t = 256 * 1024, value_parser = whole(0..=MOST))]
    pub bytes: usize,

    /// Changes in the replay buffer of each gym with sockets on this node.
    #[arg(long = "live-memory-events", env = "LIVE_MEMORY_EVENTS", default_value_t = 1000, value_parser = whole(0..=MOST))]
    pub memory_events: usize,

    /// Bytes of changes in each gym's replay buffer.
    #[arg(long = "live-memory-bytes", env = "LIVE_MEMORY_BYTES", default_value_t = 256 * 1024, value_parser = whole(0..=MOST))]
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

/// A clap parser of whole numbers within a range, for `usize`, which clap itself does not parse with a range.
#[must_use]
pub fn whole(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// Parses a duration in seconds: more than zero, and at most one day so that adding it to an `Instant` cannot overflow.
///
/// # Errors
/// A sentence for the operator.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|d| !d.is_zero() && *d <= Duration::from_hours(24))
        .ok_or_else(|| "must be more than 0 and at most 86400 seconds (one day)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_accepted_above_zero_up_to_one_day() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("soon").is_err());
        assert!(seconds("86400").is_ok() && seconds("86401").is_err() && seconds("inf").is_err());
    }
}
