//! A subscription from pending to its end, over an outbox without a stream.

use super::*;
use crate::fanout::encoded::Encoded;

fn subscription(bound: usize) -> (Arc<Outbox>, Arc<Subscription>) {
    let outbox = Outbox::new(bound, None);
    let to = Recipient {
        number: 1,
        codec: Codec::Json,
        outbox: outbox.clone(),
        info: Arc::default(),
    };
    let subscription = Subscription::new("room:x".into(), false, to);
    (outbox, subscription)
}

fn publication(offset: u64) -> Encoded {
    Encoded::publication("room:x", &Bytes::from_static(b"{}"), offset)
}

#[test]
fn a_bundle_goes_out_in_one_write_without_publications_already_sent() {
    let (outbox, subscription) = subscription(10_000);
    assert!(subscription.go_live(5).is_some());
    let bundle = |offsets: std::ops::RangeInclusive<u64>| Bundle::new(offsets.map(publication).collect());
    let one = publication(6).frame(Codec::Json).len();
    assert_eq!(subscription.deliver(&bundle(4..=7)).frames, 2);
    assert_eq!(outbox.waiting_bytes(), 2 * one);
    assert_eq!(subscription.deliver(&bundle(8..=9)).frames, 2);
    assert_eq!(subscription.deliver(&bundle(8..=9)).frames, 0);
    assert_eq!((outbox.waiting_bytes(), outbox.traffic().0), (4 * one, 4));
}

fn deliver(subscription: &Subscription, offset: u64) {
    subscription.deliver(&publication(offset).into());
}

#[test]
fn publications_held_back_during_the_snapshot_follow_it_unless_it_includes_them() {
    let (outbox, subscription) = subscription(10_000);
    for offset in [4, 5, 6] {
        deliver(&subscription, offset);
    }
    assert_eq!(outbox.waiting_bytes(), 0);
    let one = publication(5).frame(Codec::Json).len();
    assert_eq!(
        subscription.go_live(5).map(|h| (h.frames, h.bytes)),
        Some((1, one as u64))
    );
    assert_eq!(outbox.waiting_bytes(), one);
    deliver(&subscription, 6);
    assert_eq!(outbox.waiting_bytes(), one);
    deliver(&subscription, 9);
    assert_eq!(outbox.waiting_bytes(), 2 * one);
}

#[test]
fn a_subscription_that_ended_while_pending_never_goes_live() {
    let (outbox, subscription) = subscription(10_000);
    subscription.revoke();
    assert_eq!(subscription.go_live(1), None);
    deliver(&subscription, 2);
    assert_eq!(outbox.waiting_bytes(), 0);
}

#[test]
fn a_subscription_lost_while_pending_differs_from_a_revoked_one() {
    let (_outbox, lost) = subscription(10_000);
    lost.lose();
    let (_outbox, revoked) = subscription(10_000);
    revoked.revoke();
    revoked.lose();
    assert_eq!((lost.ready(), revoked.ready()), (Ready::Lost, Ready::Revoked));
}

#[test]
fn a_slow_clients_channel_ends_with_an_unsubscribe_push() {
    let (outbox, subscription) = subscription(100);
    assert!(subscription.go_live(0).is_some());
    let mut handed = Handed::default();
    for offset in 1..10 {
        handed.add(subscription.deliver(&publication(offset).into()));
    }
    assert_eq!(handed.lost, 1);
    assert!(handed.frames > 0 && handed.bytes <= 100, "{handed:?}");
    assert!(subscription.ended());
    assert!(outbox.closed().is_none());
    assert!(outbox.waiting_bytes() > 0);
}

