//! What a subscriber is told at the start: what it missed, or all there is, read in one snapshot with the check of its right.

use std::sync::atomic::Ordering;
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use serde_json::Value;
use tokio::time::Instant;

use super::connection::Connection;
use super::protocol::{ErrorReply, Payload, ProtocolError, Publication, SubscribeRequest, SubscribeResult};
use crate::app::App;
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::events::{Access, Channel, log};
use crate::ids::AccountId;

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
    channel: Channel,
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
    let head = log::head(conn, caller.gym)
        .await?
        .ok_or_else(|| Error::not_found("gym"))?;
    let name = channel.to_string();
    let mut result = SubscribeResult {
        recoverable: true,
        positioned: true,
        epoch: head.epoch.clone(),
        was_recovering: request.recover,
        ..SubscribeResult::default()
    };
    let same_epoch = request.epoch.is_empty() || *request.epoch == *head.epoch;
    if request.recover && same_epoch && request.offset <= head.seq {
        let limit = hub.limits().recover_events;
        if let Some(missed) = log::channel_since(conn, caller.gym, &name, request.offset, head.seq, limit).await? {
            hub.counters.recoveries.fetch_add(1, Ordering::Relaxed);
            result.recovered = true;
            result.offset = request.offset;
            result.publications = missed
                .into_iter()
                .map(|(offset, payload)| Publication {
                    data: Payload(payload),
                    offset,
                })
                .collect();
            return Ok(Outcome::State {
                result,
                position: head.seq,
            });
        }
    }
    if request.recover && request.flag & 2 != 0 {
        return Ok(Outcome::Refused(ProtocolError::Unrecoverable.into()));
    }
    hub.counters.snapshots.fetch_add(1, Ordering::Relaxed);
    let snapshot = snapshot(connection, conn, caller, channel, now).await?.to_string();
    result.offset = head.seq;
    result.data = Some(if snapshot.len() > hub.limits().snapshot_bytes {
        serde_json::json!({"fetch": true, "url": format!("/api/v1/live/snapshots/{name}")})
            .to_string()
            .into()
    } else {
        snapshot.into()
    });
    Ok(Outcome::State {
        result,
        position: head.seq,
    })
}

/// The snapshot; where it shows people, with who is online and when the others last were.
async fn snapshot(
    connection: &Connection,
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    channel: Channel,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Value> {
    let hub = connection.hub();
    let mut snapshot = (hub.table().snapshot)(conn, caller.gym, channel, now).await?;
    let people: Vec<AccountId> = match snapshot.get("members").and_then(Value::as_object) {
        Some(members) if matches!(channel, Channel::Roster(_)) => {
            members.keys().filter_map(|a| a.parse().ok()).collect()
        }
        _ => return Ok(snapshot),
    };
    let everybody = hub.online(caller.gym);
    let (here, away): (Vec<_>, Vec<_>) = people.into_iter().partition(|a| everybody.contains(a));
    let last_seen = (hub.table().last_seen)(conn, caller.gym, &away).await?;
    if let Some(snapshot) = snapshot.as_object_mut() {
        let online = here.into_iter().map(|a| (a.to_string(), true.into()));
        let seen = last_seen
            .into_iter()
            .map(|(a, at)| (a.to_string(), serde_json::json!(at)));
        snapshot.insert("online".into(), online.collect::<serde_json::Map<_, _>>().into());
        snapshot.insert("last_seen".into(), seen.collect::<serde_json::Map<_, _>>().into());
    }
    Ok(snapshot)
}
