//! What a member's day came to: the daily rows, and reading them.

use actix_web::{get, web};
use chrono::{NaiveDate, TimeDelta};
use diesel::deserialize::Queryable;
use diesel::pg::Pg;
use diesel::{Insertable, Selectable};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::store;
use crate::app::App;
use crate::auth::Caller;
use crate::db::schema::daily_progress;
use crate::error::{Error, Result};
use crate::follows;
use crate::foods::nutrients::Nutrients;
use crate::gyms;
use crate::http::{Page, bounds};
use crate::ids::AccountId;

/// Days of the longest range that is read at once.
const LONGEST_DAYS: i64 = 366;
/// Days before the end that are read where no start is named.
const DEFAULT_DAYS: i64 = 6;

/// A day of a follow in sums, written in the transaction of each tick. What was planned is as the plan was at the last
/// tick of that day: an edit of the plan reaches the row with the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Queryable, Selectable, Insertable)]
#[diesel(table_name = daily_progress, check_for_backend(Pg))]
pub struct Progress {
    /// The day.
    pub date: NaiveDate,
    /// Meals on the plan, with those that were ticked and have left it since.
    pub meals_planned: i32,
    /// Meals eaten, wholly or in part.
    pub meals_done: i32,
    /// Meals skipped.
    pub meals_skipped: i32,
    /// What the plan's day holds.
    pub planned: Nutrients,
    /// What was eaten.
    pub eaten: Nutrients,
}

impl Progress {
    /// The entry of this day on live channels, where the day is the key.
    #[must_use]
    pub fn entry(&self) -> Value {
        json!(ProgressState {
            meals_planned: self.meals_planned,
            meals_done: self.meals_done,
            meals_skipped: self.meals_skipped,
            planned: &self.planned,
            eaten: &self.eaten,
        })
    }
}

/// A day of a follow in sums, as live channels show it: the day is its key.
#[derive(Serialize, ToSchema)]
pub struct ProgressState<'a> {
    /// Meals on the plan, with those that were ticked and have left it since.
    meals_planned: i32,
    /// Meals eaten, wholly or in part.
    meals_done: i32,
    /// Meals skipped.
    meals_skipped: i32,
    /// What the plan's day holds.
    planned: &'a Nutrients,
    /// What was eaten.
    eaten: &'a Nutrients,
}

/// Which days of whom.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Range {
    /// First day; six days before `to` by default.
    from: Option<NaiveDate>,
    /// Last day; today where the member is by default.
    to: Option<NaiveDate>,
    /// The member; the caller by default.
    member: Option<AccountId>,
}

/// A member's days
///
/// A day on which nothing was ticked is missing, not zero. Where a member changed plans within a day, it is the later
/// plan's.
#[utoipa::path(tag = "progress", params(Range),
    responses((status = 200, body = Page<Progress>), (status = 403, description = "not for this caller"),
        (status = 404, description = "no such member"), (status = 422, description = "a range that cannot be")))]
#[get("/progress/daily")]
pub(super) async fn list_daily_progress(
    app: web::Data<App>,
    caller: Caller,
    query: web::Query<Range>,
) -> Result<web::Json<Page<Progress>>> {
    let member = query.member.unwrap_or(caller.account);
    let from = query.from.map(|from| bounds::date("from", from)).transpose()?;
    let to = query.to.map(|to| bounds::date("to", to)).transpose()?;
    let items = app
        .read(&caller, async |conn| {
            let now = app.clock.now();
            gyms::require_watch(conn, &caller, member, now).await?;
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
                        format!("at most {LONGEST_DAYS} days with `to`"),
                        format!("como mucho {LONGEST_DAYS} días con `to`"),
                    ),
                ));
            }
            Ok(store::progress_between(conn, caller.gym, member, from, to).await?)
        })
        .await?;
    Ok(web::Json(Page::all(items)))
}
