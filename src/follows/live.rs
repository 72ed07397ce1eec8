//! The channel `member:{account}`: who may watch it, what it shows, and the events of follows, also those on rosters.

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

/// What the channel `member:{account}` shows: the running follow, with its ticks and sums of the last days.
#[derive(Serialize, ToSchema)]
pub struct MemberState<'a> {
    /// The running follow; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    follow: Option<&'a Follow>,
    /// By date, then by meal.
    #[schema(value_type = BTreeMap<String, BTreeMap<MealId, CompletionState>>)]
    completions: Value,
    /// By date.
    #[schema(value_type = BTreeMap<String, ProgressState>)]
    progress: Value,
}

/// Whether a caller may watch a member: the member, managers and nutritionists, and trainers as long as they are assigned.
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

/// What `member:` shows: the running follow with its completions and daily rows.
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

/// Holds members until the end of a change: nobody starts or changes their follow or ticks their meals meanwhile. A change
/// of who watches a member takes it after it has written and before it ends, or an event of a tick could come to a roster
/// after the one that took the member off it.
///
/// # Errors
/// Those of the database.
pub async fn hold(conn: &mut AsyncPgConnection, gym: GymId, members: &[AccountId]) -> Result<()> {
    lock_members(conn, gym, members).await?;
    store::lock_scheduled(conn, gym, members).await?;
    Ok(())
}

/// Tells the member's screens and those of the assigned trainers what became of the follow since `before`, which is the
/// snapshot of `member:` from when the member was held.
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
        // The plan's channel was open to them for the sake of this follow.
        tx.access_changed(member);
        for trainer in trainers {
            tx.access_changed(trainer);
        }
    }
    Ok(())
}

/// What leads from one to the other, with the follow named whole.
fn patch(before: &Value, after: &Value) -> Value {
    let mut patch = merge::diff(before, after);
    if let Some(follow) = after.get("follow") {
        merge::join(&mut patch, json!({"follow": follow}));
    }
    patch
}

/// What a roster shows of a member's snapshot.
fn roster_part(snapshot: &Value, now: DateTime<Utc>) -> Value {
    let from = roster_from(now).to_string();
    let mut part = snapshot.clone();
    if let Some(part) = part.as_object_mut() {
        part.remove("completions");
        if let Some(rows) = part.get_mut("progress").and_then(Value::as_object_mut) {
            // Dates of these centuries are ordered as their names are.
            rows.retain(|date, _| *date >= from);
        }
    }
    part
}
