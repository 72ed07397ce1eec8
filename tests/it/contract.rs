//! The contract between the hub and its backend: one suite that runs against the product on Postgres and against the
//! in-memory logs of the conformance mode. Features of only one backend (rights that end, commands) are tested on that
//! one.

mod memory;
mod product;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use liveplan_hub::backend::{
    Answer, Answers, Ask, Backend, Failure, Found, Kind, Language, PresenceChange, Session, Standing, Unrecoverable,
    Want, WhoIsOnline,
};
use liveplan_hub::ids::{LogId, UserId};
use liveplan_hub::log::change::{Bounds, Committed, Head};
use serde_json::Value;

/// A backend under test, with a session that watches a channel. The channel's log has no other channel in use.
trait Subject {
    async fn start() -> Self;

    fn shared(&self) -> Arc<dyn Backend>;

    /// The session's tokens: one that is valid and one that has expired.
    fn tokens(&self) -> (String, String);

    fn channel(&self) -> String;

    /// Makes `count` changes, each with one event on the channel.
    async fn append(&mut self, count: usize);

    /// Deletes the beginning of the log as retention does, after some changes; returns the last number that is gone.
    async fn forget(&mut self) -> u64;

    /// A channel of the same log that the session has no right to.
    fn forbidden(&self) -> Option<String> {
        None
    }

    /// A user, and the channel that shows whether the user is online.
    fn shown(&self) -> Option<(UserId, String)> {
        None
    }

    /// Ends the session's membership.
    async fn suspend(&mut self) -> Option<Standing> {
        None
    }

    /// Makes the backend's storage unreachable.
    async fn take_away(&mut self) -> bool {
        false
    }

    /// The id of a log that does not exist.
    fn unknown(&self) -> Option<LogId> {
        None
    }

    async fn stop(self);
}

/// Reports that nobody is online.
struct Nobody;

impl WhoIsOnline for Nobody {
    fn online(&self, _: LogId) -> HashSet<UserId> {
        HashSet::new()
    }
}

const WIDE: Bounds = Bounds {
    events: 10_000,
    bytes: 1 << 24,
};

async fn session(of: &impl Subject) -> Session {
    let identity = of.shared().authenticate(&of.tokens().0).await.expect("a good token");
    identity.expect("somebody").session
}

/// The channel's log.
async fn log(of: &impl Subject) -> LogId {
    let location = of.shared().locate(&session(of).await, &of.channel());
    location.expect("a channel").log
}

async fn head(of: &impl Subject) -> Head {
    let log = log(of).await;
    let heads = of.shared().heads(&[log]).await.expect("heads");
    heads.get(&log).expect("its head").clone()
}

async fn since(of: &impl Subject, after: u64, limit: u64) -> (Vec<Committed>, Head) {
    let log = log(of).await;
    of.shared().since(log, after, limit).await.expect("changes")
}

fn ask(channel: &str, want: Want) -> Ask {
    Ask {
        channel: channel.into(),
        want,
    }
}

async fn try_read(of: &impl Subject, who: Option<&Session>, asks: &[Ask]) -> Result<Answers, Failure> {
    of.shared().read(log(of).await, who, asks, &Nobody).await
}

async fn read(of: &impl Subject, asks: &[Ask]) -> Answers {
    let session = session(of).await;
    let answers = try_read(of, Some(&session), asks).await.expect("answers");
    assert_eq!(answers.standing, Standing::Good);
    assert_eq!(answers.answers.len(), asks.len());
    answers
}

fn found(answer: Answer) -> Found {
    match answer {
        Answer::Granted { found, .. } => found,
        Answer::Refused => panic!("refused"),
    }
}

/// Returns what one ask about the channel finds, and the head at which it was read.
async fn find(of: &impl Subject, want: Want) -> (Found, Option<Head>) {
    let mut answers = read(of, &[ask(&of.channel(), want)]).await;
    (found(answers.answers.remove(0)), answers.head)
}

