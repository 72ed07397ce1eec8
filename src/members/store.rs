//! SQL of the list of memberships.

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

/// Filter and page of a list of memberships.
#[derive(Clone, Copy, Debug, Default)]
pub struct MembersWanted {
    /// Only those with this role.
    pub role: Option<Role>,
    /// Only those of this trainer and of the members that the trainer is assigned to.
    pub of_trainer: Option<AccountId>,
    /// The last account of the previous page; nil for the first page.
    pub after: uuid::Uuid,
    /// Maximum number of rows.
    pub limit: i64,
}

/// Lists memberships that have not ended, in the order of account ids.
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
    query.load(conn).await
}
