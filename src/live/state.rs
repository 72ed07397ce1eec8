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

/// The snapshot, with who is online where it shows people.
async fn snapshot(
    connection: &Connection,
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    channel: Channel,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Value> {
    let hub = connection.hub();
    let mut snapshot = (hub.table().snapshot)(conn, caller.gym, channel, now).await?;
    let shown: Vec<String> = match snapshot.get("members").and_then(Value::as_object) {
        Some(members) if matches!(channel, Channel::Roster(_)) => {
            let online = hub.online(caller.gym);
            online
                .iter()
                .map(ToString::to_string)
                .filter(|a| members.contains_key(a))
                .collect()
        }
        _ => return Ok(snapshot),
    };
    if let Some(snapshot) = snapshot.as_object_mut() {
        snapshot.insert(
            "online".into(),
            shown.into_iter().map(|a| (a, Value::Bool(true))).collect(),
        );
    }
    Ok(snapshot)
}