type Missed = Result<Vec<(u64, Bytes)>, Unrecoverable>;

async fn missed(of: &impl Subject, epoch: &str, after: u64, bounds: Bounds, or_state: bool) -> (Missed, Option<Bytes>) {
    let want = Want::Since {
        epoch: epoch.to_owned(),
        after,
        bounds,
        or_state,
    };
    match find(of, want).await {
        (Found::Since { missed, state }, Some(_)) => (missed, state),
        other => panic!("{other:?}"),
    }
}

async fn tail(of: &impl Subject, limit: i64) -> Vec<(u64, Bytes)> {
    match find(of, Want::Tail(limit)).await {
        (Found::Tail(tail), Some(_)) => tail,
        other => panic!("{other:?}"),
    }
}

fn offsets(events: &[(u64, Bytes)]) -> Vec<u64> {
    events.iter().map(|(seq, _)| *seq).collect()
}

async fn a_token_names_its_session_and_an_expired_one_differs_from_an_invalid_one(of: &mut impl Subject) {
    let (good, over) = of.tokens();
    let identity = of.shared().authenticate(&good).await.expect("good").expect("somebody");
    for channel in &identity.channels {
        let location = of.shared().locate(&identity.session, channel).expect("a channel");
        assert_eq!(location.log, identity.session.log, "{channel}");
    }
    let again = session(of).await;
    assert_eq!((again.user, again.log), (identity.session.user, identity.session.log));
    for (token, kind) in [(over.as_str(), Kind::TokenExpired), ("forged", Kind::Unauthenticated)] {
        let refused = of.shared().authenticate(token).await.map(|_| ()).expect_err("refused");
        assert_eq!(refused.kind, kind);
    }
}

async fn a_channel_belongs_to_one_log_and_an_invalid_name_to_none(of: &mut impl Subject) {
    let session = session(of).await;
    let locate = |name: &str| of.shared().locate(&session, name);
    let there = locate(&of.channel()).expect("a channel");
    assert_eq!(locate(&of.channel()), Some(there));
    assert_eq!((locate(""), locate("a\nb")), (None, None));
}

async fn a_head_counts_changes_and_keeps_its_epoch(of: &mut impl Subject) {
    let before = head(of).await;
    of.append(3).await;
    let after = head(of).await;
    assert!(!after.epoch.is_empty());
    assert_eq!((after.seq, after.epoch), (before.seq + 3, before.epoch));
    assert!(of.shared().heads(&[]).await.expect("no heads").is_empty());
}

async fn changes_come_in_order_without_gaps_and_within_the_limit(of: &mut impl Subject) {
    let log = log(of).await;
    let (none, empty) = of.shared().since(log, u64::from(u32::MAX), 10).await.expect("changes");
    assert_eq!(none, []);
    of.append(5).await;
    let first = empty.seq + 1;
    let (changes, head) = since(of, empty.seq, 100).await;
    assert_eq!(head.seq, empty.seq + 5);
    let numbers: Vec<_> = changes.iter().map(|c| c.seq).collect();
    assert_eq!(numbers, (first..first + 5).collect::<Vec<_>>());
    for change in &changes {
        assert_eq!((change.log, &change.epoch), (log, &head.epoch));
        let [event] = &change.events[..] else {
            panic!("{change:?}")
        };
        assert_eq!(*event.channel, *of.channel());
        assert!(!event.payload.contains(&b'\n'));
        assert!(serde_json::from_slice::<Value>(&event.payload).is_ok());
    }
    let (some, _) = since(of, first, 2).await;
    assert_eq!(some, changes[1..3]);
    assert_eq!(since(of, head.seq, 2).await, (vec![], head));
}

