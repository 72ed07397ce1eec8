//! `/metrics` for Prometheus and a detailed `/readyz`, on a separate listener. A proxy that serves the main listener cannot expose it by
//! mistake, and it answers while the main listener drains or is overloaded. There is no such listener unless
//! `METRICS_BIND` is set.
//!
//! No metric has a label for gyms or accounts: each would be a time series of its own, and personal data. A scrape
//! reads the values; measuring costs at most relaxed atomic operations. `text` encodes them.

mod text;

use std::fmt;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App as ActixApp, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::connection::Connections;
use super::{headers, health};
use crate::app::App;
use crate::budget::Class;
use crate::error::{Error, Result};
use crate::{meals, plans};
use liveplan_hub::cluster::keyring::Kind;
use liveplan_hub::counters::{Counters, Reason};
use liveplan_hub::protocol::Codec;
use text::Text;

/// The listener of `/metrics`.
pub struct Metrics {
    /// The address it listens on.
    pub address: SocketAddr,
    handle: ServerHandle,
}

impl Metrics {
    /// Stops the listener.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// Starts the listener, if `bind` is set.
///
/// # Errors
/// If it cannot listen on the address.
pub fn serve(bind: Option<&str>, app: &App) -> anyhow::Result<Option<Metrics>> {
    let Some(bind) = bind else { return Ok(None) };
    let app = app.clone();
    let server = HttpServer::new(move || {
        let mut registry = Registry::with_prefix("liveplan");
        registry.register_collector(Box::new(Node(app.clone())));
        ActixApp::new()
            .app_data(web::Data::new(registry))
            .app_data(web::Data::new(app.clone()))
            .app_data(web::Data::new(app.config.clone()))
            .route("/metrics", web::get().to(show_metrics))
            .configure(health::detailed_routes)
            .wrap(from_fn(headers::protective))
    })
    .workers(1)
    .disable_signals()
    .bind(bind)
    .with_context(|| format!("cannot serve metrics on {bind}; set METRICS_BIND to use another address"))?;
    let address = *server.addrs().first().context("no address")?;
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    tracing::info!(address = %address, "serving metrics at /metrics");
    Ok(Some(Metrics { address, handle }))
}

async fn show_metrics(registry: web::Data<Registry>) -> Result<HttpResponse> {
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).map_err(|e| Error::from(anyhow::Error::new(e)))?;
    Ok(HttpResponse::Ok()
        .content_type(prometheus_text::CONTENT_TYPE)
        .body(text))
}

/// Collects the metrics of this node.
struct Node(App);

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node")
    }
}

impl Collector for Node {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut text = Text(encoder);
        let counters = &self.0.hub.counters;
        node(&mut text, &self.0)?;
        doors(&mut text, &self.0)?;
        sockets(&mut text, &self.0)?;
        delivery(&mut text, counters)?;
        order(&mut text, counters)?;
        recovery(&mut text, counters)?;
        redis(&mut text, &self.0)?;
        answers(&mut text, &self.0)?;
        budgets(&mut text, &self.0)?;
        database(&mut text, &self.0)
    }
}

fn node(text: &mut Text, app: &App) -> fmt::Result {
    text.gauges(
        "build_info",
        "Always 1; the label is the running version.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)],
    )?;
    text.gauge(
        "draining",
        "1 while the node drains its sockets for shutdown, else 0.",
        app.hub.is_draining(),
    )?;
    let changes = app.changes_in_flight.load(Ordering::Acquire);
    text.gauge(
        "changes_in_flight",
        "Changes that have begun and have neither committed nor failed.",
        changes,
    )
}

fn doors(text: &mut Text, app: &App) -> fmt::Result {
    let connections = app.part::<Connections>();
    text.counter(
        "http_connections_gave_way",
        "Plain connections closed for a newcomer, because a bound on them was reached.",
        &connections.gave_way.get(),
    )?;
    text.counter(
        "live_sockets_gave_way",
        "WebSockets without a valid token closed for a newcomer, because a bound on unfinished connects was reached.",
        &app.hub.door().gave_way.get(),
    )?;
    text.counter(
        "http_forgotten_proxy_requests",
        "Requests with forwarding headers from this machine or a private network although TRUSTED_PROXIES is unset.",
        &connections.forgotten().requests.get(),
    )
}

