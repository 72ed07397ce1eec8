//! Lists of memberships.

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, PgArrayExpressionMethods as _, QueryDsl as _, QueryResult,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::assignments::store::counts;
use crate::auth::{Role, Status};
use crate::db::schema::{accounts, assignments, memberships};
use crate::gyms::store::{Membership, columns};
use crate::ids::{AccountId, GymId};

/// Which memberships to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct MembersWanted {
    /// Those with a role.
    pub role: Option<Role>,
    /// Those that a trainer is assigned to, and the trainer.
    pub of_trainer: Option<AccountId>,
    /// After this account.
    pub after: uuid::Uuid,
    /// How many.
    pub limit: i64,
}

/// Memberships that have not ended, by account.
pub async fn list_memberships(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    wanted: MembersWanted,
    now: DateTime<Utc>,
) -> QueryResult<Vec<Membership>> {
    let mut query = memberships::table
        .inner_join(accounts::table)
        .filter(
            memberships::gym_id
                .eq(gym)
                .and(memberships::status.ne(Status::Ended.name())),
        )
        .filter(memberships::account_id.gt(AccountId(wanted.after)))
        .order(memberships::account_id)
        .limit(wanted.limit)
        .select(columns())
        .into_boxed();
    if let Some(role) = wanted.role {
        query = query.filter(memberships::roles.contains(vec![Some(role.name())]));
    }
    if let Some(trainer) = wanted.of_trainer {
        let theirs = assignments::table
            .filter(assignments::gym_id.eq(gym).and(assignments::trainer_id.eq(trainer)))
            .filter(counts(now))
            .select(assignments::member_id);
        query = query.filter(
            memberships::account_id
                .eq(trainer)
                .or(memberships::account_id.eq_any(theirs)),
        );
    }
    let members: Vec<Membership> = query.load(conn).await?;
    Ok(members.into_iter().map(Membership::known_to_the_gym).collect())
}
