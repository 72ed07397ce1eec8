//! What those who run a gym see of its live connections: those of this node, and of their own gym alone.

use actix_web::{get, web};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::app::App;
use crate::auth::{Caller, Role};
use crate::error::Result;
use crate::events::log_of;
use crate::http::{Page, PageQuery};
use crate::ids::AccountId;
use liveplan_hub::session::connection::Connection;

/// Those who run the gym.
const RUNS: [Role; 2] = [Role::Owner, Role::Manager];
/// Channels that are listed; the most watched first.
const CHANNELS: usize = 200;

/// The gym's connections and channels on one node.
#[derive(Serialize, ToSchema)]
struct LiveOverview {
    /// The node that answered, by the name that it gives its sockets. Only what is connected to this node is shown; others
    /// have their own.
    node: String,
    /// Connections of the gym on this node.
    connections_total: usize,
    /// Channels of the gym that somebody watches on this node.
    channels_total: usize,
    /// The most watched of them, up to 200.
    channels: Vec<WatchedChannel>,
    /// A page of the connections.
    connections: Page<LiveConnection>,
}

/// A channel, and how many watch it.
#[derive(Serialize, ToSchema)]
struct WatchedChannel {
    channel: String,
    subscriptions: usize,
}

/// A connection.
#[derive(Serialize, ToSchema)]
struct LiveConnection {
    /// The id that its client was told.
    id: Uuid,
    /// Whose it is.
    account_id: AccountId,
    /// `json` or `protobuf`.
    codec: &'static str,
    /// When it was opened.
    opened_at: DateTime<Utc>,
    /// What it watches.
    channels: Vec<String>,
    /// Commands that it sent.
    commands: u64,
    /// Publications that it was handed.
    deliveries: u64,
    /// Bytes that it took.
    bytes: u64,
    /// Bytes that wait for it to take them.
    waiting_bytes: usize,
}

impl LiveConnection {
    /// None for one that is not connected yet.
    fn of(connection: &Connection, now: DateTime<Utc>) -> Option<Self> {
        let traffic = connection.traffic();
        let watched = connection.subscriptions();
        let mut channels: Vec<String> = watched
            .iter()
            .filter(|s| !s.ended())
            .map(|s| s.channel.to_string())
            .collect();
        channels.sort_unstable();
        Some(Self {
            id: connection.id.parse().ok()?,
            account_id: AccountId(connection.session()?.user.0),
            codec: connection.codec.name(),
            opened_at: now - TimeDelta::from_std(traffic.open_for).unwrap_or_default(),
            channels,
            commands: traffic.commands,
            deliveries: traffic.deliveries,
            bytes: traffic.bytes,
            waiting_bytes: traffic.waiting_bytes,
        })
    }
}

/// The gym's live connections and channels on the node that answers. For owners and managers.
#[utoipa::path(
    tag = "system",
    params(PageQuery),
    responses(
        (status = 200, body = LiveOverview),
        (status = 401, description = "not signed in"),
        (status = 403, description = "not an owner or manager"),
    ),
    security(("bearer" = []))
)]
#[get("/system/live")]
async fn show_live(
    app: web::Data<App>,
    caller: Caller,
    query: web::Query<PageQuery>,
) -> Result<web::Json<LiveOverview>> {
    caller.require(&RUNS)?;
    let limit = query.limit()?;
    // Nothing is read, but the session and the roles are checked.
    app.read(&caller, async |_| Ok(())).await?;
    let (hub, now) = (&app.hub, app.clock.now());
    let mut channels: Vec<WatchedChannel> = hub
        .registry()
        .channels_of(log_of(caller.gym))
        .into_iter()
        .map(|(channel, subscriptions)| WatchedChannel {
            channel: channel.to_string(),
            subscriptions,
        })
        .collect();
    channels.sort_unstable_by(|a, b| (b.subscriptions, &a.channel).cmp(&(a.subscriptions, &b.channel)));
    let channels_total = channels.len();
    channels.truncate(CHANNELS);
    let mut connections = hub.connections().of_log(log_of(caller.gym));
    let connections_total = connections.len();
    connections.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let after = query.cursor.map(|id| id.to_string());
    let page = connections
        .iter()
        .filter(|c| after.as_ref().is_none_or(|after| c.id > *after))
        .filter_map(|c| LiveConnection::of(c, now))
        .take(usize::try_from(limit).unwrap_or(0) + 1)
        .collect();
    Ok(web::Json(LiveOverview {
        node: app.hub.node.clone(),
        connections_total,
        channels_total,
        channels,
        connections: Page::cut(page, limit, |c| c.id),
    }))
}

/// Mounts it.
pub fn routes(config: &mut ServiceConfig) {
    config.service(show_live);
}
