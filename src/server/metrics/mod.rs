//! `/metrics` for Prometheus, on a listener of its own: what is not routed to the outside cannot be read there, whatever
//! rules a proxy has for paths, and it answers while the other listener drains or is overrun. It is closed unless
//! `METRICS_BIND` names an address.
//!
//! Nothing here is of one gym or one account: that would be one time series each, and nobody's business. Values are read
//! when they are asked for; what is measured pays for relaxed atomics at most. `text`: how they are written.

mod text;

use std::fmt;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use actix_web::dev::ServerHandle;
use actix_web::{App as ActixApp, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::error::{Error, Result};
use liveplan_hub::counters::{Counters, Reason};
use liveplan_hub::protocol::Codec;
use text::Text;

/// The listener.
pub struct Metrics {
    /// Where it listens.
    pub address: SocketAddr,
    handle: ServerHandle,
}

impl Metrics {
    /// Ends it.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// Listens at an address, if there is one.
///
/// # Errors
/// An address that cannot be listened on.
pub fn serve(bind: Option<&str>, app: &App) -> anyhow::Result<Option<Metrics>> {
    let Some(bind) = bind else { return Ok(None) };
    let app = app.clone();
    let server = HttpServer::new(move || {
        let mut registry = Registry::with_prefix("liveplan");
        registry.register_collector(Box::new(Node(app.clone())));
        ActixApp::new()
            .app_data(web::Data::new(registry))
            .route("/metrics", web::get().to(show_metrics))
    })
    .workers(1)
    .disable_signals()
    .bind(bind)
    .with_context(|| format!("cannot show metrics on {bind}; METRICS_BIND names another address"))?;
    let address = *server.addrs().first().context("no address")?;
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    tracing::info!(address = %address, "metrics at /metrics");
    Ok(Some(Metrics { address, handle }))
}

async fn show_metrics(registry: web::Data<Registry>) -> Result<HttpResponse> {
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).map_err(|e| Error::from(anyhow::Error::new(e)))?;
    Ok(HttpResponse::Ok()
        .content_type(prometheus_text::CONTENT_TYPE)
        .body(text))
}

/// What this node is doing.
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
        sockets(&mut text, &self.0)?;
        delivery(&mut text, counters)?;
        order(&mut text, counters)?;
        recovery(&mut text, counters)?;
        redis(&mut text, &self.0)?;
        answers(&mut text, &self.0)?;
        database(&mut text, &self.0)
    }
}

fn node(text: &mut Text, app: &App) -> fmt::Result {
    text.gauges(
        "build_info",
        "Always 1; the label is the version that runs.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)],
    )?;
    text.gauge(
        "draining",
        "Whether the node closes its sockets to end.",
        app.hub.is_draining(),
    )?;
    let changes = app.changes_in_flight.load(Ordering::Acquire);
    text.gauge("changes_in_flight", "Changes that have begun and not ended.", changes)
}

fn sockets(text: &mut Text, app: &App) -> fmt::Result {
    let counters = &app.hub.counters;
    let sockets = Codec::ALL.map(|codec| (codec.name(), counters.sockets(codec)));
    text.gauges(
        "live_sockets",
        "Sockets that are open.",
        "codec",
        sockets.map(|(codec, (_, open))| (codec, open)),
    )?;
    text.counters(
        "live_sockets_opened",
        "Sockets that were opened.",
        "codec",
        sockets.map(|(codec, (opened, _))| (codec, opened)),
    )?;
    text.family(
        "live_sockets_closed",
        "Sockets that ended, by close code; 1006 without a close frame.",
        &counters.closes,
    )?;
    text.gauge(
        "live_subscriptions",
        "Subscriptions of sockets.",
        app.hub.registry().len(),
    )?;
    text.gauge(
        "live_gyms",
        "Gyms whose changes are put in order here.",
        app.hub.logs_served(),
    )?;
    let mut waiting = 0;
    for connection in app.hub.connections().all() {
        waiting += connection.outbox.waiting_bytes();
        connection.outbox.settle();
    }
    text.gauge("live_queue_bytes", "Bytes that wait for sockets to take them.", waiting)
}

fn delivery(text: &mut Text, counters: &Counters) -> fmt::Result {
    text.counter(
        "live_deliveries",
        "Publications handed to connections.",
        &counters.deliveries.get(),
    )?;
    text.counter(
        "live_delivered_bytes",
        "Bytes of publications handed to connections.",
        &counters.delivered_bytes.get(),
    )?;
    text.counter(
        "live_sent_bytes",
        "Bytes that sockets took, of all kinds.",
        &counters.sent_bytes.get(),
    )?;
    text.counter(
        "live_channels_lost",
        "Subscriptions that ended because their client reads too slowly.",
        &counters.lost_channels.get(),
    )?;
    text.histogram(
        "live_delivery_seconds",
        "From COMMIT on this node to a publication in a connection's queue.",
        &counters.delivery_seconds,
    )?;
    text.histogram(
        "live_publish_seconds",
        "From COMMIT on this node until Redis had taken the change.",
        &counters.broker.publish_seconds,
    )
}

