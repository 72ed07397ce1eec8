//! The start of a subscription: the missed publications, or a snapshot. The backend checks the right of each subscriber
//! separately. The data read after that check does not depend on the subscriber, so subscribers that start together
//! share one read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::Hub;
use crate::backend::{Answer, Ask, Backend, Failure, Found, Kind, Location, Unrecoverable, Want};
use crate::counters::Reason;
use crate::ids::LogId;
use crate::log::change::{Bounds, Head};
use crate::log::sequencer::SequencedLog;
use crate::log::single_flight::{Reading, Ticket};
use crate::protocol::{ErrorReply, ProtocolError, Publication, SubscribeRequest, SubscribeResult};
use crate::session::connection::Connection;

/// The outcome of reading the state that a subscription starts with.
pub(crate) enum Outcome {
    Begun { result: SubscribeResult, position: u64 },
    Refused(ErrorReply),
}

/// A channel's state and its position. The same for all subscribers.
pub(crate) struct Snapshot {
    head: Head,
    data: Bytes,
}

/// A channel's publications after a position, or the reason why they cannot be recovered. The same for all subscribers.
pub(crate) struct Missing {
    head: Head,
    missed: Result<Vec<(u64, Bytes)>, Unrecoverable>,
}

/// A channel of a log.
pub(crate) type Watched = (LogId, Arc<str>);
/// A channel of a log and a position (epoch and offset).
pub(crate) type Since = (LogId, Arc<str>, Arc<str>, u64);

/// Tickets for reads that a subscriber may share. They are taken after the subscription is registered; see
/// [`single_flight`](crate::log::single_flight).
pub(crate) struct Tickets {
    snapshot: Ticket<Watched, Snapshot>,
    missing: Option<Ticket<Since, Missing>>,
}

/// A channel to subscribe to: its location, and the sequencer that feeds its subscribers.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub location: Location,
    pub channel: &'a Arc<str>,
    pub log: &'a SequencedLog,
}

impl Target<'_> {
    /// Returns the bounds of a recovery: the node's bounds, lowered to the channel's own if it has one.
    fn bounds(&self, hub: &Hub) -> Bounds {
        let own = match self.location.offers.history {
            0 => usize::MAX,
            bound => usize::try_from(bound).unwrap_or(0),
        };
        Bounds {
            events: hub.recovery.events.min(own),
            bytes: hub.recovery.bytes,
        }
    }

    fn ask(&self, want: Want) -> Ask {
        Ask {
            channel: self.channel.clone(),
            want,
        }
    }

    fn since(&self, hub: &Hub, request: &SubscribeRequest, or_state: bool) -> Want {
        Want::Since {
            epoch: request.epoch.clone(),
            after: request.offset,
            bounds: self.bounds(hub),
            or_state,
        }
    }

    /// Looks for the missed publications in the replay buffer. Returns `None` if the buffer does not reach back to the
    /// client's position.
    fn recall(&self, hub: &Hub, request: &SubscribeRequest) -> Option<Result<Recovered, Unrecoverable>> {
        let bounds = self.bounds(hub);
        let recalled = self.log.recall(self.channel, &request.epoch, request.offset, bounds)?;
        let head = recalled.head;
        let complete = recalled.missed.complete();
        hub.counters.recovery.memory.inc_by(complete.is_ok().into());
        Some(complete.map(|events| Recovered { events, head }))
    }
}

/// Missed publications, and the position up to which they are complete.
struct Recovered {
    events: Vec<(u64, Bytes)>,
    head: Head,
}

impl Tickets {
    /// Takes the tickets of a registered subscription.
    pub fn take(hub: &Hub, target: Target, request: &SubscribeRequest) -> Self {
        let (log, channel) = (target.location.log, target.channel);
        let since = || (log, channel.clone(), request.epoch.as_str().into(), request.offset);
        Self {
            snapshot: hub.snapshots.ticket((log, channel.clone())),
            missing: request.recover.then(|| hub.missing.ticket(since())),
        }
    }
}

/// Returns the data that was read, or `None` if there is no right. If the right expires, schedules a check.
pub(crate) fn granted(connection: &Connection, answer: Answer) -> Option<Found> {
    match answer {
        Answer::Refused => None,
        Answer::Granted { lasts, found } => {
            if let Some(lasts) = lasts {
                // 1 ms later, so that the check finds the right expired.
                connection.authorise_at(Instant::now() + lasts + Duration::from_millis(1));
            }
            Some(found)
        }
    }
}

/// How a subscription to the session's own channel starts. Few subscribers could share the read of its state, so one
/// read returns the right and the state.
pub(crate) enum Own {
    /// From the replay buffer, if the right holds.
    Recalled { missed: Vec<(u64, Bytes)>, head: Head },
    /// From the backend. The reason is counted if the client gets a snapshot.
    Asked(Reason),
    /// The position cannot be recovered, and the client refuses a snapshot.
    Unrecoverable,
}

/// Returns what to ask the backend about an own channel, and how its subscription starts once the right is confirmed.
pub(crate) fn ask_own(hub: &Hub, target: Target, request: &SubscribeRequest) -> (Ask, Own) {
    if !request.recover {
        return (target.ask(Want::State), Own::Asked(Reason::Fresh));
    }
    match target.recall(hub, request) {
        Some(Ok(Recovered { events, head })) => (target.ask(Want::Right), Own::Recalled { missed: events, head }),
        Some(Err(_)) if request.rejects_unrecovered() => (target.ask(Want::Right), Own::Unrecoverable),
        Some(Err(why)) => (target.ask(Want::State), Own::Asked(why.into())),
        None => {
            let or_state = !request.rejects_unrecovered();
            (
                target.ask(target.since(hub, request, or_state)),
                Own::Asked(Reason::Fresh),
            )
        }
    }
}

