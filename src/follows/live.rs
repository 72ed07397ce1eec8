//! The channel `member:{account}`: the right to watch it, its state, and the events of follows, which also go to
//! rosters.

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Follow, store};
use crate::assignments;
use crate::auth::{Caller, Role};
use crate::completions::progress::{ProgressState, rows};
use crate::completions::{self, CompletionState, by_date, member_from, roster_from};
use crate::error::Result;
use crate::events::{Access, Channel, Tx, merge};
use crate::gyms::store::{find_membership, lock_members};
use crate::ids::{AccountId, GymId, MealId};

/// The state of the channel `member:{account}`: the running follow, with completions and daily progress of the last
/// days.
#[derive(Serialize, ToSchema)]
pub struct MemberState<'a> {
    /// The running follow; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    follow: Option<&'a Follow>,
    /// Completions, by date, then by meal.
    #[schema(value_type = BTreeMap<String, BTreeMap<MealId, CompletionState>>)]
    completions: Value,
    /// Daily progress, by date.
    #[schema(value_type = BTreeMap<String, ProgressState>)]
    progress: Value,
}

/// Whether the caller may watch a member. The member, managers and nutritionists may; trainers may while they are
/// assigned.
pub async fn authorise_member(
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    account: AccountId,
    now: DateTime<Utc>,
) -> Result<Access> {
    if account == caller.account && caller.roles.has(Role::Member) {
        return Ok(Access::OPEN);
    }
    if caller.roles.any(&[Role::Manager, Role::Nutritionist]) {
        return Ok(Access::when(
            find_membership(conn, caller.gym, account).await?.is_some(),
        ));
    }
    if !caller.roles.has(Role::Trainer) {
        return Ok(Access::Refused);
    }
    let until = assignments::store::assigned_until(conn, caller.gym, caller.account, account, now).await?;
    Ok(until.map_or(Access::Refused, |until| Access::Granted { until }))
}

/// Reads the state of `member:`: the running follow with its completions and daily progress.
pub async fn member_snapshot(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    account: AccountId,
    now: DateTime<Utc>,
) -> Result<Value> {
    let Some(follow) = store::current(conn, gym, account).await? else {
        return Ok(json!(MemberState {
            follow: None,
            completions: json!({}),
            progress: json!({}),
        }));
    };
    let from = member_from(now);
    let completed = completions::store::completed_since(conn, gym, follow.id, from).await?;
    let progress = completions::store::progress_since(conn, gym, &[follow.id], from).await?;
    let entries = completed.iter().map(|(key, completed)| (key.date, key.meal, completed));
    Ok(json!(MemberState {
        follow: Some(&follow),
        completions: by_date(entries),
        progress: rows(progress.iter().map(|(_, row)| row)),
    }))
}

/// Locks members until the transaction ends: meanwhile nobody can start or change their follow or tick their meals. A
/// change of assignments calls this after its writes. Otherwise the event of a tick could reach a roster after the
/// event that removed the member from it.
///
/// # Errors
/// Database errors.
pub async fn hold(conn: &mut AsyncPgConnection, gym: GymId, members: &[AccountId]) -> Result<()> {
    lock_members(conn, gym, members).await?;
    store::lock_scheduled(conn, gym, members).await?;
    Ok(())
}

/// Emits the change of a follow to `member:` and to the rosters of assigned trainers. `before` is the snapshot of
/// `member:` that the caller read after it locked the member or the follow.
pub(super) async fn tell(tx: &mut Tx, member: AccountId, kind: &'static str, before: &Value) -> Result<()> {
    let (gym, now) = (tx.gym, tx.now);
    let after = member_snapshot(tx, gym, member, now).await?;
    let trainers = assignments::trainers_of(tx, gym, &[member], now)
        .await?
        .remove(&member)
        .unwrap_or_default();
    tx.emit(Channel::Member(member), kind, patch(before, &after));
    let on_roster = patch(&roster_part(before, now), &roster_part(&after, now));
    for trainer in &trainers {
        tx.emit(
            Channel::Roster(*trainer),
            kind,
            json!({"members": {member.to_string(): on_roster}}),
        );
    }
    if after.get("follow").is_none() {
        // The follow gave them the right to the plan's channel, so their rights must be checked again.
        tx.access_changed(member);
        for trainer in trainers {
            tx.access_changed(trainer);
        }
    }
    Ok(())
}

/// Builds the merge patch from `before` to `after`. It contains the whole follow, if there is one.
fn patch(before: &Value, after: &Value) -> Value {
    let mut patch = merge::diff(before, after);
    if let Some(follow) = after.get("follow") {
        merge::join(&mut patch, json!({"follow": follow}));
    }
    patch
}

/// Reduces a member's snapshot to what a roster shows.
fn roster_part(snapshot: &Value, now: DateTime<Utc>) -> Value {
    let from = roster_from(now).to_string();
    let mut part = snapshot.clone();
    if let Some(part) = part.as_object_mut() {
        part.remove("completions");
        if let Some(rows) = part.get_mut("progress").and_then(Value::as_object_mut) {
            // ISO dates with four-digit years sort like their texts.
            rows.retain(|date, _| *date >= from);
        }
    }
    part
}
