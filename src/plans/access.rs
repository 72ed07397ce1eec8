//! Who may read and write which plans. A plan of another gym is 404, as if it did not exist; a plan of the caller's own
//! gym that the caller's role may not read or write is 403.

use chrono::{DateTime, Utc};
use diesel::sql_types::Bool;
use diesel::{BoolExpressionMethods as _, ExpressionMethods as _, IntoSql as _, QueryDsl as _, QueryResult};
use diesel_async::AsyncPgConnection;
use futures_util::future::join_all;

use super::model::PlanSummary;
use super::store::{self, Condition};
use super::words::{Status, Visibility};
use crate::assignments::store::counts;
use crate::auth::{Caller, Role};
use crate::db::schema::{assignments, follows, plans};
use crate::error::{Error, Result};
use crate::http::etag::Epoch;
use crate::ids::{AccountId, PlanId};

/// The statuses of a follow in progress.
pub(super) const FOLLOWING: [&str; 2] = ["active", "paused"];

/// Refuses callers whose roles may not author plans.
pub(super) fn require_author(caller: &Caller) -> Result<()> {
    caller.require(&[Role::Manager, Role::Nutritionist, Role::Trainer])
}

/// Refuses callers who may not write a plan of `author`. Managers and nutritionists write any plan, trainers their own.
pub(super) fn require_writer(caller: &Caller, author: AccountId) -> Result<()> {
    let any = caller.roles.any(&[Role::Manager, Role::Nutritionist]);
    if any || (caller.roles.has(Role::Trainer) && caller.account == author) {
        Ok(())
    } else {
        Err(Error::forbidden())
    }
}

/// Refuses callers whose roles may not read any plan.
pub(super) fn require_reader(caller: &Caller) -> Result<()> {
    caller.require(&[
        Role::Owner,
        Role::Manager,
        Role::Nutritionist,
        Role::Trainer,
        Role::Member,
    ])
}

/// The condition that holds for the plans a caller may read.
pub(super) fn readable(caller: &Caller, now: DateTime<Utc>) -> Condition {
    if caller.roles.any(&[Role::Owner, Role::Manager, Role::Nutritionist]) {
        return Box::new(true.into_sql::<Bool>());
    }
    let mut condition: Condition = Box::new(false.into_sql::<Bool>());
    if caller.roles.has(Role::Trainer) {
        let shown = plans::visibility
            .eq(Visibility::Gym)
            .and(plans::status.ne(Status::Draft));
        condition = Box::new(
            condition
                .or(plans::author_id.eq(caller.account))
                .or(shown)
                .or(followed_by_assigned(caller, now)),
        );
    }
    if caller.roles.has(Role::Member) {
        let shown = plans::visibility
            .eq(Visibility::Gym)
            .and(plans::status.eq(Status::Published));
        condition = Box::new(condition.or(shown).or(followed(caller)));
    }
    condition
}

/// Plans followed by members who are assigned to the caller as their trainer.
fn followed_by_assigned(caller: &Caller, now: DateTime<Utc>) -> Condition {
    let assigned = assignments::table
        .filter(
            assignments::gym_id
                .eq(caller.gym)
                .and(assignments::trainer_id.eq(caller.account)),
        )
        .filter(counts(now))
        .select(assignments::member_id);
    let followed = follows::table
        .filter(follows::gym_id.eq(caller.gym).and(follows::status.eq_any(FOLLOWING)))
        .filter(follows::member_id.eq_any(assigned))
        .select(follows::plan_id);
    Box::new(plans::id.eq_any(followed))
}

/// The plan that the caller follows.
fn followed(caller: &Caller) -> Condition {
    let followed = follows::table
        .filter(
            follows::gym_id
                .eq(caller.gym)
                .and(follows::member_id.eq(caller.account)),
        )
        .filter(follows::status.eq_any(FOLLOWING))
        .select(follows::plan_id);
    Box::new(plans::id.eq_any(followed))
}

/// Finds a plan, without its tree, for a caller who may read it.
///
/// # Errors
/// 404 if the caller's gym has no such plan, 403 if the caller may not read it.
pub async fn find_readable(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    plan: PlanId,
    now: DateTime<Utc>,
) -> Result<PlanSummary> {
    match store::find_if(conn, caller.gym, plan, readable(caller, now)).await? {
        Some((summary, true)) => Ok(summary),
        Some((_, false)) => Err(Error::forbidden()),
        None => Err(Error::not_found("plan")),
    }
}

/// The version of a plan as its reader saw it, with the log epoch in which the version counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The version.
    pub version: i64,
    /// The epoch of the gym's log.
    pub epoch: Epoch,
}

/// A plan's version and whether the caller may read it; none if the gym has no such plan.
pub(super) type Version = Option<(Seen, bool)>;

/// Finds the versions of plans, each checked for its own caller, in one round trip.
pub(super) async fn find_versions(
    conn: &AsyncPgConnection,
    asked: &[(Caller, PlanId)],
    now: DateTime<Utc>,
) -> QueryResult<Vec<Version>> {
    let one = |(caller, plan): &(Caller, PlanId)| store::version_if(conn, caller.gym, *plan, readable(caller, now));
    let seen = |(version, epoch, readable): (i64, Option<String>, bool)| {
        let epoch = Epoch::of(epoch.as_deref().unwrap_or_default());
        (Seen { version, epoch }, readable)
    };
    let found = join_all(asked.iter().map(one)).await.into_iter();
    found.map(|found| found.map(|found| found.map(seen))).collect()
}

/// The version, if the caller may read the plan.
///
/// # Errors
/// As [`find_readable`].
pub(super) fn readable_version(found: Version) -> Result<Seen> {
    match found {
        Some((seen, true)) => Ok(seen),
        Some((_, false)) => Err(Error::forbidden()),
        None => Err(Error::not_found("plan")),
    }
}

/// Whether a caller may read a plan.
///
/// # Errors
/// 404 if the caller's gym has no such plan.
pub async fn may_read(conn: &mut AsyncPgConnection, caller: &Caller, plan: PlanId, now: DateTime<Utc>) -> Result<bool> {
    let found = store::find_if(conn, caller.gym, plan, readable(caller, now)).await?;
    found
        .map(|(_, readable)| readable)
        .ok_or_else(|| Error::not_found("plan"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GymId, SessionId};

    fn caller(roles: &[Role]) -> Caller {
        Caller {
            account: AccountId::new(),
            gym: GymId::new(),
            roles: roles.iter().copied().collect(),
            session: SessionId::new(),
            access_version: 1,
        }
    }

    #[test]
    fn managers_and_nutritionists_write_any_plan_and_trainers_only_their_own() {
        let somebody = AccountId::new();
        for (role, any, own) in [
            (Role::Owner, false, false),
            (Role::Manager, true, true),
            (Role::Nutritionist, true, true),
            (Role::Trainer, false, true),
            (Role::Member, false, false),
            (Role::Auditor, false, false),
        ] {
            let caller = caller(&[role]);
            assert_eq!(require_writer(&caller, somebody).is_ok(), any, "{role:?}");
            assert_eq!(require_writer(&caller, caller.account).is_ok(), own, "{role:?}");
            assert_eq!(require_author(&caller).is_ok(), own, "{role:?}");
            assert_eq!(require_reader(&caller).is_ok(), role != Role::Auditor, "{role:?}");
        }
        assert!(require_writer(&caller(&[Role::Owner, Role::Manager]), somebody).is_ok());
    }
}
