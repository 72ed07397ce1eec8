//! Which trainer is assigned to which member ([`store`]), and who may therefore see and act for whom: [`may_watch`] and
//! [`rights_to_act`], with [`require_watch`] and [`require_act_for`] answering as a route should. What changes assignments
//! is above, in [`crate::rosters`], since screens are told of it.

pub mod store;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;

use crate::auth::{Caller, Role};
use crate::error::{Error, Result};
use crate::gyms::store as gyms;
use crate::ids::{AccountId, GymId};

pub use store::{Assignment, trainers_of};

/// Whether the caller may see a member's plan and progress: the member, managers, nutritionists, assigned trainers.
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

/// Refuses who may not see a member: 404 where there is no such person in the gym, else 403.
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

/// Refuses who may not act for a member: 404 where there is no such person in the gym, else 403.
pub async fn require_act_for(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    member: AccountId,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut rights = rights_to_act(conn, caller.gym, &[(*caller, member)], now).await?;
    rights.pop().unwrap_or_else(|| Err(Error::forbidden()))
}

/// Whether each of these callers of one gym may follow, complete and weigh in for a member: the member, and assigned
/// trainers. 404 where there is no such person in the gym, else 403.
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