async fn a_log_that_lost_its_beginning_returns_no_change_in_its_place(of: &mut impl Subject) {
    let gone = of.forget().await;
    let (changes, _) = since(of, gone - 1, 3).await;
    assert_ne!(changes.first().map(|c| c.seq), Some(gone));
    let (changes, _) = since(of, gone, 3).await;
    assert_eq!(changes.first().map(|c| c.seq), Some(gone + 1));
    let head = head(of).await;
    let refused = missed(of, "", gone - 1, WIDE, false).await;
    assert_eq!(refused, (Err(Unrecoverable::Retention), None));
    let (missed, _) = missed(of, "", gone, WIDE, false).await;
    assert_eq!(
        offsets(&missed.expect("all")),
        (gone + 1..=head.seq).collect::<Vec<_>>()
    );
}

async fn a_right_is_read_without_a_position(of: &mut impl Subject) {
    let (found, head) = find(of, Want::Right).await;
    assert!(matches!(found, Found::Nothing), "{found:?}");
    assert_eq!(head, None);
}

async fn a_channels_state_comes_with_the_position_it_was_read_at(of: &mut impl Subject) {
    of.append(2).await;
    let (state, at) = find(of, Want::State).await;
    assert_eq!(at, Some(head(of).await));
    let Found::State(state) = state else {
        panic!("{state:?}")
    };
    // A channel may have no state besides its events.
    assert!(state.is_empty() || serde_json::from_slice::<Value>(&state).is_ok());
}

async fn missed_publications_are_recovered_byte_for_byte(of: &mut impl Subject) {
    let before = head(of).await;
    of.append(3).await;
    let (changes, _) = since(of, before.seq, 10).await;
    let events: Vec<_> = changes.iter().map(|c| (c.seq, c.events[0].payload.clone())).collect();
    for epoch in [&*before.epoch, ""] {
        let (all, state) = missed(of, epoch, before.seq, WIDE, true).await;
        assert_eq!((all.as_ref(), state), (Ok(&events), None));
        let (rest, _) = missed(of, epoch, before.seq + 2, WIDE, false).await;
        assert_eq!(rest.as_deref(), Ok(&events[2..]));
        let (nothing, _) = missed(of, epoch, before.seq + 3, WIDE, false).await;
        assert_eq!(nothing.as_deref(), Ok(&[][..]));
    }
}

async fn an_unrecoverable_position_gives_its_reason_and_a_state_only_if_wanted(of: &mut impl Subject) {
    let before = head(of).await;
    of.append(3).await;
    let (changes, head) = since(of, before.seq, 10).await;
    let bytes = changes.iter().map(|c| c.events[0].payload.len()).sum::<usize>();
    let bounds = |events, bytes| Bounds { events, bytes };
    for (epoch, after, bounds, why) in [
        ("another", before.seq, WIDE, Unrecoverable::Epoch),
        ("another", head.seq + 1, WIDE, Unrecoverable::Epoch),
        ("", head.seq + 1, WIDE, Unrecoverable::Ahead),
        (&*head.epoch, u64::MAX, WIDE, Unrecoverable::Ahead),
        ("", before.seq, bounds(2, bytes), Unrecoverable::Events),
        ("", before.seq, bounds(3, bytes - 1), Unrecoverable::Bytes),
    ] {
        assert_eq!(missed(of, epoch, after, bounds, false).await, (Err(why), None));
        let (error, state) = missed(of, epoch, after, bounds, true).await;
        assert_eq!((error, state.is_some()), (Err(why), true));
    }
    let (all, _) = missed(of, "", before.seq, bounds(3, bytes), false).await;
    assert_eq!(all.map(|all| all.len()), Ok(3));
}

async fn the_last_publications_come_in_order(of: &mut impl Subject) {
    let before = head(of).await.seq;
    of.append(3).await;
    assert_eq!(tail(of, 0).await, []);
    assert_eq!(offsets(&tail(of, 2).await), [before + 2, before + 3]);
    let all = offsets(&tail(of, 1000).await);
    assert_eq!(all.last_chunk(), Some(&[before + 1, before + 2, before + 3]));
    assert!(all.is_sorted());
}

