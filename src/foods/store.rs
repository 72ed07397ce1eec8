//! Rows of foods: the shared ones and a gym's own.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel::{BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::draft::Columns;
use super::model::Food;
use crate::db::schema::gym_foods;
use crate::ids::{AccountId, FoodId, GymId};

/// The columns of [`Food`] that both tables have: all but scope and source.
pub(super) const COLUMNS: &str = "id, kind, name_en, name_es, brand, barcode, jsonb_strip_nulls(jsonb_build_object(
    'energy_mkcal', energy_mkcal, 'protein_mg', protein_mg, 'carbohydrate_mg', carbohydrate_mg, 'sugars_mg', sugars_mg,
    'fibre_mg', fibre_mg, 'fat_mg', fat_mg, 'saturated_fat_mg', saturated_fat_mg, 'sodium_mg', sodium_mg,
    'alcohol_mg', alcohol_mg, 'potassium_mg', potassium_mg, 'vitamin_k_ng', vitamin_k_ng)) AS per_100g,
    carb_basis, allergens, portions, verified, search";

/// SQL for the shared foods and those of gym `$1` that satisfy a condition.
pub(super) fn union(condition: &str) -> String {
    format!(
        "SELECT 'shared' AS scope, source, {COLUMNS} FROM foods WHERE {condition}
         UNION ALL
         SELECT 'gym' AS scope, NULL AS source, {COLUMNS} FROM gym_foods WHERE gym_id = $1 AND {condition}"
    )
}

/// Finds one food that the gym may use.
pub async fn find(conn: &mut AsyncPgConnection, gym: GymId, food: FoodId) -> QueryResult<Option<Food>> {
    diesel::sql_query(union("id = $2"))
        .bind::<SqlUuid, _>(gym)
        .bind::<SqlUuid, _>(food)
        .get_result(conn)
        .await
        .optional()
}

/// Lists the foods that the gym may use, by identifier, after `after`.
pub async fn list(conn: &mut AsyncPgConnection, gym: GymId, after: uuid::Uuid, limit: i64) -> QueryResult<Vec<Food>> {
    // Limit each side by its own index before the union.
    diesel::sql_query(format!(
        "(SELECT 'shared' AS scope, source, {COLUMNS} FROM foods WHERE id > $2 ORDER BY id LIMIT $3)
         UNION ALL
         (SELECT 'gym' AS scope, NULL AS source, {COLUMNS} FROM gym_foods WHERE gym_id = $1 AND id > $2
          ORDER BY id LIMIT $3)
         ORDER BY id LIMIT $3"
    ))
    .bind::<SqlUuid, _>(gym)
    .bind::<SqlUuid, _>(after)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Locks a food of the gym's own until the transaction ends and returns its author.
pub async fn lock_author(conn: &mut AsyncPgConnection, gym: GymId, food: FoodId) -> QueryResult<Option<AccountId>> {
    gym_foods::table
        .filter(gym_foods::gym_id.eq(gym).and(gym_foods::id.eq(food)))
        .select(gym_foods::author_id)
        .for_update()
        .first(conn)
        .await
        .optional()
}

/// Adds a food of the gym.
pub(super) async fn insert(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    (food, author): (FoodId, AccountId),
    columns: &Columns,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(gym_foods::table)
        .values((
            gym_foods::id.eq(food),
            gym_foods::gym_id.eq(gym),
            gym_foods::author_id.eq(author),
            columns.clone(),
            gym_foods::created_at.eq(now),
            gym_foods::updated_at.eq(now),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Changes a food of the gym.
pub(super) async fn update(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    food: FoodId,
    columns: Columns,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(gym_foods::table.filter(gym_foods::gym_id.eq(gym).and(gym_foods::id.eq(food))))
        .set((columns, gym_foods::updated_at.eq(now)))
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes a food of the gym. Plans keep what they copied from it.
pub async fn delete(conn: &mut AsyncPgConnection, gym: GymId, food: FoodId) -> QueryResult<()> {
    diesel::delete(gym_foods::table.filter(gym_foods::gym_id.eq(gym).and(gym_foods::id.eq(food))))
        .execute(conn)
        .await?;
    Ok(())
}
