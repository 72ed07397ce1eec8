//! The route that reads a trainer's roster.

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::live::{self, RosterState};
use crate::app::App;
use crate::auth::Caller;
use crate::budget::Permit;
use crate::error::{Error, Result};
use crate::events::{Access, log};
use crate::gyms::store::find_membership;
use crate::ids::AccountId;

/// Which roster to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RosterQuery {
    /// The trainer; the caller by default.
    trainer: Option<AccountId>,
}

/// A trainer's roster, and the position on its channel at which it was read.
#[derive(Debug, Serialize, ToSchema)]
struct Roster {
    /// Epoch of the position.
    epoch: String,
    /// Offset of the position: the snapshot contains all publications up to it.
    offset: u64,
    /// The snapshot of the channel `roster:{trainer}`.
    #[schema(value_type = RosterState)]
    snapshot: Value,
}

/// Read a trainer's roster, with the position from which to follow it live.
#[utoipa::path(tag = "follows", params(RosterQuery),
    responses((status = 200, body = Roster), (status = 403, description = "the caller may not see it"),
        (status = 404, description = "no such trainer")))]
#[get("/trainer/roster")]
pub(super) async fn find_roster(
    app: web::Data<App>,
    caller: Caller,
    _permit: Permit,
    query: web::Query<RosterQuery>,
) -> Result<web::Json<Roster>> {
    let trainer = query.trainer.unwrap_or(caller.account);
    let roster = app
        .read(&caller, async |conn| {
            let now = app.clock.now();
            if live::authorise_roster(conn, &caller, trainer, now).await? == Access::Refused {
                let known = find_membership(conn, caller.gym, trainer).await?.is_some();
                return Err(if known {
                    Error::forbidden()
                } else {
                    Error::not_found("trainer")
                });
            }
            let head = log::head(conn, caller.gym)
                .await?
                .ok_or_else(|| Error::not_found("gym"))?;
            let snapshot = live::roster_snapshot(conn, caller.gym, trainer, now).await?;
            Ok(Roster {
                epoch: head.epoch.to_string(),
                offset: head.seq,
                snapshot,
            })
        })
        .await?;
    Ok(web::Json(roster))
}
