//! The fast path through Redis when Redis fails: the node detects the fault, retries for ever and delays nothing else.

use std::time::{Duration, Instant};

use super::{NEVER, Pair, count};
use crate::harness::proxy::Lossy;
use crate::harness::redis::Redis;
use crate::harness::{TestApp, until};

#[tokio::test]
async fn the_probe_finds_a_silently_dead_subscription_and_renews_it() {
    let redis = Redis::start().await;
    let lossy = Lossy::before_redis(redis.port).await;
    let mut pair = Pair::start(&redis.url(), &lossy.url(), NEVER).await;
    pair.edit("Se oye").await;
    pair.shows("Se oye").await;
    // The connection is cut, and the next subscription goes to a wrong channel, although the server confirms it.
    lossy.deafen(true);
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    until("a subscription is ineffective", async || lossy.deafened() > 0).await;
    lossy.deafen(false);
    let failures = count(&pair.heard().probe_failures);
    pair.edit("No se oye").await;
    // The sweep never runs by itself here, so only the probe can have caused this delivery.
    pair.shows("No se oye").await;
    assert!(
        count(&pair.heard().probe_failures) > failures,
        "the probe did not find the dead subscription"
    );
    pair.is_fast_again().await;
    pair.stop().await;
}

#[tokio::test]
async fn a_paused_redis_delays_only_the_fast_path() {
    let redis = Redis::start().await;
    let mut pair = Pair::start(&redis.url(), &redis.url(), Duration::from_secs(1)).await;
    redis.pause();
    for n in 0..5 {
        let title = format!("En pausa {n}");
        let edited = pair.edit(&title).await;
        assert!(edited < Duration::from_secs(1), "the edit took {edited:?}");
        let shown = pair.shows(&title).await;
        assert!(shown < Duration::from_secs(3), "{title} took {shown:?}");
    }
    until("both nodes report the broker as down", async || {
        !pair.one.app.hub.broker_is_up() && !pair.two.app.hub.broker_is_up()
    })
    .await;
    assert!(count(&pair.heard().lost_connections) > 0);
    redis.resume();
    until("the watching node's broker is up again", async || {
        pair.two.app.hub.broker_is_up()
    })
    .await;
    pair.is_fast_again().await;
    until("the publishing node's broker is up again", async || {
        pair.one.app.hub.broker_is_up()
    })
    .await;
    pair.stop().await;
}

#[tokio::test]
async fn a_silent_redis_delays_only_the_fast_path() {
    let redis = Redis::start().await;
    let lossy = Lossy::before_redis(redis.port).await;
    let mut pair = Pair::start(&lossy.url(), &lossy.url(), Duration::from_secs(1)).await;
    lossy.silence(true);
    for n in 0..3 {
        let title = format!("En silencio {n}");
        let edited = pair.edit(&title).await;
        assert!(edited < Duration::from_secs(1), "the edit took {edited:?}");
        let shown = pair.shows(&title).await;
        assert!(shown < Duration::from_secs(3), "{title} took {shown:?}");
    }
    lossy.silence(false);
    until("both nodes' brokers are up again", async || {
        pair.one.app.hub.broker_is_up() && pair.two.app.hub.broker_is_up()
    })
    .await;
    pair.is_fast_again().await;
    pair.stop().await;
}

#[tokio::test]
async fn a_gyms_channel_stays_subscribed_for_a_while_after_its_last_socket() {
    let redis = Redis::start().await;
    let pair = Pair::start(&redis.url(), &redis.url(), Duration::from_millis(200)).await;
    // The publishing node has no socket, so it does not subscribe.
    assert_eq!(redis.listeners(pair.gym.id).await, 1);
    let Pair {
        one,
        two,
        gym,
        author,
        screen,
        channel,
        ..
    } = pair;
    drop(screen);
    let empty = || two.app.hub.counts() == (0, 0);
    until("the socket is gone", async || empty()).await;
    // A socket that returns soon finds the subscription still in place.
    let mut screen = author.at(two.address).socket().await;
    screen.subscribe(&channel).await;
    let counters = &two.app.hub.counters.broker;
    assert_eq!((count(&counters.subscribed), count(&counters.unsubscribed)), (1, 0));
    let dropped = Instant::now();
    drop(screen);
    until("the node unsubscribes", async || count(&counters.unsubscribed) == 1).await;
    assert!(
        dropped.elapsed() > Duration::from_secs(8),
        "the node unsubscribed too early"
    );
    assert_eq!(redis.listeners(gym.id).await, 0);
    two.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_node_starts_without_its_redis_and_connects_when_redis_is_up() {
    let mut redis = Redis::start().await;
    redis.kill();
    let url = redis.url();
    let one = TestApp::start_with(|config| config.redis_url = Some(url.clone())).await;
    let (status, said) = one.readiness().await;
    assert_eq!(status, 200, "a node without its Redis is not ready");
    assert_eq!(said["broker"], false, "readiness does not report the missing broker");
    redis.restart().await;
    until("the broker is up", async || one.app.hub.broker_is_up()).await;
    one.stop().await;
}