/// Returns the outcome for an own channel, given the backend's answer.
pub(crate) fn own(hub: &Hub, own: Own, found: Found, head: Option<&Head>, request: &SubscribeRequest) -> Outcome {
    let recovery = &hub.counters.recovery;
    match (own, found, head) {
        (Own::Recalled { missed, head }, ..) => recovered(missed, &head, request),
        (Own::Asked(_), Found::Since { missed, state }, Some(head)) => {
            recovery.database_reads.inc();
            match (missed, state) {
                (Ok(events), _) => {
                    recovery.database.inc();
                    recovered(events, head, request)
                }
                (Err(why), Some(data)) => shown(hub, why.into(), head, data, request),
                (Err(_), None) => Outcome::Refused(ProtocolError::Unrecoverable.into()),
            }
        }
        (Own::Asked(why), Found::State(data), Some(head)) => shown(hub, why, head, data, request),
        (Own::Asked(_) | Own::Unrecoverable, ..) => Outcome::Refused(ProtocolError::Unrecoverable.into()),
    }
}

/// Reads the state for a subscription that is registered and authorised: the missed publications, from the replay
/// buffer or from the backend, or else a snapshot. Shares the read with subscribers that need the same data.
pub(crate) async fn read(
    backend: &dyn Backend,
    hub: &Hub,
    target: Target<'_>,
    tickets: Tickets,
    request: &SubscribeRequest,
) -> Result<Outcome, Failure> {
    let mut why = Reason::Fresh;
    if let Some(missing) = &tickets.missing {
        match recover(backend, hub, target, missing, request).await? {
            Ok(Recovered { events, head }) => return Ok(recovered(events, &head, request)),
            Err(unrecoverable) => why = unrecoverable.into(),
        }
        if request.rejects_unrecovered() {
            return Ok(Outcome::Refused(ProtocolError::Unrecoverable.into()));
        }
    }
    let found = tickets.snapshot.get(read_snapshot(backend, hub, target)).await?;
    hub.counters.recovery.snapshots_shared.inc_by(found.shared.into());
    let snapshot = found.value;
    Ok(shown_again(hub, why, &snapshot.head, snapshot.data.clone(), request))
}

/// Returns the missed publications, or why a snapshot is needed.
async fn recover(
    backend: &dyn Backend,
    hub: &Hub,
    target: Target<'_>,
    missing: &Ticket<Since, Missing>,
    request: &SubscribeRequest,
) -> Result<Result<Recovered, Unrecoverable>, Failure> {
    if let Some(recalled) = target.recall(hub, request) {
        return Ok(recalled);
    }
    let counters = &hub.counters.recovery;
    let Reading { value, shared } = missing.get(read_missing(backend, hub, target, request)).await?;
    Ok(value.missed.clone().map(|events| {
        counters.database.inc();
        counters.database_shared.inc_by(shared.into());
        Recovered {
            events,
            head: value.head.clone(),
        }
    }))
}

fn recovered(missed: Vec<(u64, Bytes)>, head: &Head, request: &SubscribeRequest) -> Outcome {
    let publications = missed.into_iter();
    Outcome::Begun {
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

/// Counts the read of a snapshot for this subscription alone, and returns the start with that snapshot.
fn shown(hub: &Hub, why: Reason, head: &Head, data: Bytes, request: &SubscribeRequest) -> Outcome {
    hub.counters.recovery.snapshot_reads.inc_by((!data.is_empty()).into());
    shown_again(hub, why, head, data, request)
}

/// Returns the start with a snapshot whose read is counted elsewhere.
fn shown_again(hub: &Hub, why: Reason, head: &Head, data: Bytes, request: &SubscribeRequest) -> Outcome {
    hub.counters.recovery.snapshot(why);
    Outcome::Begun {
        position: head.seq,
        result: SubscribeResult {
            offset: head.seq,
            data,
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

async fn read_missing(
    backend: &dyn Backend,
    hub: &Hub,
    target: Target<'_>,
    request: &SubscribeRequest,
) -> Result<Missing, Failure> {
    hub.counters.recovery.database_reads.inc();
    let (head, found) = ask(backend, hub, target, target.since(hub, request, false)).await?;
    match found {
        Found::Since { missed, .. } => Ok(Missing { head, missed }),
        _ => Err(backend.failure(Kind::Other)),
    }
}

async fn read_snapshot(backend: &dyn Backend, hub: &Hub, target: Target<'_>) -> Result<Snapshot, Failure> {
    let (head, found) = ask(backend, hub, target, Want::State).await?;
    let Found::State(data) = found else {
        return Err(backend.failure(Kind::Other));
    };
    hub.counters.recovery.snapshot_reads.inc_by((!data.is_empty()).into());
    Ok(Snapshot { head, data })
}

/// Reads data that is the same for all subscribers, so it passes no session.
async fn ask(backend: &dyn Backend, hub: &Hub, target: Target<'_>, want: Want) -> Result<(Head, Found), Failure> {
    let asks = [target.ask(want)];
    let read = backend.read(target.location.log, None, &asks, &**hub).await?;
    match (read.head, read.answers.into_iter().next()) {
        (Some(head), Some(Answer::Granted { found, .. })) => Ok((head, found)),
        _ => Err(backend.failure(Kind::Other)),
    }
}
