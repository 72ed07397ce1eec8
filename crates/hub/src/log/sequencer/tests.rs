//! A sequencer whose log cannot be read for a while, and access events within a batch.

use std::collections::HashMap;
use std::future::ready;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::Value;

use super::*;
use crate::Hub;
use crate::backend::{Answers, Ask, Fault, Identity, Language, Location, Notice, PresenceChange, Session, WhoIsOnline};
use crate::fanout::subscription::{Recipient, Subscription};
use crate::ids::UserId;
use crate::log::change::access_channel;
use crate::log::waiting;
use crate::protocol::{Codec, ErrorReply};
use crate::session::connection::Connection;
use crate::ws::outbox::Outbox;

/// A log's changes, in a database that can be switched off.
struct Shelf {
    changes: Vec<Committed>,
    away: AtomicBool,
}

#[derive(Debug)]
struct Away;

impl Fault for Away {
    fn reply(&self, _: Language) -> ErrorReply {
        ErrorReply::default()
    }

    fn log(&self) {}
}

impl Shelf {
    fn head(&self) -> Head {
        Head {
            epoch: "e".into(),
            seq: self.changes.last().map_or(0, |c| c.seq),
        }
    }
}

impl Backend for Shelf {
    fn authenticate<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<Option<Identity>, Failure>> {
        ready(Ok(None)).boxed_local()
    }

    fn locate(&self, _: &Session, _: &str) -> Option<Location> {
        None
    }

    fn read<'a>(
        &'a self,
        _: LogId,
        _: Option<&'a Session>,
        _: &'a [Ask],
        _: &'a dyn WhoIsOnline,
    ) -> LocalBoxFuture<'a, Result<Answers, Failure>> {
        ready(Err(self.failure(Kind::Other))).boxed_local()
    }

    fn heads<'a>(&'a self, _: &'a [LogId]) -> BoxFuture<'a, Result<HashMap<LogId, Head>, Failure>> {
        ready(Err(self.failure(Kind::Unavailable))).boxed()
    }

    fn since(&self, _: LogId, after: u64, limit: u64) -> BoxFuture<'_, Result<(Vec<Committed>, Head), Failure>> {
        if self.away.load(Ordering::SeqCst) {
            return ready(Err(self.failure(Kind::Unavailable))).boxed();
        }
        let later = self.changes.iter().filter(|c| c.seq > after && c.seq <= after + limit);
        ready(Ok((later.cloned().collect(), self.head()))).boxed()
    }

    fn seen<'a>(
        &'a self,
        _: LogId,
        _: &'a [(UserId, DateTime<Utc>)],
        _: &'a [PresenceChange],
    ) -> BoxFuture<'a, Result<Vec<Notice>, Failure>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn call<'a>(&'a self, _: &'a Session, _: &'a str, _: Value) -> Option<LocalBoxFuture<'a, Result<String, Failure>>> {
        None
    }

    fn failure(&self, kind: Kind) -> Failure {
        Failure::new(kind, Away)
    }
}

fn change(log: LogId, seq: u64, bytes: usize) -> Committed {
    Committed {
        log,
        epoch: "e".into(),
        seq,
        events: vec![LoggedEvent {
            channel: "a".into(),
            payload: Bytes::from(vec![b' '; bytes]),
        }],
        committed_at: None,
        more_soon: false,
    }
}

/// Returns a sequencer at the beginning of a log of `count` changes with `bytes` each. The log cannot be read yet.
fn scene(count: usize, bytes: usize) -> (Hub, Arc<Shelf>, Arc<SequencedLog>, Sequencer) {
    let id = LogId::random();
    let numbers = 1..=u64::try_from(count).expect("it fits");
    let shelf = Arc::new(Shelf {
        changes: numbers.map(|seq| change(id, seq, bytes)).collect(),
        away: AtomicBool::new(true),
    });
    let hub = Hub::new(
        "test",
        LiveLimits::default(),
        Recovery::default(),
        Arc::new(|| DateTime::UNIX_EPOCH),
        None,
    );
    let log = SequencedLog::new(id, &Recovery::default());
    let head = Head {
        epoch: "e".into(),
        seq: 0,
    };
    log.restart(&head);
    let backend: Arc<dyn Backend> = shelf.clone();
    let sequencer = Sequencer {
        hub: Arc::downgrade(&hub.0),
        backend: Arc::downgrade(&backend),
        handle: Arc::downgrade(&log),
        log: id,
        head,
        known: 0,
        waiting: Waiting::default(),
        fill_at: None,
        failing_since: None,
        doubted: None,
    };
    (hub, shelf, log, sequencer)
}

#[tokio::test]
async fn waiting_changes_are_bounded_while_the_log_cannot_be_read_and_none_is_lost() {
    for (count, bytes) in [(3 * waiting::CHANGES, 0), (100, waiting::BYTES / 10)] {
        let (hub, shelf, log, mut sequencer) = scene(count, bytes);
        // All changes but the first arrive.
        for batch in shelf.changes[1..].chunks(TOGETHER) {
            for change in batch {
                sequencer.take(&hub.0, change.clone());
            }
            sequencer.hand_on(&hub.0).await;
            sequencer.mind_the_hole(&hub.0);
            sequencer.fill(&hub.0).await;
            let size: usize = sequencer.waiting.size();
            assert!(
                sequencer.waiting.len() <= waiting::CHANGES,
                "{}",
                sequencer.waiting.len()
            );
            assert!(size <= waiting::BYTES, "{size} bytes");
        }
        assert_eq!((sequencer.head.seq, sequencer.waiting.first()), (0, Some(2)));
        assert!(
            sequencer.fill_at.is_some_and(|at| at > Instant::now()),
            "the sequencer pauses between attempts"
        );
        shelf.away.store(false, Ordering::SeqCst);
        while sequencer.fill_at.take().is_some() {
            sequencer.fill(&hub.0).await;
        }
        assert_eq!(log.position(), Some(shelf.head()));
        assert_eq!((sequencer.waiting.len(), sequencer.waiting.size()), (0, 0));
    }
}

