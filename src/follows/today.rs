//! The route that reads a member's day: the planned meals and their completions.

use std::collections::{BTreeMap, HashMap};

use actix_web::{get, web};
use chrono::NaiveDate;
use diesel_async::AsyncPgConnection;
use liveplan_nutrition::calendar::{Days, zone};
use liveplan_nutrition::portion::CompletionStatus;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Follow, store};
use crate::app::App;
use crate::assignments;
use crate::auth::Caller;
use crate::completions::ticked::as_ticked;
use crate::completions::{self, Completed, Progress, day_of};
use crate::error::{Code, Error, Result};
use crate::gyms::store as gyms;
use crate::http::bounds;
use crate::ids::{AccountId, FollowId, GymId, MealId, PlanId};
use crate::plans::day::{self, DayMeal};
use crate::plans::{Item, Meal, Slot};
use liveplan_nutrition::nutrients::Nutrients;

/// Which day to read, of which member.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TodayQuery {
    /// The date; by default today in the member's time zone.
    date: Option<NaiveDate>,
    /// The member; the caller by default.
    member: Option<AccountId>,
}

/// A member's day.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Today {
    /// The running follow.
    pub follow_id: FollowId,
    /// Its plan.
    pub plan_id: PlanId,
    /// The plan's current name.
    pub plan_name: String,
    /// The plan's current revision.
    pub revision: i32,
    /// The plan day of the date, from 1; absent before the start and after the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub day: Option<i32>,
    /// The date.
    pub date: NaiveDate,
    /// The meals in order.
    pub meals: Vec<TodayMeal>,
    /// The sums of the day.
    pub progress: Progress,
}

/// The status of a meal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MealStatus {
    /// The meal is not ticked.
    Open,
    /// The whole meal was eaten.
    Eaten,
    /// A part of the meal was eaten.
    Partial,
    /// The meal was skipped.
    Skipped,
}

impl From<CompletionStatus> for MealStatus {
    fn from(status: CompletionStatus) -> Self {
        match status {
            CompletionStatus::Eaten => Self::Eaten,
            CompletionStatus::Partial => Self::Partial,
            CompletionStatus::Skipped => Self::Skipped,
        }
    }
}

/// A meal of a member's day. An eaten meal is shown as it was when it was ticked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TodayMeal {
    /// Identifier.
    pub id: MealId,
    /// The slot of the day, such as breakfast.
    pub slot: Slot,
    /// Title.
    pub title: String,
    /// Minutes after midnight in the member's time zone; absent if the plan gives no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub time_min: Option<i32>,
    /// Meals are ordered by position, then by identifier.
    pub position: i32,
    /// Notes on preparing the meal.
    pub notes: String,
    /// Status of the meal.
    pub status: MealStatus,
    /// The eaten portion, in thousandths; absent while the meal is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub portion_permille: Option<i32>,
    /// Whether the plan has changed or removed the meal since it was ticked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// Nutrients of the full portion.
    pub nutrients: Nutrients,
    /// Its items in order.
    pub items: Vec<Item>,
}

/// Read one day of the plan that a member follows.
#[utoipa::path(tag = "follows", params(TodayQuery),
    responses((status = 200, body = Today), (status = 403, description = "the caller may not see this member"),
        (status = 404, description = "no such member, or the member does not follow a plan"),
        (status = 422, description = "the date is out of bounds")))]
#[get("/follows/today")]
pub(super) async fn find_today(
    app: web::Data<App>,
    caller: Caller,
    query: web::Query<TodayQuery>,
) -> Result<web::Json<Today>> {
    let member = query.member.unwrap_or(caller.account);
    let date = query.date.map(|date| bounds::date("date", date)).transpose()?;
    let today = app
        .read(&caller, async |conn| {
            let now = app.clock.now();
            assignments::require_watch(conn, &caller, member, now).await?;
            let follow = store::current(conn, caller.gym, member).await?;
            let follow = follow.ok_or_else(|| Error::new(Code::NotFollowing))?;
            let date = match date {
                Some(date) => date,
                None => {
                    let day_start = gyms::day_start(conn, caller.gym).await?;
                    Days {
                        zone: zone(&follow.time_zone),
                        day_start,
                    }
                    .today(now)
                }
            };
            read(conn, caller.gym, follow, date).await
        })
        .await?;
    Ok(web::Json(today))
}

/// Reads a day of a follow.
///
/// # Errors
/// 404 if the plan does not exist; database errors.
pub async fn read(conn: &mut AsyncPgConnection, gym: GymId, follow: Follow, date: NaiveDate) -> Result<Today> {
    let plan = store::plan(conn, gym, follow.plan_id)
        .await?
        .ok_or_else(|| Error::not_found("plan"))?;
    let number = plan.schedule().day(follow.start_date, date);
    let planned = match number {
        Some(number) => day::current(conn, gym, &[follow.plan_id], &[number]).await?,
        None => Vec::new(),
    };
    let completed = completions::store::completed(conn, gym, &[follow.id], &[date]).await?;
    let completed: BTreeMap<_, _> = completed
        .into_iter()
        .map(|(key, completed)| (key.meal, completed))
        .collect();
    let ticked = if completed.is_empty() {
        Vec::new()
    } else {
        as_ticked(conn, gym, follow.id, date).await?
    };
    let stored = completions::store::progress(conn, gym, &[follow.id], &[date])
        .await?
        .remove(&(follow.id, date));
    let progress =
        stored.unwrap_or_else(|| Progress::new(date, day_of(plan.revision, &planned, completed.clone()).sums()));
    Ok(Today {
        follow_id: follow.id,
        plan_id: follow.plan_id,
        plan_name: plan.name,
        revision: plan.revision,
        day: number,
        date,
        meals: compose(planned, ticked, &completed),
        progress,
    })
}

/// Combines the planned meals with the ticked ones. An eaten meal replaces its planned version; a ticked meal that has
/// left the plan is added.
fn compose(planned: Vec<DayMeal>, ticked: Vec<DayMeal>, completed: &BTreeMap<MealId, Completed>) -> Vec<TodayMeal> {
    let mut ticked: HashMap<_, _> = ticked.into_iter().map(|t| (t.meal.id, t.meal)).collect();
    let mut meals = Vec::new();
    for DayMeal { meal: now, .. } in planned {
        let completed = completed.get(&now.id);
        let then = ticked
            .remove(&now.id)
            .filter(|_| completed.is_some_and(|c| c.tick.portion_permille > 0));
        let changed = then.as_ref().is_some_and(|then| *then != now);
        meals.push(show(then.unwrap_or(now), completed, changed));
    }
    meals.extend(ticked.into_values().map(|then| {
        let completed = completed.get(&then.id);
        show(then, completed, true)
    }));
    meals.sort_by_key(|meal| (meal.position, meal.id));
    meals
}

fn show(meal: Meal, completed: Option<&Completed>, changed: bool) -> TodayMeal {
    TodayMeal {
        id: meal.id,
        slot: meal.slot,
        title: meal.title,
        time_min: meal.time_min,
        position: meal.position,
        notes: meal.notes,
        status: completed.map_or(MealStatus::Open, |c| c.tick.status.into()),
        portion_permille: completed.map(|c| c.tick.portion_permille),
        changed,
        nutrients: meal.nutrients,
        items: meal.items,
    }
}
