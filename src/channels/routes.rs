//! The REST reading of a channel's snapshot, of any size.

use actix_web::{get, web};
use diesel_async::AsyncPgConnection;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::Ref;
use utoipa::openapi::schema::{OneOfBuilder, Schema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{STATES, authorise, snapshot};
use crate::app::App;
use crate::auth::Caller;
use crate::error::{Code, Error, Result};
use crate::events::{Access, Channel, log};
use crate::{gyms, plans};

/// A channel's snapshot and the position that it was read at.
#[derive(Serialize, ToSchema)]
pub struct PositionedSnapshot {
    /// Epoch of the position.
    epoch: String,
    /// Offset of the position: publications up to it are in the snapshot.
    offset: u64,
    /// What the channel shows.
    #[schema(schema_with = channel_state)]
    snapshot: Value,
}

/// One of [`STATES`].
fn channel_state() -> Schema {
    STATES
        .iter()
        .fold(OneOfBuilder::new(), |any, (_, name)| {
            any.item(Ref::from_schema_name(*name))
        })
        .build()
        .into()
}

/// A live channel's snapshot with its position, of any size
#[utoipa::path(tag = "live", params(("channel" = String, Path, description = "Channel name")),
    responses((status = 200, body = PositionedSnapshot), (status = 403, description = "not for this caller"),
        (status = 404, description = "no such channel")))]
#[get("/live/snapshots/{channel}")]
async fn find_snapshot(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
) -> Result<web::Json<PositionedSnapshot>> {
    let channel: Channel = name.parse().map_err(|_| Error::not_found("channel"))?;
    let read = app
        .read(&caller, async |conn| {
            let now = app.clock.now();
            if authorise(conn, &caller, channel, now).await? == Access::Refused {
                return Err(refusal(conn, &caller, channel, now).await?);
            }
            let head = log::head(conn, caller.gym)
                .await?
                .ok_or_else(|| Error::not_found("gym"))?;
            let snapshot = snapshot(conn, caller.gym, channel, now).await?;
            Ok(PositionedSnapshot {
                epoch: head.epoch.to_string(),
                offset: head.seq,
                snapshot,
            })
        })
        .await?;
    Ok(web::Json(read))
}

/// What somebody gets who may not see a channel: 403 for one of their own gym, else 404.
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

/// Mounts the REST reading of snapshots.
pub fn routes(config: &mut ServiceConfig) {
    config.service(find_snapshot);
}
