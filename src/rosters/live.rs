//! The channel `roster:{trainer}`: the right to watch it, and its state.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::assignments::store::members_of;
use crate::auth::{Caller, Role};
use crate::completions::progress::{ProgressState, rows};
use crate::completions::{self, Progress, roster_from};
use crate::error::{Error, Result};
use crate::events::Access;
use crate::follows::live::hold;
use crate::follows::{Follow, store};
use crate::gyms::store::find_membership;
use crate::ids::{AccountId, GymId};

/// The state of the channel `roster:{trainer}`.
#[derive(Serialize, ToSchema)]
pub struct RosterState<'a> {
    /// The trainer's members, by account.
    members: BTreeMap<AccountId, RosterMember<'a>>,
}

/// A member on a trainer's roster.
#[derive(Serialize, ToSchema)]
pub struct RosterMember<'a> {
    /// Name of the member.
    name: &'a str,
    /// Start of the assignment.
    since: DateTime<Utc>,
    /// The running follow; absent if the member has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    follow: Option<&'a Follow>,
    /// Daily progress of the last days, by date.
    #[schema(value_type = BTreeMap<String, ProgressState>)]
    progress: Value,
}

/// Whether the caller may watch a trainer's roster. The trainer and managers may.
pub async fn authorise_roster(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    trainer: AccountId,
    _now: DateTime<Utc>,
) -> Result<Access> {
    if trainer == caller.account && caller.roles.has(Role::Trainer) {
        return Ok(Access::OPEN);
    }
    let manages = caller.roles.has(Role::Manager);
    Ok(Access::when(
        manages && find_membership(conn, caller.gym, trainer).await?.is_some(),
    ))
}

/// Reads the state of `roster:`: each of the trainer's members with follow and latest daily progress.
pub async fn roster_snapshot(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    trainer: AccountId,
    now: DateTime<Utc>,
) -> Result<Value> {
    let members = members_of(conn, gym, trainer, now).await?;
    let ids: Vec<_> = members.iter().map(|(id, ..)| *id).collect();
    let follows = store::current_of(conn, gym, &ids).await?;
    let follow_ids: Vec<_> = follows.iter().map(|f| f.id).collect();
    let mut progress: HashMap<_, Vec<Progress>> = HashMap::new();
    for (follow, row) in completions::store::progress_since(conn, gym, &follow_ids, roster_from(now)).await? {
        progress.entry(follow).or_default().push(row);
    }
    let follows: HashMap<_, _> = follows.into_iter().map(|f| (f.member_id, f)).collect();
    let mut entries = BTreeMap::new();
    for (member, name, since) in &members {
        let follow = follows.get(member);
        let rows = follow
            .and_then(|f| progress.get(&f.id))
            .map(Vec::as_slice)
            .unwrap_or_default();
        entries.insert(*member, entry(name, *since, follow, rows));
    }
    Ok(json!(RosterState { members: entries }))
}

/// Builds a member's roster entry for the event of an assignment that starts now. It locks the member until the
/// transaction ends: otherwise a concurrent tick could be missing from the entry and go only to the previous trainers.
///
/// # Errors
/// 404 if the account has no membership of the gym.
pub async fn member_entry(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    member: AccountId,
    now: DateTime<Utc>,
) -> Result<Value> {
    hold(conn, gym, &[member]).await?;
    let person = find_membership(conn, gym, member)
        .await?
        .ok_or_else(|| Error::not_found("member"))?;
    let follow = store::current(conn, gym, member).await?;
    let ids: Vec<_> = follow.iter().map(|f| f.id).collect();
    let progress = completions::store::progress_since(conn, gym, &ids, roster_from(now)).await?;
    let rows: Vec<_> = progress.into_iter().map(|(_, row)| row).collect();
    Ok(json!(entry(&person.name, now, follow.as_ref(), &rows)))
}

fn entry<'a>(
    name: &'a str,
    since: DateTime<Utc>,
    follow: Option<&'a Follow>,
    progress: &[Progress],
) -> RosterMember<'a> {
    RosterMember {
        name,
        since,
        follow,
        progress: rows(progress),
    }
}