/// Takes the waiting frames; returns the offsets of publications and the codes of unsubscribe pushes.
fn heard(outbox: &Outbox) -> (Vec<u64>, Vec<u64>) {
    let (mut offsets, mut codes) = (Vec::new(), Vec::new());
    for frame in outbox.take_waiting() {
        let text = String::from_utf8_lossy(&frame).into_owned();
        let json = &text[text.find('{').expect("JSON")..];
        let message: serde_json::Value = serde_json::from_str(json).expect("JSON");
        offsets.extend(message["push"]["pub"]["offset"].as_u64());
        codes.extend(message["push"]["unsubscribe"]["code"].as_u64());
    }
    (offsets, codes)
}

fn doubt(from: u64, number: u64) -> Doubt {
    Doubt { from, number }
}

#[test]
fn a_doubt_holds_back_publications_from_its_number_on_until_a_check() {
    let (outbox, subscription) = subscription(10_000);
    assert!(subscription.go_live(5).is_some());
    subscription.doubt(doubt(8, 1));
    for offset in [6, 7, 8, 9, 0] {
        deliver(&subscription, offset);
    }
    assert_eq!(heard(&outbox), (vec![6, 7], vec![]));
    assert!(subscription.in_doubt() && subscription.watcher().is_some());
    assert_eq!(subscription.certain(1).frames, 3);
    assert_eq!(heard(&outbox), (vec![8, 9], vec![]));
    deliver(&subscription, 10);
    assert_eq!(heard(&outbox), (vec![10], vec![]));
    assert!(!subscription.in_doubt());
}

#[test]
fn a_bundle_is_split_where_a_doubt_begins() {
    let (outbox, subscription) = subscription(10_000);
    assert!(subscription.go_live(5).is_some());
    subscription.doubt(doubt(7, 1));
    let bundle = Bundle::new((6..=9).map(publication).collect());
    assert_eq!(subscription.deliver(&bundle).frames, 1);
    assert_eq!(heard(&outbox), (vec![6], vec![]));
}

#[test]
fn an_ended_right_discards_the_publications_held_back() {
    let (outbox, subscription) = subscription(10_000);
    assert!(subscription.go_live(5).is_some());
    subscription.doubt(doubt(6, 1));
    deliver(&subscription, 6);
    subscription.revoke();
    assert_eq!(subscription.certain(1), Handed::default());
    deliver(&subscription, 7);
    assert_eq!(heard(&outbox), (vec![], vec![2000]));
}

#[test]
fn the_check_of_an_earlier_doubt_does_not_answer_a_later_one() {
    let (outbox, subscription) = subscription(10_000);
    assert!(subscription.go_live(0).is_some());
    subscription.doubt(doubt(3, 1));
    deliver(&subscription, 3);
    subscription.doubt(doubt(4, 2));
    assert_eq!(subscription.certain(1), Handed::default());
    assert_eq!(heard(&outbox), (vec![], vec![]));
    assert_eq!(subscription.certain(2).frames, 1);
    assert_eq!(heard(&outbox), (vec![3], vec![]));
}

#[test]
fn a_subscription_in_doubt_while_pending_is_sent_publications_up_to_the_doubt() {
    let (outbox, subscription) = subscription(10_000);
    deliver(&subscription, 4);
    subscription.doubt(doubt(6, 1));
    for offset in [5, 6] {
        deliver(&subscription, offset);
    }
    assert_eq!(subscription.go_live(4).map(|handed| handed.frames), Some(1));
    assert_eq!(heard(&outbox), (vec![5], vec![]));
    assert_eq!(subscription.certain(1).frames, 1);
    assert_eq!(heard(&outbox), (vec![6], vec![]));
}

#[test]
fn more_publications_than_may_be_held_back_end_the_subscription() {
    let (outbox, subscription) = subscription(1_000_000);
    assert!(subscription.go_live(0).is_some());
    subscription.doubt(doubt(1, 1));
    for offset in 1..=2000 {
        deliver(&subscription, offset);
    }
    assert_eq!(heard(&outbox), (vec![], vec![]));
    assert_eq!(subscription.certain(1).lost, 1);
    assert_eq!(heard(&outbox), (vec![], vec![2500]));
    assert_eq!(subscription.ready(), Ready::Lost);
}