fn sockets(text: &mut Text, app: &App) -> fmt::Result {
    let counters = &app.hub.counters;
    let sockets = Codec::ALL.map(|codec| (codec.name(), counters.sockets(codec)));
    text.gauges(
        "live_sockets",
        "Open WebSockets.",
        "codec",
        sockets.map(|(codec, (_, open))| (codec, open)),
    )?;
    text.counters(
        "live_sockets_opened",
        "WebSockets opened.",
        "codec",
        sockets.map(|(codec, (opened, _))| (codec, opened)),
    )?;
    text.family(
        "live_sockets_closed",
        "WebSockets closed, by close code; 1006 means without a close frame.",
        &counters.closes,
    )?;
    text.gauge(
        "live_subscriptions",
        "Subscriptions on this node.",
        app.hub.registry().len(),
    )?;
    text.gauge(
        "live_gyms",
        "Gyms with a sequencer on this node.",
        app.hub.logs_served(),
    )?;
    let mut waiting = 0;
    for connection in app.hub.connections().all() {
        waiting += connection.outbox.waiting_bytes();
        connection.outbox.settle();
    }
    text.gauge(
        "live_queue_bytes",
        "Bytes that wait in the outboxes of all connections.",
        waiting,
    )
}

fn delivery(text: &mut Text, counters: &Counters) -> fmt::Result {
    text.counter(
        "live_deliveries",
        "Publications written to the outboxes of connections.",
        &counters.deliveries.get(),
    )?;
    text.counter(
        "live_delivered_bytes",
        "Bytes of publications written to the outboxes of connections.",
        &counters.delivered_bytes.get(),
    )?;
    text.counter(
        "live_sent_bytes",
        "Bytes of all kinds written to sockets.",
        &counters.sent_bytes.get(),
    )?;
    text.counter(
        "live_channels_lost",
        "Subscriptions ended because their client read too slowly.",
        &counters.lost_channels.get(),
    )?;
    text.histogram(
        "live_delivery_seconds",
        "Time from a COMMIT on this node until a publication is in a connection's outbox.",
        &counters.delivery_seconds,
    )?;
    text.histogram(
        "live_publish_seconds",
        "Time from a COMMIT on this node until Redis acknowledged the change.",
        &counters.broker.publish_seconds,
    )
}

fn order(text: &mut Text, counters: &Counters) -> fmt::Result {
    let rows = [
        (
            "live_hole_waits",
            "Times that a sequencer waited for a missing number of a log.",
            &counters.hole_waits,
        ),
        (
            "live_refills",
            "Log reads that filled sequence gaps.",
            &counters.refills,
        ),
        (
            "live_refill_failures",
            "Log reads for sequence gaps that failed.",
            &counters.refill_failures,
        ),
        (
            "live_let_go",
            "Times that all subscriptions of a gym were let go because the node could not read what they missed.",
            &counters.let_go,
        ),
        (
            "live_sweeps",
            "Sweeps: comparisons of this node's positions with the heads in Postgres.",
            &counters.sweeps,
        ),
        ("live_sweep_failures", "Sweeps that failed.", &counters.sweep_failures),
    ];
    for (name, help, count) in rows {
        text.counter(name, help, &count.get())?;
    }
    Ok(())
}

fn recovery(text: &mut Text, counters: &Counters) -> fmt::Result {
    let recovery = &counters.recovery;
    text.counters(
        "live_recoveries",
        "Subscriptions that recovered missed publications, by source: replay buffer (memory) or log (database).",
        "path",
        [("memory", recovery.memory.get()), ("database", recovery.database.get())],
    )?;
    text.counters(
        "live_snapshots",
        "Subscriptions that began with a snapshot, by reason.",
        "reason",
        Reason::ALL.map(|why| (why.name(), recovery.snapshots(why))),
    )?;
    text.counters(
        "live_state_reads",
        "Database reads for recoveries (missed) and snapshots.",
        "of",
        [
            ("missed", recovery.database_reads.get()),
            ("snapshot", recovery.snapshot_reads.get()),
        ],
    )?;
    text.counters(
        "live_state_reads_shared",
        "Subscriptions that shared the database read of another one.",
        "of",
        [
            ("missed", recovery.database_shared.get()),
            ("snapshot", recovery.snapshots_shared.get()),
        ],
    )
}

