//! Rows of plans and of their revisions. [`super::tree`] reads and [`super::history`] writes the trees.

use chrono::{DateTime, Utc};
use diesel::dsl::exists;
use diesel::prelude::{Insertable, Queryable, Selectable};
use diesel::sql_types::Bool;
use diesel::{
    BoolExpressionMethods as _, BoxableExpression, ExpressionMethods as _, OptionalExtension as _,
    PgArrayExpressionMethods as _, QueryDsl as _, QueryResult, SelectableHelper as _, select,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use utoipa::ToSchema;

use super::model::{PlanSummary, Target};
use super::words::{Goal, Kind, Status, Visibility};
use crate::db::schema::{
    follows, gym_log_heads, memberships, plan_days, plan_items, plan_meals, plan_revisions, plans,
};
use crate::ids::{AccountId, GymId, PlanId};

/// A condition on plans, such as the right to read them.
pub type Condition = Box<dyn BoxableExpression<plans::table, diesel::pg::Pg, SqlType = Bool>>;

/// A published revision, as the list of revisions shows it.
#[derive(Clone, Debug, Queryable, Selectable, Serialize, ToSchema)]
#[diesel(table_name = plan_revisions, check_for_backend(diesel::pg::Pg))]
pub struct RevisionSummary {
    /// Its number, 1 for the first publication.
    pub revision: i32,
    /// The plan's name in this revision.
    pub name: String,
    /// The account that made it.
    pub author_id: AccountId,
    /// The time at which it became current.
    pub published_at: DateTime<Utc>,
}

/// The plan's own fields that a revision stores.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = plan_revisions, check_for_backend(diesel::pg::Pg))]
struct RevisionRow {
    version: i64,
    revision: i32,
    goal: Goal,
    name: String,
    description: String,
    target_energy_mkcal: Option<i64>,
    target_protein_mg: Option<i64>,
    target_carbohydrate_mg: Option<i64>,
    target_fat_mg: Option<i64>,
    visibility: Visibility,
    published_at: DateTime<Utc>,
}

/// Filters for the list of plans.
pub struct Filter {
    /// Only plans with this status.
    pub status: Option<Status>,
    /// Only plans of this kind.
    pub kind: Option<Kind>,
    /// Only plans with a greater identifier.
    pub after: PlanId,
    /// The most rows to return.
    pub limit: i64,
}

/// Finds a plan.
pub async fn find(conn: &mut AsyncPgConnection, gym: GymId, plan: PlanId) -> QueryResult<Option<PlanSummary>> {
    plans::table
        .filter(plans::gym_id.eq(gym).and(plans::id.eq(plan)))
        .select(PlanSummary::as_select())
        .first(conn)
        .await
        .optional()
}

/// Finds a plan, and whether it meets the condition.
pub async fn find_if(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    plan: PlanId,
    condition: Condition,
) -> QueryResult<Option<(PlanSummary, bool)>> {
    plans::table
        .filter(plans::gym_id.eq(gym).and(plans::id.eq(plan)))
        .select((PlanSummary::as_select(), condition))
        .first(conn)
        .await
        .optional()
}

/// Finds the version of a plan, the epoch of its gym's log, and whether the plan meets the condition.
pub async fn version_if(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    plan: PlanId,
    condition: Condition,
) -> QueryResult<Option<(i64, Option<String>, bool)>> {
    let epoch = gym_log_heads::table.find(gym).select(gym_log_heads::epoch);
    plans::table
        .filter(plans::gym_id.eq(gym).and(plans::id.eq(plan)))
        .select((plans::version, epoch.single_value(), condition))
        .first(&mut conn)
        .await
        .optional()
}

/// Finds a plan and locks it until the transaction ends.
pub async fn lock(conn: &mut AsyncPgConnection, gym: GymId, plan: PlanId) -> QueryResult<Option<PlanSummary>> {
    plans::table
        .filter(plans::gym_id.eq(gym).and(plans::id.eq(plan)))
        .select(PlanSummary::as_select())
        .for_update()
        .first(conn)
        .await
        .optional()
}

/// Finds a plan and locks it in share mode until the transaction ends, so that several queries read one state of its
/// tree.
pub async fn hold(conn: &mut AsyncPgConnection, gym: GymId, plan: PlanId) -> QueryResult<Option<PlanSummary>> {
    plans::table
        .filter(plans::gym_id.eq(gym).and(plans::id.eq(plan)))
        .select(PlanSummary::as_select())
        .for_share()
        .first(conn)
        .await
        .optional()
}

/// Whether the gym has any plan.
pub async fn any(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<bool> {
    select(exists(plans::table.filter(plans::gym_id.eq(gym))))
        .get_result(conn)
        .await
}

/// Lists the plans that meet a condition, oldest first.
pub async fn list(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    condition: Condition,
    filter: &Filter,
) -> QueryResult<Vec<PlanSummary>> {
    let mut query = plans::table
        .filter(plans::gym_id.eq(gym).and(plans::id.gt(filter.after)))
        .filter(condition)
        .into_boxed();
    if let Some(status) = filter.status {
        query = query.filter(plans::status.eq(status));
    }
    if let Some(kind) = filter.kind {
        query = query.filter(plans::kind.eq(kind));
    }
    query
        .order(plans::id)
        .limit(filter.limit)
        .select(PlanSummary::as_select())
        .load(conn)
        .await
}

pub async fn insert(conn: &mut AsyncPgConnection, gym: GymId, plan: &PlanSummary) -> QueryResult<()> {
    diesel::insert_into(plans::table)
        .values((plans::gym_id.eq(gym), plan))
        .execute(conn)
        .await
        .map(drop)
}

/// Overwrites a plan's row.
pub async fn update(conn: &mut AsyncPgConnection, gym: GymId, plan: &PlanSummary) -> QueryResult<()> {
    diesel::update(plans::table.filter(plans::gym_id.eq(gym).and(plans::id.eq(plan.id))))
        .set(plan)
        .execute(conn)
        .await
        .map(drop)
}

/// Deletes a never-published plan with its tree.
pub async fn delete(conn: &mut AsyncPgConnection, gym: GymId, plan: PlanId) -> QueryResult<()> {
    diesel::delete(plan_items::table.filter(plan_items::gym_id.eq(gym).and(plan_items::plan_id.eq(plan))))
        .execute(conn)
        .await?;
    diesel::delete(plan_meals::table.filter(plan_meals::gym_id.eq(gym).and(plan_meals::plan_id.eq(plan))))
        .execute(conn)
        .await?;
    diesel::delete(plan_days::table.filter(plan_days::gym_id.eq(gym).and(plan_days::plan_id.eq(plan))))
        .execute(conn)
        .await?;
    diesel::delete(plans::table.filter(plans::gym_id.eq(gym).and(plans::id.eq(plan))))
        .execute(conn)
        .await
        .map(drop)
}

/// Stores the plan's own fields as its current revision, made by `author`.
pub async fn insert_revision(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    plan: &PlanSummary,
    author: AccountId,
) -> QueryResult<()> {
    let row = RevisionRow {
        version: plan.version,
        revision: plan.revision,
        goal: plan.goal,
        name: plan.name.clone(),
        description: plan.description.clone(),
        target_energy_mkcal: plan.target.energy_mkcal,
        target_protein_mg: plan.target.protein_mg,
        target_carbohydrate_mg: plan.target.carbohydrate_mg,
        target_fat_mg: plan.target.fat_mg,
        visibility: plan.visibility,
        published_at: plan.updated_at,
    };
    diesel::insert_into(plan_revisions::table)
        .values((
            plan_revisions::gym_id.eq(gym),
            plan_revisions::plan_id.eq(plan.id),
            plan_revisions::author_id.eq(author),
            row,
        ))
        .execute(conn)
        .await
        .map(drop)
}

/// Replaces a plan's own fields by those of a revision; none if the plan never had that revision.
pub async fn at_revision(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    plan: PlanSummary,
    revision: i32,
) -> QueryResult<Option<PlanSummary>> {
    let row: Option<RevisionRow> = plan_revisions::table
        .filter(plan_revisions::gym_id.eq(gym).and(plan_revisions::plan_id.eq(plan.id)))
        .filter(plan_revisions::revision.eq(revision))
        .select(RevisionRow::as_select())
        .first(conn)
        .await
        .optional()?;
    Ok(row.map(|row| PlanSummary {
        status: Status::Published,
        version: row.version,
        revision: row.revision,
        goal: row.goal,
        name: row.name,
        description: row.description,
        target: Target {
            energy_mkcal: row.target_energy_mkcal,
            protein_mg: row.target_protein_mg,
            carbohydrate_mg: row.target_carbohydrate_mg,
            fat_mg: row.target_fat_mg,
        },
        visibility: row.visibility,
        updated_at: row.published_at,
        ..plan
    }))
}

/// Lists the revisions of a plan below `before`, newest first.
pub async fn list_revisions(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    plan: PlanId,
    before: i32,
    limit: i64,
) -> QueryResult<Vec<RevisionSummary>> {
    plan_revisions::table
        .filter(plan_revisions::gym_id.eq(gym).and(plan_revisions::plan_id.eq(plan)))
        .filter(plan_revisions::revision.lt(before))
        .order(plan_revisions::revision.desc())
        .limit(limit)
        .select(RevisionSummary::as_select())
        .load(conn)
        .await
}

/// Whether an account follows a plan.
pub async fn is_followed_by(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    plan: PlanId,
    account: AccountId,
) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(
        follows::table
            .filter(follows::gym_id.eq(gym).and(follows::plan_id.eq(plan)))
            .filter(
                follows::member_id
                    .eq(account)
                    .and(follows::status.eq_any(["active", "paused"])),
            ),
    ))
    .get_result(conn)
    .await
}

/// Lists the trainers of a gym.
pub async fn trainers(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<Vec<AccountId>> {
    memberships::table
        .filter(
            memberships::gym_id
                .eq(gym)
                .and(memberships::roles.contains(vec![Some("trainer")])),
        )
        .order(memberships::account_id)
        .select(memberships::account_id)
        .load(conn)
        .await
}