fn order(text: &mut Text, counters: &Counters) -> fmt::Result {
    let rows = [
        (
            "live_hole_waits",
            "Times that a missing number was waited for.",
            &counters.hole_waits,
        ),
        ("live_refills", "Reads of what a gym's order lacked.", &counters.refills),
        ("live_refill_failures", "Those that failed.", &counters.refill_failures),
        (
            "live_let_go",
            "Times that all subscriptions of a gym had to begin anew.",
            &counters.let_go,
        ),
        (
            "live_sweeps",
            "Comparisons of positions with the database.",
            &counters.sweeps,
        ),
        ("live_sweep_failures", "Those that failed.", &counters.sweep_failures),
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
        "Subscriptions that were given what they missed, by where it was.",
        "path",
        [("memory", recovery.memory.get()), ("database", recovery.database.get())],
    )?;
    text.counters(
        "live_snapshots",
        "Subscriptions that began with a snapshot, by why.",
        "reason",
        Reason::ALL.map(|why| (why.name(), recovery.snapshots(why))),
    )?;
    text.counters(
        "live_state_reads",
        "Reads of the database for them.",
        "of",
        [
            ("missed", recovery.database_reads.get()),
            ("snapshot", recovery.snapshot_reads.get()),
        ],
    )?;
    text.counters(
        "live_state_reads_shared",
        "Subscriptions that were served by a read made for another.",
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
        "Whether every server of Redis hears and is heard.",
        app.hub.broker_is_up(),
    )?;
    let rows: [(&str, &str, &Counter); 12] = [
        ("redis_trips", "Round trips.", &broker.trips),
        ("redis_published", "Changes that Redis took.", &broker.published),
        (
            "redis_dropped",
            "Changes that found the queue full or no server.",
            &broker.dropped,
        ),
        (
            "redis_unpublished",
            "Changes that Redis may not have taken.",
            &broker.unpublished,
        ),
        ("redis_received", "Changes of other nodes that came.", &broker.received),
        ("redis_overflowed", "Messages that came too fast.", &broker.overflowed),
        ("redis_subscribed", "Channels subscribed to.", &broker.subscribed),
        (
            "redis_unsubscribed",
            "Channels unsubscribed from.",
            &broker.unsubscribed,
        ),
        (
            "redis_lost_connections",
            "Listening connections that were lost or could not be made, each tried again.",
            &broker.lost_connections,
        ),
        ("redis_probes", "Probes sent.", &broker.probes),
        (
            "redis_probe_failures",
            "Probes that failed or did not come back.",
            &broker.probe_failures,
        ),
        (
            "redis_lease_failures",
            "Exchanges of who is online that failed.",
            &broker.lease_failures,
        ),
    ];
    for (name, help, count) in rows {
        text.counter(name, help, &count.get())?;
    }
    Ok(())
}

fn answers(text: &mut Text, app: &App) -> fmt::Result {
    let counts = app.cache.counts();
    text.counters(
        "plan_reads",
        "Plans asked for, by which level of the cache had them.",
        "path",
        [
            ("memory", counts.local.load(Ordering::Relaxed)),
            ("redis", counts.shared.load(Ordering::Relaxed)),
            ("database", counts.missed.load(Ordering::Relaxed)),
        ],
    )?;
    let lookups = app.plan_lookups.counts();
    text.counter(
        "plan_version_requests",
        "Requests that asked for a plan's version and the right to see it.",
        &lookups.asked.load(Ordering::Relaxed),
    )?;
    text.counter(
        "plan_version_reads",
        "Reads of the database for them.",
        &lookups.looks.load(Ordering::Relaxed),
    )?;
    let checks = app.tokens.checks();
    text.counters(
        "token_checks",
        "Access tokens checked, by memory of those found good before or by their signature.",
        "path",
        [
            ("memory", checks.remembered.load(Ordering::Relaxed)),
            ("signature", checks.signatures.load(Ordering::Relaxed)),
        ],
    )?;
    text.gauge(
        "completions_waiting",
        "Completions that wait for the batch before theirs.",
        app.completions.waiting_in_all(),
    )
}

fn database(text: &mut Text, app: &App) -> fmt::Result {
    let pool = app.pool.state();
    let used = pool.statistics;
    text.gauge("database_connections", "Connections of the pool.", pool.connections)?;
    text.gauge(
        "database_idle_connections",
        "Those that lie idle.",
        pool.idle_connections,
    )?;
    text.gauge(
        "database_waiting",
        "Those who wait for a connection.",
        used.pending_gets(),
    )?;
    text.counters(
        "database_gets",
        "Connections taken: at once, after waiting, or not in time.",
        "how",
        [
            ("at_once", used.get_direct),
            ("waited", used.get_waited),
            ("timed_out", used.get_timed_out),
        ],
    )?;
    text.counter(
        "database_wait_seconds",
        "Seconds waited for connections.",
        &used.get_wait_time.as_secs_f64(),
    )?;
    text.counter(
        "database_connections_created",
        "Connections made.",
        &used.connections_created,
    )?;
    text.counter(
        "database_connections_broken",
        "Connections given up since they were broken.",
        &used.connections_closed_broken,
    )?;
    let until = *app.partitions_until.lock().unwrap_or_else(PoisonError::into_inner);
    let today = app.clock.now().date_naive();
    text.gauge(
        "database_partition_days_ahead",
        "Days after today that live events have partitions for, as was last seen; below 0 there is none for today.",
        until.map_or(-1, |until| (until - today).num_days()),
    )
}
