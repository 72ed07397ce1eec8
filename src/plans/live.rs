//! The channel of a published plan: its snapshot, with maps by identifier where the API has lists, and who may watch it.

use chrono::{DateTime, Utc};
use diesel::{BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde_json::{Map, Value, json};

use super::access::{self, FOLLOWING};
use super::model::{Day, Item, Meal, Plan, PlanSummary};
use super::store;
use super::tree::{self, Revision};
use super::words::{Status, Visibility};
use crate::auth::{Caller, Role};
use crate::db::schema::{assignments, follows};
use crate::error::{Error, Result};
use crate::events::Access;
use crate::ids::{GymId, PlanId};

/// What the channel shows now.
///
/// # Errors
/// 404 where the gym has no such plan, or it is a draft.
pub async fn snapshot(conn: &mut AsyncPgConnection, gym: GymId, plan: PlanId) -> Result<Value> {
    let plan = tree::read(conn, gym, plan, Revision::Published)
        .await?
        .ok_or_else(|| Error::not_found("plan"))?;
    Ok(snapshot_of(&plan))
}

/// Whether a caller may watch a plan: its followers, and staff who may read it. Drafts have no channel.
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
    // A trainer's right goes as far as the assignment to a follower does.
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
        .filter(assignments::since.le(now))
        .filter(assignments::until.is_null().or(assignments::until.gt(now)))
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

/// What the channel shows of a plan.
pub(super) fn snapshot_of(plan: &Plan) -> Value {
    json!({
        "plan": {
            "id": plan.id,
            "name": plan.name,
            "description": plan.description,
            "goal": plan.goal,
            "status": plan.status,
            "revision": plan.revision,
            "version": plan.version,
            "duration_days": plan.duration_days,
            "cycle": plan.cycle,
            "target": plan.target,
        },
        "nutrients": plan.nutrients,
        "days": by_id(plan.days.iter().map(|d| (d.id.to_string(), day(d)))),
    })
}

fn day(day: &Day) -> Value {
    json!({
        "number": day.number,
        "title": day.title,
        "nutrients": day.nutrients,
        "meals": by_id(day.meals.iter().map(|m| (m.id.to_string(), meal(m)))),
    })
}

fn meal(meal: &Meal) -> Value {
    let mut value = json!({
        "slot": meal.slot,
        "title": meal.title,
        "position": meal.position,
        "notes": meal.notes,
        "nutrients": meal.nutrients,
        "items": by_id(meal.items.iter().map(|i| (i.id.to_string(), item(i)))),
    });
    if let Some(time) = meal.time_min {
        value["time_min"] = time.into();
    }
    value
}

fn item(item: &Item) -> Value {
    json!({
        "position": item.position,
        "food_id": item.food_id,
        "name_en": item.name_en,
        "name_es": item.name_es,
        "quantity_milli": item.quantity_milli,
        "unit": item.unit,
        "grams_milli": item.grams_milli,
        "nutrients": item.nutrients,
        "allergens": item.allergens,
    })
}

fn by_id(entries: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(entries.collect::<Map<_, _>>())
}