#[tokio::test]
async fn a_number_far_ahead_is_compared_with_the_log_and_not_believed() {
    for claimed in [1_000_000_000_000_000, u64::MAX] {
        let (hub, shelf, log, mut sequencer) = scene(3, 2);
        shelf.away.store(false, Ordering::SeqCst);
        sequencer.take(&hub.0, change(log.id(), claimed, 2));
        sequencer.hand_on(&hub.0).await;
        sequencer.mind_the_hole(&hub.0);
        assert_eq!(
            sequencer.waiting.len(),
            0,
            "the change must not wait for numbers that will never come"
        );
        assert!(sequencer.fill_at.is_some(), "the log must say how far it goes");
        sequencer.fill(&hub.0).await;
        assert_eq!(log.position(), Some(shelf.head()));
        assert_eq!((sequencer.known, sequencer.fill_at), (3, None));
    }
}

#[tokio::test]
async fn changes_of_an_earlier_epoch_cause_few_sweeps_however_often_they_are_sent() {
    let (hub, _, log, mut sequencer) = scene(3, 2);
    let old = Committed {
        epoch: "before".into(),
        ..change(log.id(), 4, 2)
    };
    let mut sweeps = 0;
    for _ in 0..100 {
        sequencer.take(&hub.0, old.clone());
        sweeps += usize::from(hub.sweep_now.notified().now_or_never().is_some());
    }
    assert_eq!((sweeps, sequencer.waiting.len()), (1, 0));
}

#[tokio::test]
async fn the_inbox_is_bounded_in_bytes_and_accepts_changes_again_once_emptied() {
    let (_hub, shelf, log, _) = scene(20, INBOX_BYTES / 8);
    let mut inbox = log.start.lock().await.take().expect("not started");
    for change in &shelf.changes {
        log.offer(change.clone());
    }
    let mut taken = 0;
    while let Ok(Input::Change(change)) = inbox.try_recv() {
        log.taken(&change);
        taken += 1;
    }
    assert!((8..=9).contains(&taken), "{taken}");
    assert_eq!(log.inbox_bytes.load(Ordering::Relaxed), 0);
    log.offer(shelf.changes[0].clone());
    assert!(inbox.try_recv().is_ok());
}

/// Returns a user's connection that is subscribed to a channel from the beginning of the log.
fn watching(hub: &Hub, log: &Arc<SequencedLog>, user: UserId, channel: &str) -> (Arc<Connection>, Arc<Subscription>) {
    let place = hub.door().enter(None).expect("room");
    let outbox = Outbox::new(1 << 20, None);
    let connection = Connection::new(hub.clone(), Codec::Json, Language("en"), outbox.clone(), &place);
    let session = Session {
        log: log.id(),
        user,
        name: "ana".into(),
        id: uuid::Uuid::nil(),
        expires_at: None,
        claims: Arc::new(()),
    };
    connection.enter(session, log.clone()).expect("entered");
    let to = Recipient {
        number: 1,
        codec: Codec::Json,
        outbox,
        info: Arc::default(),
    };
    let subscription = Subscription::new(channel.into(), false, to);
    let guard = hub.registry().subscribe(log.id(), subscription.clone(), log.clone());
    assert!(connection.keep(guard).is_none());
    assert!(subscription.go_live(0).is_some());
    (connection, subscription)
}

#[tokio::test]
async fn an_access_event_holds_back_later_changes_of_its_batch_and_not_earlier_ones() {
    let (hub, shelf, log, mut sequencer) = scene(3, 2);
    let (ana, ben) = (UserId::random(), UserId::random());
    let (hers, watched) = watching(&hub, &log, ana, "a");
    let (his, _) = watching(&hub, &log, ben, "a");
    for change in &shelf.changes {
        let mut change = change.clone();
        if change.seq == 2 {
            change.events[0].channel = access_channel(ana).into();
        }
        sequencer.take(&hub.0, change);
    }
    sequencer.hand_on(&hub.0).await;
    assert_eq!((hers.traffic().deliveries, his.traffic().deliveries), (1, 2));
    assert!(hers.must_authorise() && !his.must_authorise());
    assert_eq!(watched.certain(hers.doubts()).frames, 1);
    assert_eq!(hers.traffic().deliveries, 2);
}

#[tokio::test]
async fn after_lost_changes_nothing_is_delivered_to_a_subscription_before_it_ends() {
    let (hub, shelf, log, mut sequencer) = scene(3, 2);
    let (hers, watched) = watching(&hub, &log, UserId::random(), "a");
    // The log no longer holds the first two changes: a client that got the third would not notice the loss.
    let head = Head {
        seq: 2,
        ..sequencer.head.clone()
    };
    sequencer.restart_at(&hub.0, head);
    sequencer.take(&hub.0, shelf.changes[2].clone());
    sequencer.hand_on(&hub.0).await;
    assert_eq!(hers.traffic().deliveries, 0);
    assert!(!watched.ended(), "subscriptions end in small batches");
    let began = Instant::now();
    while !watched.ended() {
        assert!(began.elapsed() < Duration::from_secs(5), "it is still open");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(hers.traffic().deliveries, 0);
}