fn redis(text: &mut Text, app: &App) -> fmt::Result {
    if !app.hub.has_other_nodes() {
        return Ok(());
    }
    let broker = &app.hub.counters.broker;
    text.gauge(
        "redis_up",
        "1 if publishing to and receiving from every Redis server works, else 0.",
        app.hub.broker_is_up(),
    )?;
    let rows: [(&str, &str, &Counter); 12] = [
        ("redis_trips", "Round trips to Redis.", &broker.trips),
        ("redis_published", "Changes that Redis acknowledged.", &broker.published),
        (
            "redis_dropped",
            "Changes not published because the queue was full or there was no server.",
            &broker.dropped,
        ),
        (
            "redis_unpublished",
            "Changes whose publication Redis did not acknowledge.",
            &broker.unpublished,
        ),
        ("redis_received", "Changes received from other nodes.", &broker.received),
        (
            "redis_overflowed",
            "Messages dropped because they arrived faster than the node could process them.",
            &broker.overflowed,
        ),
        ("redis_subscribed", "Redis channels subscribed to.", &broker.subscribed),
        (
            "redis_unsubscribed",
            "Redis channels unsubscribed from.",
            &broker.unsubscribed,
        ),
        (
            "redis_lost_connections",
            "Receiving connections to Redis that were lost or could not be opened; the node retries each.",
            &broker.lost_connections,
        ),
        ("redis_probes", "Probes sent through Redis.", &broker.probes),
        (
            "redis_probe_failures",
            "Probes that failed or did not come back.",
            &broker.probe_failures,
        ),
        (
            "redis_lease_failures",
            "Exchanges of presence leases with Redis that failed.",
            &broker.lease_failures,
        ),
    ];
    for (name, help, count) in rows {
        text.counter(name, help, &count.get())?;
    }
    let refused = |kind: Kind| app.hub.keyring().map_or(0, |keyring| keyring.refused(kind));
    text.counters(
        "redis_refused",
        "Messages, presence records and cached values from Redis that were forged, altered, replayed or of another \
         release.",
        "kind",
        Kind::ALL.map(|kind| (kind.name(), refused(kind))),
    )
}

fn answers(text: &mut Text, app: &App) -> fmt::Result {
    let counts = app.cache.counts();
    text.counters(
        "plan_reads",
        "Reads of plans, by the level that had them: L1 (memory), L2 (redis) or neither (database).",
        "path",
        [
            ("memory", counts.local.get()),
            ("redis", counts.shared.get()),
            ("database", counts.missed.get()),
        ],
    )?;
    let lookups = app.part::<plans::Lookups>();
    let lookups = lookups.counts();
    text.counter(
        "plan_version_requests",
        "Requests that looked up a plan's version and the caller's right to it.",
        &lookups.asked.get(),
    )?;
    text.counter(
        "plan_version_reads",
        "Database reads for lookups of plan versions.",
        &lookups.looks.get(),
    )?;
    let checks = app.tokens.checks();
    text.counters(
        "token_checks",
        "Access tokens checked, by the cache of verified tokens (memory) or by their signature.",
        "path",
        [
            ("memory", checks.remembered.get()),
            ("signature", checks.signatures.get()),
        ],
    )?;
    text.gauge(
        "completions_waiting",
        "Ticks that wait for the current batch of their gym, or for a lock on their member's follow.",
        app.part::<meals::Queues>().waiting_in_all(),
    )
}

fn budgets(text: &mut Text, app: &App) -> fmt::Result {
    let counts = &app.budgets.counts;
    text.counters(
        "budget_refused",
        "Requests and commands refused because the account's budget was used up.",
        "class",
        Class::ALL.map(|class| (class.name(), counts.refused(class))),
    )?;
    text.counter(
        "expensive_reads_refused",
        "Lists, searches and histories refused because too many were being read or waited.",
        &counts.crowded.get(),
    )?;
    text.counter("budget_trips", "Queries to Redis about budgets.", &counts.trips.get())?;
    text.counter(
        "budget_waits",
        "Requests and commands that waited for a query to Redis about budgets.",
        &counts.waits.get(),
    )?;
    text.counter(
        "budget_failures",
        "Queries to Redis about budgets that failed.",
        &counts.failures.get(),
    )
}

fn database(text: &mut Text, app: &App) -> fmt::Result {
    let pool = app.pool.state();
    let used = pool.statistics;
    text.gauge(
        "database_connections",
        "Connections in the pool to Postgres.",
        pool.connections,
    )?;
    text.gauge(
        "database_idle_connections",
        "Idle connections in the pool.",
        pool.idle_connections,
    )?;
    text.gauge(
        "database_waiting",
        "Calls that wait for a connection from the pool.",
        used.pending_gets(),
    )?;
    text.counters(
        "database_gets",
        "Calls for a connection from the pool: served at once, served after a wait, or timed out.",
        "how",
        [
            ("at_once", used.get_direct),
            ("waited", used.get_waited),
            ("timed_out", used.get_timed_out),
        ],
    )?;
    text.counter(
        "database_wait_seconds",
        "Seconds that calls waited for a connection from the pool.",
        &used.get_wait_time.as_secs_f64(),
    )?;
    text.counter(
        "database_connections_created",
        "Connections to Postgres opened.",
        &used.connections_created,
    )?;
    text.counter(
        "database_connections_broken",
        "Connections to Postgres closed because they were broken.",
        &used.connections_closed_broken,
    )?;
    let until = *app.partitions_until.lock().unwrap_or_else(PoisonError::into_inner);
    let today = app.clock.now().date_naive();
    text.gauge(
        "database_partition_days_ahead",
        "Days after today with a partition for live events, at the last hourly check; -1 if today has none.",
        until.map_or(-1, |until| (until - today).num_days()),
    )
}
