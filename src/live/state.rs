//! What a subscriber is told at the start: what it missed, or all there is. Its right is its own and is checked for it
//! alone; what is read after that is the same for all who may watch, and is read once for those who ask at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use diesel_async::AsyncPgConnection;
use serde_json::Value;
use tokio::time::Instant;

use super::Hub;
use super::connection::Connection;
use super::counters::Reason;
use super::protocol::{ErrorReply, ProtocolError, Publication, SubscribeRequest, SubscribeResult};
use super::sequencer::GymLog;
use super::shared::Ticket;
use crate::app::{App, For};
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::events::log::{self, Bounds, Head, Missed};
use crate::events::{Access, Channel};
use crate::ids::{AccountId, GymId};

/// What came of reading a channel's state.
pub(super) enum Outcome {
    State { result: SubscribeResult, position: u64 },
    Refused(ErrorReply),
}

/// What a channel shows, encoded, and the position that it was read at. The same for all who may watch.
pub(super) struct State {
    head: Head,
    data: Bytes,
}

/// What a channel got since a position; none where the position is above the head. The same for all who may watch.
pub(super) struct Missing {
    head: Head,
    missed: Option<Missed>,
}

/// A channel of a gym.
pub(super) type Watched = (GymId, Arc<str>);
/// A channel of a gym, and a position.
pub(super) type Since = (GymId, Arc<str>, u64);

/// What a subscriber may be given of reads that others make. Taken once it is registered: see [`shared`](super::shared).
pub(super) struct Tickets {
    state: Ticket<Watched, State>,
    missing: Option<Ticket<Since, Missing>>,
}

/// Where a channel's state is read.
pub(super) enum Source<'a> {
    /// In a snapshot that is there already.
    Conn(&'a mut AsyncPgConnection),
    /// In one of its own, with others who ask for the same. No connection may be held meanwhile.
    Shared(Tickets),
}

/// A channel, and the sequencer that feeds its subscribers.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub gym: GymId,
    pub channel: &'a Arc<str>,
    pub log: &'a GymLog,
}

impl Tickets {
    /// For a subscription that is registered.
    pub fn take(hub: &Hub, place: Place, request: &SubscribeRequest) -> Self {
        let Place { gym, channel, .. } = place;
        let since = |offset| hub.missing.ticket((gym, channel.clone(), offset));
        Self {
            state: hub.states.ticket((gym, channel.clone())),
            missing: request.recover.then(|| since(request.offset)),
        }
    }
}

/// Checks in the snapshot of `conn` that the caller may watch; returns what to answer where not.
pub(super) async fn authorise(
    app: &App,
    connection: &Connection,
    conn: &mut AsyncPgConnection,
    caller: &Caller,
    channel: &str,
) -> Result<Option<ErrorReply>> {
    let now = app.clock.now();
    let until = match (connection.hub().table().authorise)(conn, caller, channel, now).await? {
        Access::Granted { until } => until,
        Access::Refused => return Ok(Some(ErrorReply::denied(connection.lang))),
    };
    if let Some(left) = until.map(|until| (until - now).to_std().unwrap_or_default()) {
        connection.authorise_at(Instant::now() + left + Duration::from_millis(1));
    }
    Ok(None)
}

/// The state of a channel for a subscription that is registered and was authorised: what it missed, from memory or from the
/// database, or all there is.
pub(super) async fn read(
    app: &App,
    hub: &Hub,
    place: Place<'_>,
    mut source: Source<'_>,
    request: &SubscribeRequest,
) -> Result<Outcome> {
    let mut why = Reason::Fresh;
    if request.recover {
        match recover(app, hub, place, &mut source, request).await? {
            Ok((missed, head)) => return Ok(recovered(missed, &head, request)),
            Err(reason) => why = reason,
        }
        if request.rejects_unrecovered() {
            return Ok(Outcome::Refused(ProtocolError::Unrecoverable.into()));
        }
    }
    let state = match source {
        Source::Conn(conn) => Arc::new(read_state(app, hub, conn, place).await?),
        Source::Shared(tickets) => {
            let read = app.read(For::gym(place.gym), async |conn| {
                read_state(app, hub, conn, place).await
            });
            let found = tickets.state.get(read).await?;
            hub.counters.recovery.snapshots_shared.add(found.shared.into());
            found.value
        }
    };
    hub.counters.recovery.snapshot(why);
    Ok(Outcome::State {
        position: state.head.seq,
        result: SubscribeResult {
            offset: state.head.seq,
            data: state.data.clone(),
            ..positioned(&state.head, request)
        },
    })
}

