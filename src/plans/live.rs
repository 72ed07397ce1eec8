//! The channel of a published plan: its snapshot (maps by identifier where the API has lists) and who may subscribe.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::{BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::access::{self, FOLLOWING};
use super::model::{Allergens, Day, Item, Meal, Plan, PlanSummary, Target};
use super::store;
use super::tree::{self, Revision};
use super::words::{Cycle, Goal, Slot, Status, Visibility};
use crate::assignments::store::counts;
use crate::auth::{Caller, Role};
use crate::db::schema::{assignments, follows};
use crate::error::{Error, Result};
use crate::events::Access;
use crate::ids::{AccountId, DayId, FoodId, GymId, ItemId, MealId, PlanId};
use liveplan_nutrition::nutrients::Nutrients;

/// The current snapshot of the channel.
///
/// # Errors
/// 404 if the gym has no such plan, or if it is a draft.
pub async fn snapshot(conn: &mut AsyncPgConnection, gym: GymId, plan: PlanId) -> Result<Value> {
    let plan = tree::read(conn, gym, plan, Revision::Published)
        .await?
        .ok_or_else(|| Error::not_found("plan"))?;
    Ok(snapshot_of(&plan))
}

/// Authorises a subscription: followers of the plan, and staff who may read it. Drafts have no channel.
pub async fn authorise(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    plan: PlanId,
    now: DateTime<Utc>,
) -> Result<Access> {
    let Some((plan, readable)) = store::find_if(conn, caller.gym, plan, access::readable(caller, now)).await? else {
        return Ok(Access::Refused);
    };
    if plan.status == Status::Draft || !readable {
        return Ok(Access::Refused);
    }
    let follows =
        caller.roles.has(Role::Member) && store::is_followed_by(conn, caller.gym, plan.id, caller.account).await?;
    if follows || caller.roles.any(&[Role::Owner, Role::Manager, Role::Nutritionist]) {
        return Ok(Access::OPEN);
    }
    if !caller.roles.has(Role::Trainer) {
        return Ok(Access::Refused);
    }
    if plan.author_id == caller.account || plan.visibility == Visibility::Gym {
        return Ok(Access::OPEN);
    }
    // The subscription lasts as long as the trainer's longest assignment to a follower.
    through_assignment(conn, caller, &plan, now).await
}

async fn through_assignment(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    plan: &PlanSummary,
    now: DateTime<Utc>,
) -> Result<Access> {
    let followers = follows::table
        .filter(follows::gym_id.eq(caller.gym).and(follows::plan_id.eq(plan.id)))
        .filter(follows::status.eq_any(FOLLOWING))
        .select(follows::member_id);
    let ends: Vec<Option<DateTime<Utc>>> = assignments::table
        .filter(
            assignments::gym_id
                .eq(caller.gym)
                .and(assignments::trainer_id.eq(caller.account)),
        )
        .filter(counts(now))
        .filter(assignments::member_id.eq_any(followers))
        .select(assignments::until)
        .load(conn)
        .await?;
    Ok(if ends.is_empty() {
        Access::Refused
    } else if ends.contains(&None) {
        Access::OPEN
    } else {
        Access::Granted {
            until: ends.into_iter().flatten().max(),
        }
    })
}

/// The snapshot of channel `plan:{plan}`: the published tree, with maps by identifier where the API has lists.
#[derive(Serialize, ToSchema)]
pub struct PlanState<'a> {
    /// The plan's own fields.
    plan: PlanHead<'a>,
    /// The sum of all days.
    nutrients: &'a Nutrients,
    /// Days by identifier; their order is their `number`.
    days: BTreeMap<DayId, DayState<'a>>,
}

/// A plan without its tree, in its channel's snapshot.
#[derive(Serialize, ToSchema)]
pub struct PlanHead<'a> {
    /// Identifier.
    id: PlanId,
    /// Name.
    name: &'a str,
    /// Description.
    description: &'a str,
    /// The goal of the plan.
    goal: Goal,
    /// Draft, published or archived.
    status: Status,
    /// The author's account.
    author_id: AccountId,
    /// The current published revision.
    revision: i32,
    /// Incremented by every write; `"<version>"` is the `ETag`.
    version: i64,
    /// Number of days, 1 to 84.
    duration_days: i32,
    /// How the days repeat.
    cycle: Cycle,
    /// The nutrient target of a day.
    target: &'a Target,
}

