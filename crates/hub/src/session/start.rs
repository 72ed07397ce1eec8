//! What a subscriber is told at the start: what it missed, or all there is. Its right is its own and is checked for it
//! alone; what is read after that is the same for all who may watch, and is read once for those who ask at once.

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

/// What came of reading a channel's state.
pub(crate) enum Outcome {
    Begun { result: SubscribeResult, position: u64 },
    Refused(ErrorReply),
}

/// What a channel shows, and the position that it was read at. The same for all who may watch.
pub(crate) struct Snapshot {
    head: Head,
    data: Bytes,
}

/// What a channel got since a position, or why that cannot be had. The same for all who may watch.
pub(crate) struct Missing {
    head: Head,
    missed: Result<Vec<(u64, Bytes)>, Unrecoverable>,
}

/// A channel of a log.
pub(crate) type Watched = (LogId, Arc<str>);
/// A channel of a log, and a position: epoch and offset.
pub(crate) type Since = (LogId, Arc<str>, Arc<str>, u64);

/// What a subscriber may be given of reads that others make. Taken once it is registered: see [`single_flight`](crate::log::single_flight).
pub(crate) struct Tickets {
    snapshot: Ticket<Watched, Snapshot>,
    missing: Option<Ticket<Since, Missing>>,
}

/// A channel that is subscribed to: where it is, and the sequencer that feeds its subscribers.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub location: Location,
    pub channel: &'a Arc<str>,
    pub log: &'a SequencedLog,
}

impl Target<'_> {
    /// What a recovery may cost: the node's bounds, and the channel's own where it has one.
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

    /// What was missed, where this node remembers it.
    fn recall(&self, hub: &Hub, request: &SubscribeRequest) -> Option<Result<Recovered, Unrecoverable>> {
        let bounds = self.bounds(hub);
        let recalled = self.log.recall(self.channel, &request.epoch, request.offset, bounds)?;
        let head = recalled.head;
        let complete = recalled.missed.complete();
        hub.counters.recovery.memory.inc_by(complete.is_ok().into());
        Some(complete.map(|events| Recovered { events, head }))
    }
}

/// What was missed, and up to where that is.
struct Recovered {
    events: Vec<(u64, Bytes)>,
    head: Head,
}

impl Tickets {
    /// For a subscription that is registered.
    pub fn take(hub: &Hub, target: Target, request: &SubscribeRequest) -> Self {
        let (log, channel) = (target.location.log, target.channel);
        let since = || (log, channel.clone(), request.epoch.as_str().into(), request.offset);
        Self {
            snapshot: hub.snapshots.ticket((log, channel.clone())),
            missing: request.recover.then(|| hub.missing.ticket(since())),
        }
    }
}

/// Notes for how long a right lasts; returns what was found, none where there is no right.
pub(crate) fn granted(connection: &Connection, answer: Answer) -> Option<Found> {
    match answer {
        Answer::Refused => None,
        Answer::Granted { lasts, found } => {
            if let Some(lasts) = lasts {
                connection.authorise_at(Instant::now() + lasts + Duration::from_millis(1));
            }
            Some(found)
        }
    }
}

/// A channel that is the session's own, so that few others could share its state: it is asked for together with the right.
pub(crate) enum Own {
    /// From memory, where the right holds.
    Recalled { missed: Vec<(u64, Bytes)>, head: Head },
    /// From the backend; why what it shows was asked for, if it was.
    Asked(Reason),
    /// It cannot be recovered, and the client wants nothing else.
    Unrecoverable,
}

/// What to ask for an own channel, before the read; with what this node remembers of it.
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

/// What came of it.
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

/// The state of a channel for a subscription that is registered and was authorised: what it missed, from memory or from the
/// backend, or all there is. Read with others who ask for the same.
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

/// What was missed, or why a snapshot is needed.
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

/// What a channel shows, read for this subscription.
fn shown(hub: &Hub, why: Reason, head: &Head, data: Bytes, request: &SubscribeRequest) -> Outcome {
    hub.counters.recovery.snapshot_reads.inc_by((!data.is_empty()).into());
    shown_again(hub, why, head, data, request)
}

/// What a channel shows, read for this subscription or for another.
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

/// Asks for what all who may watch share.
async fn ask(backend: &dyn Backend, hub: &Hub, target: Target<'_>, want: Want) -> Result<(Head, Found), Failure> {
    let asks = [target.ask(want)];
    let read = backend.read(target.location.log, None, &asks, &**hub).await?;
    match (read.head, read.answers.into_iter().next()) {
        (Some(head), Some(Answer::Granted { found, .. })) => Ok((head, found)),
        _ => Err(backend.failure(Kind::Other)),
    }
}
