//! Completed meals, as the plan had them when they were ticked.

use chrono::NaiveDate;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, JoinOnDsl as _, NullableExpressionMethods as _, QueryDsl as _,
    QueryResult, SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::db::schema::{completions, plan_items, plan_meals};
use crate::ids::{FollowId, GymId};
use crate::plans::day::{DayMeal, Row, gather};
use crate::plans::tree::{ItemRow, MealRow};

/// Condition that a row belongs to a revision.
macro_rules! of_revision {
    ($table:ident, $revision:expr) => {
        $table::from_rev
            .le($revision)
            .and($table::to_rev.is_null().or($table::to_rev.gt($revision.nullable())))
    };
}

/// Reads the completed meals of a follow on a date, each as it was in the plan revision that its completion has stored.
pub async fn as_ticked(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    follow: FollowId,
    date: NaiveDate,
) -> QueryResult<Vec<DayMeal>> {
    let rows: Vec<Row> = completions::table
        .inner_join(
            plan_meals::table.on(plan_meals::id
                .eq(completions::meal_id)
                .and(of_revision!(plan_meals, completions::plan_revision))),
        )
        .left_join(
            plan_items::table.on(plan_items::plan_id
                .eq(plan_meals::plan_id)
                .and(plan_items::meal_id.eq(plan_meals::id))
                .and(of_revision!(plan_items, completions::plan_revision))),
        )
        .filter(completions::gym_id.eq(gym).and(plan_meals::gym_id.eq(gym)))
        .filter(completions::follow_id.eq(follow).and(completions::date.eq(date)))
        .select((
            plan_meals::plan_id,
            completions::plan_revision,
            diesel::dsl::sql::<diesel::sql_types::BigInt>("0::bigint"),
            diesel::dsl::sql::<diesel::sql_types::Integer>("0"),
            MealRow::as_select(),
            Option::<ItemRow>::as_select(),
        ))
        .load(conn)
        .await?;
    gather(rows)
}