/// A day of a plan, in its channel's snapshot.
#[derive(Serialize, ToSchema)]
pub struct DayState<'a> {
    /// 1 for the first day.
    number: i32,
    /// Title; may be empty.
    title: &'a str,
    /// The sum of its meals.
    nutrients: &'a Nutrients,
    /// Meals by identifier; their order is their `position`, then their identifier.
    meals: BTreeMap<MealId, MealState<'a>>,
}

/// A meal, in its plan's channel's snapshot.
#[derive(Serialize, ToSchema)]
pub struct MealState<'a> {
    /// Its place in the day.
    slot: Slot,
    /// Title.
    title: &'a str,
    /// Minutes after midnight in the follower's time zone; absent if the plan sets no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    time_min: Option<i32>,
    /// Meals are sorted by position, then by identifier.
    position: i32,
    /// Notes on preparation.
    notes: &'a str,
    /// The sum of its items.
    nutrients: &'a Nutrients,
    /// Items by identifier; their order is their `position`, then their identifier.
    items: BTreeMap<ItemId, ItemState<'a>>,
}

/// An item of a meal, in its plan's channel's snapshot.
#[derive(Serialize, ToSchema)]
pub struct ItemState<'a> {
    /// Items are sorted by position, then by identifier.
    position: i32,
    /// The food.
    food_id: FoodId,
    /// The food's English name at the time the item was written.
    name_en: &'a str,
    /// The food's Spanish name at the time the item was written.
    name_es: &'a str,
    /// Thousandths of a unit.
    quantity_milli: i64,
    /// `g`, or the name of a portion of the food.
    unit: &'a str,
    /// Weight in thousandths of a gram.
    grams_milli: i64,
    /// Nutrients of this amount.
    nutrients: &'a Nutrients,
    /// The food's allergens at the time the item was written.
    #[schema(value_type = BTreeMap<String, String>)]
    allergens: &'a Allergens,
}

impl<'a> PlanState<'a> {
    fn of(plan: &'a Plan) -> Self {
        let PlanSummary {
            id,
            name,
            description,
            goal,
            status,
            author_id,
            revision,
            version,
            duration_days,
            cycle,
            target,
            ..
        } = &plan.summary;
        Self {
            plan: PlanHead {
                id: *id,
                name,
                description,
                goal: *goal,
                status: *status,
                author_id: *author_id,
                revision: *revision,
                version: *version,
                duration_days: *duration_days,
                cycle: *cycle,
                target,
            },
            nutrients: &plan.nutrients,
            days: plan.days.iter().map(|d| (d.id, DayState::of(d))).collect(),
        }
    }
}

impl<'a> DayState<'a> {
    fn of(day: &'a Day) -> Self {
        Self {
            number: day.number,
            title: &day.title,
            nutrients: &day.nutrients,
            meals: day.meals.iter().map(|m| (m.id, MealState::of(m))).collect(),
        }
    }
}

impl<'a> MealState<'a> {
    fn of(meal: &'a Meal) -> Self {
        Self {
            slot: meal.slot,
            title: &meal.title,
            time_min: meal.time_min,
            position: meal.position,
            notes: &meal.notes,
            nutrients: &meal.nutrients,
            items: meal.items.iter().map(|i| (i.id, ItemState::of(i))).collect(),
        }
    }
}

impl<'a> ItemState<'a> {
    fn of(item: &'a Item) -> Self {
        Self {
            position: item.position,
            food_id: item.food_id,
            name_en: &item.name_en,
            name_es: &item.name_es,
            quantity_milli: item.quantity_milli,
            unit: &item.unit,
            grams_milli: item.grams_milli,
            nutrients: &item.nutrients,
            allergens: &item.allergens,
        }
    }
}

/// The channel's snapshot of this plan.
pub(super) fn snapshot_of(plan: &Plan) -> Value {
    json!(PlanState::of(plan))
}
