//! The deployment's random identifier, which access tokens name as their issuer (`iss`). The first start makes it, and
//! the first start after a restore makes another, so that the tokens of a copy open nothing in the original, nor the
//! other way round.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Bool, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension as _, QueryDsl as _, QueryResult, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::db::schema::deployment;
use crate::ids::DeploymentId;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    id: DeploymentId,
}

/// Reads the identifier, and makes one if there is none or the database was restored. Needs the system role.
pub async fn load(conn: &mut AsyncPgConnection, restored: bool, now: DateTime<Utc>) -> QueryResult<DeploymentId> {
    let row: Row = diesel::sql_query(
        "INSERT INTO deployment AS d (id, made_at) VALUES ($1, $2)
         ON CONFLICT (only_row) DO UPDATE SET
             id = CASE WHEN $3 THEN $1 ELSE d.id END, made_at = CASE WHEN $3 THEN $2 ELSE d.made_at END
         RETURNING id",
    )
    .bind::<SqlUuid, _>(DeploymentId(uuid::Uuid::new_v4()))
    .bind::<Timestamptz, _>(now)
    .bind::<Bool, _>(restored)
    .get_result(conn)
    .await?;
    Ok(row.id)
}

/// Reads the identifier. Needs the system role.
pub async fn current(conn: &mut AsyncPgConnection) -> QueryResult<Option<DeploymentId>> {
    deployment::table.select(deployment::id).first(conn).await.optional()
}
