//! The channels `member:{account}` and `roster:{trainer}`: who may watch them, what they show, and the events of follows.
//!
//! Days are shown from a date on that every zone has behind it, so that two screens agree on what there is; what is older
//! is read by REST, and events leave it out.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Days, NaiveDate, Utc};
use diesel_async::AsyncPgConnection;
use serde_json::{Map, Value, json};

use super::states::{MemberState, RosterMember, RosterState};
use super::{Follow, store};
use crate::auth::{Caller, Role};
use crate::error::{Error, Result};
use crate::events::{Access, Channel, Tx, merge};
use crate::gyms::store::find_membership;
use crate::ids::{AccountId, GymId};
use crate::meals::{self, progress::Progress};

/// Days before today that `member:` shows.
const MEMBER_DAYS: Days = Days::new(14);
/// Days before today that `roster:` shows.
const ROSTER_DAYS: Days = Days::new(2);

/// The first date that `member:` shows.
#[must_use]
pub fn member_from(now: DateTime<Utc>) -> NaiveDate {
    now.date_naive() - MEMBER_DAYS
}

/// The first date that `roster:` shows.
#[must_use]
pub fn roster_from(now: DateTime<Utc>) -> NaiveDate {
    now.date_naive() - ROSTER_DAYS
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
    let until = store::assigned_until(conn, caller.gym, caller.account, account, now).await?;
    Ok(until.map_or(Access::Refused, |until| Access::Granted { until }))
}

/// Whether a caller may watch a trainer's roster: that trainer, and managers.
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
    let completed = meals::store::completed_since(conn, gym, follow.id, from).await?;
    let progress = meals::store::progress_since(conn, gym, &[follow.id], from).await?;
    let entries = completed.iter().map(|(key, completed)| (key.date, key.meal, completed));
    Ok(json!(MemberState {
        follow: Some(&follow),
        completions: meals::by_date(entries),
        progress: rows(progress.iter().map(|(_, row)| row)),
    }))
}

/// What `roster:` shows: each of the trainer's members with follow and latest daily rows.
pub async fn roster_snapshot(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    trainer: AccountId,
    now: DateTime<Utc>,
) -> Result<Value> {
    let members = store::members_of(conn, gym, trainer, now).await?;
    let ids: Vec<_> = members.iter().map(|(id, ..)| *id).collect();
    let follows = store::current_of(conn, gym, &ids).await?;
    let follow_ids: Vec<_> = follows.iter().map(|f| f.id).collect();
    let mut progress: HashMap<_, Vec<Progress>> = HashMap::new();
    for (follow, row) in meals::store::progress_since(conn, gym, &follow_ids, roster_from(now)).await? {
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

/// The entry of a member on the roster of a trainer whose assignment begins now, for the event that tells of it. It holds
/// the member until the end of the change, so that no tick goes to the old trainers only and into no entry.
///
/// # Errors
/// 404 for an account that is not of the gym.
pub async fn roster_member_entry(
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
    let progress = meals::store::progress_since(conn, gym, &ids, roster_from(now)).await?;
    let rows: Vec<_> = progress.into_iter().map(|(_, row)| row).collect();
    Ok(json!(entry(&person.name, now, follow.as_ref(), &rows)))
}

/// Holds members until the end of a change: nobody starts or changes their follow or ticks their meals meanwhile. A change
/// of who watches a member takes it after it has written and before it ends, or an event of a tick could come to a roster
/// after the one that took the member off it.
///
/// # Errors
/// Those of the database.
pub async fn hold(conn: &mut AsyncPgConnection, gym: GymId, members: &[AccountId]) -> Result<()> {
    store::lock_members(conn, gym, members).await?;
    store::lock_scheduled(conn, gym, members).await?;
    Ok(())
}

/// Tells the member's screens and those of the assigned trainers what became of the follow since `before`, which is the
/// snapshot of `member:` from when the member was held.
pub(super) async fn tell(tx: &mut Tx, member: AccountId, kind: &'static str, before: &Value) -> Result<()> {
    let (gym, now) = (tx.gym, tx.now);
    let after = member_snapshot(tx, gym, member, now).await?;
    let trainers = store::trainers_of(tx, gym, &[member], now)
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

fn rows<'a>(rows: impl IntoIterator<Item = &'a Progress>) -> Value {
    rows.into_iter()
        .map(|row| (row.date.to_string(), row.entry()))
        .collect::<Map<_, _>>()
        .into()
}