/// What was missed, or why a snapshot is needed.
async fn recover(
    app: &App,
    hub: &Hub,
    place: Place<'_>,
    source: &mut Source<'_>,
    request: &SubscribeRequest,
) -> Result<Result<(Vec<(u64, Bytes)>, Head), Reason>> {
    let counters = &hub.counters.recovery;
    let bounds = bounds(hub, place.channel);
    let (epoch, after) = (request.epoch.as_str(), request.offset);
    if let Some(recalled) = place.log.recall(place.channel, epoch, after, bounds) {
        let recalled = complete(recalled.missed).map(|missed| (missed, recalled.head));
        counters.memory.add(recalled.is_ok().into());
        return Ok(recalled);
    }
    let (missing, shared) = match source {
        Source::Conn(conn) => (Arc::new(read_missing(hub, conn, place, after).await?), false),
        Source::Shared(Tickets { missing: None, .. }) => return Ok(Err(Reason::Fresh)),
        Source::Shared(Tickets {
            missing: Some(ticket), ..
        }) => {
            let read = app.read(For::gym(place.gym), async |conn| {
                read_missing(hub, conn, place, after).await
            });
            let found = ticket.get(read).await?;
            (found.value, found.shared)
        }
    };
    if !epoch.is_empty() && *epoch != *missing.head.epoch {
        return Ok(Err(Reason::Epoch));
    }
    let Some(missed) = missing.missed.clone() else {
        return Ok(Err(Reason::Ahead));
    };
    let recovered = complete(missed).map(|missed| (missed, missing.head.clone()));
    if recovered.is_ok() {
        counters.database.up();
        counters.database_shared.add(shared.into());
    }
    Ok(recovered)
}

fn complete(missed: Missed) -> Result<Vec<(u64, Bytes)>, Reason> {
    match missed {
        Missed::All(events) => Ok(events),
        Missed::TooMany => Err(Reason::Events),
        Missed::TooLarge => Err(Reason::Bytes),
        Missed::OutOfReach => Err(Reason::Retention),
    }
}

/// What a channel's recovery may cost: the node's bounds, and the channel's own where it has one.
fn bounds(hub: &Hub, channel: &str) -> Bounds {
    let own = match (hub.table().offers)(channel).history {
        0 => usize::MAX,
        bound => usize::try_from(bound).unwrap_or(0),
    };
    Bounds {
        events: hub.recovery.events.min(own),
        bytes: hub.recovery.bytes,
    }
}

fn recovered(missed: Vec<(u64, Bytes)>, head: &Head, request: &SubscribeRequest) -> Outcome {
    let publications = missed.into_iter();
    Outcome::State {
        position: head.seq,
        result: SubscribeResult {
            recovered: true,
            offset: request.offset,
            publications: publications
                .map(|(offset, data)| Publication { data, offset })
                .collect(),
            ..positioned(head, request)
        },
    }
}

fn positioned(head: &Head, request: &SubscribeRequest) -> SubscribeResult {
    SubscribeResult {
        recoverable: true,
        positioned: true,
        epoch: head.epoch.to_string(),
        was_recovering: request.recover,
        ..SubscribeResult::default()
    }
}

async fn read_head(conn: &mut AsyncPgConnection, gym: GymId) -> Result<Head> {
    log::head(conn, gym).await?.ok_or_else(|| Error::not_found("gym"))
}

async fn read_missing(hub: &Hub, conn: &mut AsyncPgConnection, place: Place<'_>, after: u64) -> Result<Missing> {
    hub.counters.recovery.database_reads.up();
    let head = read_head(conn, place.gym).await?;
    let missed = if after > head.seq {
        None
    } else {
        let bounds = bounds(hub, place.channel);
        Some(log::channel_since(conn, place.gym, place.channel, after, head.seq, bounds).await?)
    };
    Ok(Missing { head, missed })
}

async fn read_state(app: &App, hub: &Hub, conn: &mut AsyncPgConnection, place: Place<'_>) -> Result<State> {
    let head = read_head(conn, place.gym).await?;
    let data = snapshot(hub, conn, (place.gym, place.channel), app.clock.now()).await?;
    Ok(State { head, data })
}

/// What the channel shows, with who is online where it shows people; empty where it shows nothing but its events.
async fn snapshot(
    hub: &Hub,
    conn: &mut AsyncPgConnection,
    (gym, channel): (GymId, &str),
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Bytes> {
    let Some(mut snapshot) = (hub.table().snapshot)(conn, gym, channel, now).await? else {
        return Ok(Bytes::new());
    };
    hub.counters.recovery.snapshot_reads.up();
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