async fn one_read_sees_one_snapshot(of: &mut impl Subject) {
    let before = head(of).await;
    let asks = [
        ask(&of.channel(), Want::Tail(1)),
        ask(
            &of.channel(),
            Want::Since {
                epoch: String::new(),
                after: before.seq,
                bounds: WIDE,
                or_state: false,
            },
        ),
    ];
    let (session, log) = (session(of).await, log(of).await);
    let backend = of.shared();
    let reads = async {
        for _ in 0..20 {
            let answers = backend
                .read(log, Some(&session), &asks, &Nobody)
                .await
                .expect("answers");
            let head = answers.head.expect("a head").seq;
            let mut found = answers.answers.into_iter().map(found);
            let (Some(Found::Tail(tail)), Some(Found::Since { missed, .. })) = (found.next(), found.next()) else {
                panic!("the answers are not in the order of the asks")
            };
            let missed = offsets(&missed.expect("all"));
            assert_eq!(missed, (before.seq + 1..=head).collect::<Vec<_>>());
            if head > before.seq {
                assert_eq!(offsets(&tail), [head]);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(reads, of.append(10));
}

async fn rights_are_checked_per_session_and_not_at_all_without_one(of: &mut impl Subject) {
    let Some(forbidden) = of.forbidden() else { return };
    let asks = [&of.channel(), &forbidden, &of.channel()].map(|channel| ask(channel, Want::Right));
    let answers = read(of, &asks).await.answers;
    let granted: Vec<_> = answers.iter().map(|a| matches!(a, Answer::Granted { .. })).collect();
    assert_eq!(granted, [true, false, true]);
    let all = try_read(of, None, &[ask(&forbidden, Want::State)])
        .await
        .expect("answers");
    assert_eq!(all.standing, Standing::Good);
    assert!(matches!(
        &all.answers[..],
        [Answer::Granted {
            found: Found::State(_),
            ..
        }]
    ));
}

async fn a_session_that_has_ended_gets_only_its_standing(of: &mut impl Subject) {
    let session = session(of).await;
    let Some(standing) = of.suspend().await else { return };
    let asks = [ask(&of.channel(), Want::State)];
    let answers = try_read(of, Some(&session), &asks).await.expect("answers");
    assert_eq!(
        (answers.standing, answers.head, answers.answers.len()),
        (standing, None, 0)
    );
}

async fn an_unknown_log_is_left_out_or_not_found(of: &mut impl Subject) {
    let Some(unknown) = of.unknown() else { return };
    let there = log(of).await;
    let heads = of.shared().heads(&[unknown, there]).await.expect("heads");
    assert_eq!(heads.keys().collect::<Vec<_>>(), [&there]);
    let asks = [ask(&of.channel(), Want::State)];
    let read = of.shared().read(unknown, None, &asks, &Nobody).await.map(|_| ());
    let since = of.shared().since(unknown, 0, 10).await.map(|_| ());
    for failed in [read, since] {
        assert_eq!(failed.map_err(|failure| failure.kind), Err(Kind::NotFound));
    }
}

async fn an_unreachable_backend_reports_unavailable(of: &mut impl Subject) {
    let (session, log) = (session(of).await, log(of).await);
    if !of.take_away().await {
        return;
    }
    let asks = [ask(&of.channel(), Want::Right)];
    let backend = of.shared();
    let heads = backend.heads(&[log]).await.map(|_| ());
    let since = backend.since(log, 0, 10).await.map(|_| ());
    let read = backend.read(log, Some(&session), &asks, &Nobody).await.map(|_| ());
    for failed in [heads, since, read] {
        assert_eq!(failed.map_err(|failure| failure.kind), Err(Kind::Unavailable));
    }
}

async fn a_change_of_presence_is_published_to_the_channels_that_show_it(of: &mut impl Subject) {
    let log = log(of).await;
    assert_eq!(of.shared().seen(log, &[], &[]).await.expect("seen"), []);
    let Some((user, channel)) = of.shown() else { return };
    let before = head(of).await;
    let now = liveplan::clock::Clock::default().now();
    for away_since in [None, Some(now)] {
        let changes = [PresenceChange { user, away_since }];
        let notices = of.shared().seen(log, &[(user, now)], &changes).await.expect("seen");
        let [notice] = &notices[..] else { panic!("{notices:?}") };
        assert_eq!(*notice.channel, *channel);
        assert!(!notice.payload.contains(&b'\n'));
        let event: Value = serde_json::from_slice(&notice.payload).expect("JSON");
        assert_eq!(event["type"], "presence.changed");
    }
    assert_eq!(head(of).await, before, "a change of presence was stored in the log");
}

async fn a_publication_is_stored_byte_for_byte_or_denied(of: &mut impl Subject) {
    let (log, before) = (log(of).await, head(of).await);
    let payload = Bytes::from_static(b"{\"a\": 1.50}");
    let published = of.shared().publish(log, &of.channel(), payload.clone()).await;
    if of.shared().takes_publications() {
        assert!(published.is_ok());
        assert_eq!(tail(of, 1).await, [(before.seq + 1, payload)]);
    } else {
        assert_eq!(published.map_err(|failure| failure.kind), Err(Kind::Denied));
        assert_eq!(head(of).await, before);
    }
}

async fn every_kind_of_failure_has_a_code_and_a_message_in_both_languages(of: &mut impl Subject) {
    let mut codes = HashSet::new();
    for kind in [
        Kind::Unauthenticated,
        Kind::TokenExpired,
        Kind::SessionEnded,
        Kind::Denied,
        Kind::NotFound,
        Kind::Unavailable,
        Kind::Other,
    ] {
        let failure = of.shared().failure(kind);
        assert_eq!(failure.kind, kind);
        let (es, en) = (failure.reply(Language("es")), failure.reply(Language("en")));
        assert_eq!(es.code, en.code);
        assert_ne!(es.message, en.message);
        assert!(codes.insert(en.code), "two kinds share the code of {kind:?}");
        assert!(en.message.contains(": "), "{}", en.message);
    }
}

/// Runs each test against both backends.
macro_rules! holds {
    ($($name:ident)+) => {
        mod over_postgres {
            use super::Subject as _;
            $(#[tokio::test]
            async fn $name() {
                let mut subject = super::product::Product::start().await;
                super::$name(&mut subject).await;
                subject.stop().await;
            })+
        }

        mod in_memory {
            use super::Subject as _;
            $(#[tokio::test]
            async fn $name() {
                let mut subject = super::memory::InMemory::start().await;
                super::$name(&mut subject).await;
                subject.stop().await;
            })+
        }
    };
}

holds! {
    a_token_names_its_session_and_an_expired_one_differs_from_an_invalid_one
    a_channel_belongs_to_one_log_and_an_invalid_name_to_none
    a_head_counts_changes_and_keeps_its_epoch
    changes_come_in_order_without_gaps_and_within_the_limit
    a_log_that_lost_its_beginning_returns_no_change_in_its_place
    a_right_is_read_without_a_position
    a_channels_state_comes_with_the_position_it_was_read_at
    missed_publications_are_recovered_byte_for_byte
    an_unrecoverable_position_gives_its_reason_and_a_state_only_if_wanted
    the_last_publications_come_in_order
    one_read_sees_one_snapshot
    rights_are_checked_per_session_and_not_at_all_without_one
    a_session_that_has_ended_gets_only_its_standing
    an_unknown_log_is_left_out_or_not_found
    an_unreachable_backend_reports_unavailable
    a_change_of_presence_is_published_to_the_channels_that_show_it
    a_publication_is_stored_byte_for_byte_or_denied
    every_kind_of_failure_has_a_code_and_a_message_in_both_languages
}
