//! What the fast path does when Redis does not do its part: it finds out, tries for ever, and holds nothing up.

use std::time::{Duration, Instant};

use super::{NEVER, Pair, count};
use crate::harness::proxy::Lossy;
use crate::harness::redis::Redis;
use crate::harness::{TestApp, until};

#[tokio::test]
async fn a_subscription_that_died_silently_is_found_by_the_probe_and_made_anew() {
    let redis = Redis::start().await;
    let lossy = Lossy::before_redis(redis.port).await;
    let mut pair = Pair::start(&redis.url(), &lossy.url(), NEVER).await;
    pair.edit("Se oye").await;
    pair.shows("Se oye").await;
    // The connection is cut, and what it subscribes to next is nothing: the server confirms all the same.
    lossy.deafen(true);
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    until("a subscription leads nowhere", async || lossy.deafened() > 0).await;
    lossy.deafen(false);
    let failures = count(&pair.heard().probe_failures);
    pair.edit("No se oye").await;
    // The sweep never runs by itself: that it arrives at all is the probe's doing.
    pair.shows("No se oye").await;
    assert!(count(&pair.heard().probe_failures) > failures, "the probe found it");
    pair.is_fast_again().await;
    pair.stop().await;
}

#[tokio::test]
async fn a_paused_redis_delays_nothing_but_the_fast_path() {
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
    until("both nodes know", async || {
        !pair.one.app.hub.broker_is_up() && !pair.two.app.hub.broker_is_up()
    })
    .await;
    assert!(count(&pair.heard().lost_connections) > 0);
    redis.resume();
    until("both nodes are back", async || pair.two.app.hub.broker_is_up()).await;
    pair.is_fast_again().await;
    until("the publisher is back", async || pair.one.app.hub.broker_is_up()).await;
    pair.stop().await;
}

#[tokio::test]
async fn a_redis_that_vanishes_without_a_word_delays_nothing_but_the_fast_path() {
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
    until("both nodes are back", async || {
        pair.one.app.hub.broker_is_up() && pair.two.app.hub.broker_is_up()
    })
    .await;
    pair.is_fast_again().await;
    pair.stop().await;
}

#[tokio::test]
async fn a_gyms_channel_is_listened_to_while_there_are_sockets_and_a_while_longer() {
    let redis = Redis::start().await;
    let pair = Pair::start(&redis.url(), &redis.url(), Duration::from_millis(200)).await;
    // The node where the edits are made has no socket.
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
    // Whoever comes back soon finds it as it was.
    let mut screen = author.at(two.address).socket().await;
    screen.subscribe(&channel).await;
    let counters = &two.app.hub.counters.broker;
    assert_eq!((count(&counters.subscribed), count(&counters.unsubscribed)), (1, 0));
    let dropped = Instant::now();
    drop(screen);
    until("nobody listens", async || count(&counters.unsubscribed) == 1).await;
    assert!(dropped.elapsed() > Duration::from_secs(8), "it lingered");
    assert_eq!(redis.listeners(gym.id).await, 0);
    two.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_node_starts_without_its_redis_and_finds_it_when_it_comes() {
    let mut redis = Redis::start().await;
    redis.kill();
    let url = redis.url();
    let one = TestApp::start_with(|config| config.redis_url = Some(url.clone())).await;
    let answer = reqwest::get(format!("http://{}/readyz", one.address))
        .await
        .expect("an answer");
    assert!(answer.status().is_success(), "it serves");
    let said: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(said["broker"], false, "and says what is missing");
    redis.restart().await;
    until("it is found", async || one.app.hub.broker_is_up()).await;
    one.stop().await;
}
