//! The route that lists a member's daily progress.

use actix_web::{get, web};
use chrono::{NaiveDate, TimeDelta};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::App;
use crate::assignments;
use crate::auth::Caller;
use crate::budget::Permit;
use crate::completions::{Progress, store};
use crate::error::{Error, Result};
use crate::follows;
use crate::http::{Page, bounds};
use crate::ids::AccountId;

/// Maximum days of a range.
const LONGEST_DAYS: i64 = 366;
/// Days from the default start to the end of a range.
const DEFAULT_DAYS: i64 = 6;

/// The member and the range of days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Range {
    /// First day; six days before `to` by default.
    from: Option<NaiveDate>,
    /// Last day; today in the member's time zone by default.
    to: Option<NaiveDate>,
    /// The member; the caller by default.
    member: Option<AccountId>,
}

/// List a member's daily progress
///
/// A day without ticks is missing, not zero. If a member changed plans within a day, the later plan's progress is
/// listed.
#[utoipa::path(tag = "progress", params(Range),
    responses((status = 200, body = Page<Progress>), (status = 403, description = "not for this caller"),
        (status = 404, description = "no such member"), (status = 422, description = "an invalid range")))]
#[get("/progress/daily")]
pub(super) async fn list_daily_progress(
    app: web::Data<App>,
    caller: Caller,
    _permit: Permit,
    query: web::Query<Range>,
) -> Result<web::Json<Page<Progress>>> {
    let member = query.member.unwrap_or(caller.account);
    let from = query.from.map(|from| bounds::date("from", from)).transpose()?;
    let to = query.to.map(|to| bounds::date("to", to)).transpose()?;
    let items = app
        .read(&caller, async |conn| {
            let now = app.clock.now();
            assignments::require_watch(conn, &caller, member, now).await?;
            let to = match to {
                Some(to) => to,
                None => follows::days_of(conn, caller.gym, member).await?.today(now),
            };
            let from = from.unwrap_or(to - TimeDelta::days(DEFAULT_DAYS));
            if from > to {
                return Err(Error::invalid(
                    "from",
                    ("a day not after `to`", "un día no posterior a `to`"),
                ));
            }
            if (to - from).num_days() >= LONGEST_DAYS {
                return Err(Error::invalid(
                    "from",
                    (
                        format!("at most {LONGEST_DAYS} days up to `to`"),
                        format!("como máximo {LONGEST_DAYS} días hasta `to`"),
                    ),
                ));
            }
            Ok(store::progress_between(conn, caller.gym, member, from, to).await?)
        })
        .await?;
    Ok(web::Json(Page::all(items)))
}
