//! Snapshots of channels over REST, of any size.

use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, get, web};
use bytes::Bytes;
use diesel_async::AsyncPgConnection;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{OneOfBuilder, Schema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{STATES, authorise, snapshot};
use crate::app::{App, For};
use crate::auth::Caller;
use crate::error::{Code, Error, Result};
use crate::events::{Access, Channel, log};
use crate::idempotency::to_json;
use crate::ids::GymId;
use crate::{gyms, plans};
use liveplan_hub::log::single_flight::SingleFlight;

/// A channel's snapshot and its position.
#[derive(Serialize, ToSchema)]
pub struct PositionedSnapshot {
    /// Epoch of the position.
    epoch: String,
    /// Offset of the position: the snapshot includes all publications up to it.
    offset: u64,
    /// The snapshot.
    #[schema(schema_with = channel_state)]
    snapshot: Value,
}

/// The schema of a snapshot: one of [`STATES`].
fn channel_state() -> Schema {
    STATES
        .iter()
        .fold(OneOfBuilder::new(), |any, (_, name)| {
            any.item(Ref::from_schema_name(*name))
        })
        .build()
        .into()
}

/// Single-flight for reads of snapshots. A snapshot is the same for all subscribers, and many clients ask at once after
/// a common loss of connection; one read serves all requests that arrived before it began.
#[derive(Clone, Default)]
pub struct Snapshots(Arc<SingleFlight<(GymId, Channel), Bytes, Code>>);

/// Read a channel's snapshot with its position, of any size
#[utoipa::path(tag = "live", params(("channel" = String, Path, description = "Channel name")),
    responses((status = 200, body = PositionedSnapshot), (status = 403, description = "not for this caller"),
        (status = 404, description = "no such channel")))]
#[get("/live/snapshots/{channel}")]
async fn find_snapshot(
    app: web::Data<App>,
    snapshots: web::Data<Snapshots>,
    caller: Caller,
    name: web::Path<String>,
) -> Result<HttpResponse> {
    let channel: Channel = name.parse().map_err(|_| Error::not_found("channel"))?;
    let ticket = snapshots.0.ticket((caller.gym, channel));
    app.read(&caller, async |conn| {
        let now = app.clock.now();
        match authorise(conn, &caller, channel, now).await? {
            Access::Granted { .. } => Ok(()),
            Access::Refused => Err(refusal(conn, &caller, channel, now).await?),
        }
    })
    .await?;
    let found = ticket.get(read(&app, caller.gym, channel)).await;
    let found = found.map_err(|code| match code {
        Code::NotFound => Error::not_found("channel"),
        code => Error::new(code),
    })?;
    app.hub.counters.recovery.snapshots_shared.inc_by(found.shared.into());
    let body = Bytes::clone(&found.value);
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(body))
}

/// Reads a snapshot for all callers that have the right to it.
async fn read(app: &App, gym: GymId, channel: Channel) -> Result<Bytes, Code> {
    app.hub.counters.recovery.snapshot_reads.inc();
    let read = app.read(For::gym(gym), async |conn| {
        let head = log::head(conn, gym).await?.ok_or_else(|| Error::not_found("gym"))?;
        let snapshot = snapshot(conn, gym, channel, app.clock.now()).await?;
        let positioned = PositionedSnapshot {
            epoch: head.epoch.to_string(),
            offset: head.seq,
            snapshot,
        };
        Ok(to_json(&positioned)?.into())
    });
    read.await.map_err(|error| {
        error.log();
        error.code
    })
}

/// The error for a caller without the right to a channel: 403 if the channel is in the caller's gym, else 404.
async fn refusal(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    channel: Channel,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Error> {
    let there = match channel {
        Channel::Member(account) | Channel::Roster(account) => {
            gyms::store::find_membership(conn, caller.gym, account).await?.is_some()
        }
        Channel::Plan(plan) => match plans::may_read(conn, caller, plan, now).await {
            Ok(_) => true,
            Err(error) if error.code == Code::NotFound => false,
            Err(error) => return Err(error),
        },
        Channel::Access(_) => false,
    };
    Ok(if there {
        Error::forbidden()
    } else {
        Error::not_found("channel")
    })
}

/// Mounts the route.
pub fn routes(config: &mut ServiceConfig) {
    config.service(find_snapshot);
}
