//! Assignments of trainers to members ([`store`]), and the rights that follow from them. [`may_watch`] and
//! [`rights_to_act`] decide; [`require_watch`] and [`require_act_for`] return a refusal as a route's error.
//! [`crate::rosters`] changes assignments, because a change also publishes events.

pub mod store;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;

use crate::auth::{Caller, Role};
use crate::error::{Error, Result};
use crate::gyms::store as gyms;
use crate::ids::{AccountId, GymId};

pub use store::{Assignment, trainers_of};

/// Whether the caller may read a member's plan and progress. The member, managers, nutritionists and assigned trainers
/// may.
pub async fn may_watch(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    member: AccountId,
    now: DateTime<Utc>,
) -> Result<bool> {
    if caller.account == member {
        return Ok(true);
    }
    if caller.roles.any(&[Role::Manager, Role::Nutritionist]) {
        return Ok(gyms::find_membership(conn, caller.gym, member).await?.is_some());
    }
    is_assigned_trainer(conn, caller, member, now).await
}

/// Requires that the caller may read a member's plan and progress ([`may_watch`]): otherwise 403, or 404 if the gym has
/// no such person.
pub async fn require_watch(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    member: AccountId,
    now: DateTime<Utc>,
) -> Result<()> {
    if may_watch(conn, caller, member, now).await? {
        return Ok(());
    }
    match gyms::find_membership(conn, caller.gym, member).await? {
        Some(_) => Err(Error::forbidden()),
        None => Err(Error::not_found("member")),
    }
}

/// Requires that the caller may act for a member ([`rights_to_act`]): otherwise 403, or 404 if the gym has no such
/// person.
pub async fn require_act_for(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    member: AccountId,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut rights = rights_to_act(conn, caller.gym, &[(*caller, member)], now).await?;
    rights.pop().unwrap_or_else(|| Err(Error::forbidden()))
}

/// Returns for each pair whether the caller may act for the member: follow plans, tick meals, record weights. The
/// member and assigned trainers may; others get 403, or 404 if the gym has no such person. All callers are of this gym.
pub async fn rights_to_act(
    conn: &AsyncPgConnection,
    gym: GymId,
    asked: &[(Caller, AccountId)],
    now: DateTime<Utc>,
) -> Result<Vec<Result<()>>> {
    let for_others = asked.iter().filter(|(caller, member)| caller.account != *member);
    let (trainers, members): (Vec<_>, Vec<_>) = for_others
        .filter(|(caller, _)| caller.roles.has(Role::Trainer))
        .map(|(caller, member)| (caller.account, *member))
        .unzip();
    let pairs = if trainers.is_empty() {
        HashSet::new()
    } else {
        store::assigned_pairs(conn, gym, &trainers, &members, now).await?
    };
    let may = |caller: &Caller, member: AccountId| {
        if caller.account == member {
            caller.roles.has(Role::Member)
        } else {
            pairs.contains(&(caller.account, member))
        }
    };
    let refused: Vec<_> = asked.iter().filter(|(c, m)| !may(c, *m)).map(|(_, m)| *m).collect();
    let known = if refused.is_empty() {
        HashSet::new()
    } else {
        gyms::known_members(conn, gym, &refused).await?
    };
    let right = |(caller, member): &(Caller, AccountId)| match may(caller, *member) {
        true => Ok(()),
        false if known.contains(member) => Err(Error::forbidden()),
        false => Err(Error::not_found("member")),
    };
    Ok(asked.iter().map(right).collect())
}

async fn is_assigned_trainer(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    member: AccountId,
    now: DateTime<Utc>,
) -> Result<bool> {
    Ok(caller.roles.has(Role::Trainer) && store::is_assigned(conn, caller.gym, caller.account, member, now).await?)
}
