//! Live connections and channels for a gym's owners and managers: those of their own gym, on the node that answers.

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

/// Roles that may read the overview.
const RUNS: [Role; 2] = [Role::Owner, Role::Manager];
/// Maximum channels in the list, those with the most subscriptions first.
const CHANNELS: usize = 200;

/// The gym's connections and channels on one node.
#[derive(Serialize, ToSchema)]
struct LiveOverview {
    /// Name of the node that answered, as in the connect reply. The response covers this node only.
    node: String,
    /// Number of the gym's connections on this node.
    connections_total: usize,
    /// Number of the gym's channels with subscriptions on this node.
    channels_total: usize,
    /// The 200 channels with the most subscriptions.
    channels: Vec<WatchedChannel>,
    /// A page of the connections.
    connections: Page<LiveConnection>,
}

/// A channel and the number of its subscriptions.
#[derive(Serialize, ToSchema)]
struct WatchedChannel {
    channel: String,
    subscriptions: usize,
}

/// A connection.
#[derive(Serialize, ToSchema)]
struct LiveConnection {
    /// The id that the client got in its connect reply.
    id: Uuid,
    /// The account that is signed in on it.
    account_id: AccountId,
    /// `json` or `protobuf`.
    codec: &'static str,
    /// When the connection was opened.
    opened_at: DateTime<Utc>,
    /// Subscribed channels.
    channels: Vec<String>,
    /// Number of commands from the client.
    commands: u64,
    /// Number of publications written to its outbox.
    deliveries: u64,
    /// Bytes sent to the client.
    bytes: u64,
    /// Bytes in its outbox that wait to be sent.
    waiting_bytes: usize,
}

impl LiveConnection {
    /// `None` for a connection whose client has not connected yet.
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

/// List the gym's live connections and channels on the node that answers; for owners and managers
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
    // An empty read checks the session and the roles.
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

/// Mounts the route.
pub fn routes(config: &mut ServiceConfig) {
    config.service(show_live);
}
