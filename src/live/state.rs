//! What a subscriber is told at the start: what it missed, or all there is, read in one snapshot with the check of its right.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use diesel_async::AsyncPgConnection;
use serde_json::Value;
use tokio::time::Instant;

use super::Hub;
use super::connection::Connection;
use super::protocol::{ErrorReply, ProtocolError, Publication, SubscribeRequest, SubscribeResult};
use crate::app::App;
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::events::{Access, Channel, log};
use crate::ids::{AccountId, GymId};

/// What came of reading a channel's state.
pub(super) enum Outcome {
    State { result: SubscribeResult, position: u64 },
    Refused(ErrorReply),
}

/// Authorises and reads a channel's state in the snapshot of `conn`: what was missed, or all there is.
pub(super) async fn read(
    app: &App,
    connection: &Connection,
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    (gym, channel): (GymId, &str),
    request: &SubscribeRequest,
) -> Result<Outcome> {
    let hub = connection.hub();
    let now = app.clock.now();
    let until = match (hub.table().authorise)(conn, caller, channel, now).await? {
        Access::Granted { until } => until,
        Access::Refused => return Ok(Outcome::Refused(ErrorReply::denied(connection.lang))),
    };
    if let Some(left) = until.map(|until| (until - now).to_std().unwrap_or_default()) {
        connection.authorise_at(Instant::now() + left + Duration::from_millis(1));
    }
    let head = log::head(conn, gym).await?.ok_or_else(|| Error::not_found("gym"))?;
    let mut result = SubscribeResult {
        recoverable: true,
        positioned: true,
        epoch: head.epoch.to_string(),
        was_recovering: request.recover,
        ..SubscribeResult::default()
    };
    let same_epoch = request.epoch.is_empty() || *request.epoch == *head.epoch;
    if request.recover && same_epoch && request.offset <= head.seq {
        let limit = match (hub.table().offers)(channel).history {
            0 => hub.limits().recover_events,
            bound => bound.min(hub.limits().recover_events),
        };
        if let Some(missed) = log::channel_since(conn, gym, channel, request.offset, head.seq, limit).await? {
            hub.counters.recoveries.fetch_add(1, Ordering::Relaxed);
            result.recovered = true;
            result.offset = request.offset;
            result.publications = missed
                .into_iter()
                .map(|(offset, data)| Publication { data, offset })
                .collect();
            return Ok(Outcome::State {
                result,
                position: head.seq,
            });
        }
    }
    if request.recover && request.rejects_unrecovered() {
        return Ok(Outcome::Refused(ProtocolError::Unrecoverable.into()));
    }
    result.offset = head.seq;
    result.data = snapshot(connection, conn, (gym, channel), now).await?;
    Ok(Outcome::State {
        result,
        position: head.seq,
    })
}

/// What the channel shows, with who is online where it shows people; empty where it shows nothing but its events.
async fn snapshot(
    connection: &Connection,
    conn: &mut AsyncPgConnection,
    (gym, channel): (GymId, &str),
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Bytes> {
    let hub = connection.hub();
    let Some(mut snapshot) = (hub.table().snapshot)(conn, gym, channel, now).await? else {
        return Ok(Bytes::new());
    };
    hub.counters.snapshots.fetch_add(1, Ordering::Relaxed);
    add_presence(hub, conn, (gym, channel), &mut snapshot).await?;
    let text = snapshot.to_string();
    if text.len() <= hub.limits().snapshot_bytes {
        return Ok(text.into());
    }
    let elsewhere = serde_json::json!({"fetch": true, "url": format!("/api/v1/live/snapshots/{channel}")});
    Ok(elsewhere.to_string().into())
}

/// Adds to the snapshot of a roster who is online, and when the others last were.
async fn add_presence(
    hub: &Hub,
    conn: &mut AsyncPgConnection,
    (gym, channel): (GymId, &str),
    snapshot: &mut Value,
) -> Result<()> {
    if !matches!(channel.parse(), Ok(Channel::Roster(_))) {
        return Ok(());
    }
    let Some(members) = snapshot.get("members").and_then(Value::as_object) else {
        return Ok(());
    };
    let everybody = hub.online(gym);
    let (here, away): (Vec<AccountId>, Vec<_>) = members
        .keys()
        .filter_map(|account| account.parse().ok())
        .partition(|account| everybody.contains(account));
    let last_seen = (hub.table().last_seen)(conn, gym, &away).await?;
    if let Some(snapshot) = snapshot.as_object_mut() {
        let online = here.into_iter().map(|a| (a.to_string(), Value::Bool(true)));
        let seen = last_seen
            .into_iter()
            .map(|(a, at)| (a.to_string(), serde_json::json!(at)));
        snapshot.insert("online".into(), online.collect::<serde_json::Map<_, _>>().into());
        snapshot.insert("last_seen".into(), seen.collect::<serde_json::Map<_, _>>().into());
    }
    Ok(())
}
