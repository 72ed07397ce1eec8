//! Rows and SQL of gyms, memberships, invitations and last-seen times.

pub mod invitations;
mod last_seen;
mod memberships;

pub use last_seen::*;
pub use memberships::*;

use chrono::{DateTime, Utc};
use diesel::{
    AsChangeset, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult, Queryable, Selectable,
    SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::schema::gyms;
use crate::error::Lang;
use crate::ids::GymId;

/// A gym, as its people may see it.
#[derive(Clone, Debug, Queryable, Selectable, Serialize, ToSchema)]
#[diesel(table_name = gyms)]
pub struct Gym {
    /// Its identifier.
    pub id: GymId,
    /// Short name in URLs and at sign-in.
    pub slug: String,
    /// Full name.
    pub name: String,
    /// IANA time zone.
    pub time_zone: String,
    /// Preferred language.
    #[schema(value_type = Lang)]
    pub locale: String,
    /// Minutes after midnight at which a day begins.
    pub day_start: i32,
}

/// Creates a gym. Returns false if the slug is taken. Needs the system role.
pub async fn insert_gym(conn: &mut AsyncPgConnection, gym: &Gym, now: DateTime<Utc>) -> QueryResult<bool> {
    let inserted = diesel::insert_into(gyms::table)
        .values((
            gyms::id.eq(gym.id),
            gyms::slug.eq(&gym.slug),
            gyms::name.eq(&gym.name),
            gyms::time_zone.eq(&gym.time_zone),
            gyms::locale.eq(&gym.locale),
            gyms::day_start.eq(gym.day_start),
            gyms::created_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    Ok(inserted == 1)
}

/// Marks a gym as a demo: see [`crate::demo`]. Needs the system role.
pub async fn mark_demo(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<()> {
    diesel::update(gyms::table.find(gym))
        .set(gyms::demo.eq(true))
        .execute(conn)
        .await?;
    Ok(())
}

/// Finds a gym by slug.
pub async fn gym_of_slug(conn: &mut AsyncPgConnection, slug: &str) -> QueryResult<Option<GymId>> {
    gyms::table
        .filter(gyms::slug.eq(slug))
        .select(gyms::id)
        .first(conn)
        .await
        .optional()
}

/// Reads a gym.
pub async fn find_gym(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<Gym> {
    gyms::table.find(gym).select(Gym::as_select()).first(conn).await
}

/// Reads the minutes after midnight at which the gym's day begins.
pub async fn day_start(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<i32> {
    gyms::table.find(gym).select(gyms::day_start).first(conn).await
}

/// Locks a gym's row until the transaction ends, so that acceptances of its invitations run in turn. Returns its slug.
pub async fn lock_gym(conn: &mut AsyncPgConnection, gym: GymId) -> QueryResult<String> {
    gyms::table
        .find(gym)
        .select(gyms::slug)
        .for_no_key_update()
        .first(conn)
        .await
}

/// A change of a gym. A field that is `None` stays as it is.
#[derive(AsChangeset, Clone, Debug, PartialEq, Eq)]
#[diesel(table_name = gyms)]
pub struct GymChange {
    /// Full name.
    pub name: Option<String>,
    /// IANA time zone.
    pub time_zone: Option<String>,
    /// Preferred language.
    pub locale: Option<&'static str>,
    /// Minutes after midnight at which a day begins.
    pub day_start: Option<i32>,
}

/// Changes a gym. An empty change does nothing.
pub async fn update_gym(conn: &mut AsyncPgConnection, gym: GymId, change: &GymChange) -> QueryResult<()> {
    let update = diesel::update(gyms::table.find(gym)).set(change).execute(conn).await;
    // Diesel refuses an update without fields.
    match update {
        Ok(_) | Err(diesel::result::Error::QueryBuilderError(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
