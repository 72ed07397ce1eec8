//! Observing a node: its Prometheus metrics, its log lines about sockets and about security, and the overview that a gym's staff see.

mod lines;
mod overview;
mod security;

use liveplan::auth::Role;
use liveplan_hub::protocol::Codec;
use reqwest::Method;
use serde_json::json;

use crate::faults::Floor;
use crate::harness::metrics::Scrape;
use crate::harness::redis::Redis;
use crate::harness::{BinarySocket, TestApp};

#[tokio::test]
async fn metrics_have_their_own_listener_which_serves_nothing_else() {
    let app = TestApp::start().await;
    let outside = app.nobody().send(Method::GET, "/metrics", None, &[]).await;
    outside.refused(404, "not_found");
    for path in ["/", "/healthz", "/api/v1/gym", "/connection/websocket"] {
        let answer = reqwest::get(format!("http://{}{path}", app.metrics))
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 404, "{path}");
    }
    let scrape = Scrape::of(app.metrics).await;
    let version = format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert!((scrape.value(&version) - 1.0).abs() < f64::EPSILON);
    assert!((scrape.value("database_partition_days_ahead") - 14.0).abs() < f64::EPSILON);
    assert!(scrape.value("database_connections") >= 1.0);
    assert_eq!(scrape.find("redis_up"), None, "a node without Redis shows redis_up");
    app.stop().await;
}

#[tokio::test]
async fn counters_rise_with_sockets_of_both_codecs_and_gauges_return_to_zero() {
    let app = TestApp::start().await;
    let mut floor = Floor::make(&app, 1).await;
    let channel = format!("plan:{}", floor.plan.id);
    let before = Scrape::of(app.metrics).await;
    let token = floor.author.token.clone().expect("signed in");
    let mut json = floor.author.socket().await;
    let mut protobuf = BinarySocket::open(app.address, "", Some(Codec::Protobuf.subprotocol())).await;
    protobuf.connect(&token).await;
    let reply = json.subscribe(&channel).await;
    protobuf.subscribe(&channel).await;
    for title in ["Uno", "Dos"] {
        floor.rename(title).await;
        json.publication(&channel).await;
        protobuf.publication(&channel).await;
    }
    let during = Scrape::until(app.metrics, "sent bytes and a sweep are counted", |s| {
        let more = |name| s.value(name) > before.value(name);
        more("live_sent_bytes_total") && more("live_sweeps_total") && s.value("live_queue_bytes") < 1.0
    })
    .await;
    let rose = |after: &Scrape, name: &str| after.value(name) - before.find(name).unwrap_or(0.0);
    for (name, by) in [
        ("live_sockets{codec=\"json\"}", 1.0),
        ("live_sockets{codec=\"protobuf\"}", 1.0),
        ("live_sockets_opened_total{codec=\"json\"}", 1.0),
        ("live_subscriptions", 2.0),
        ("live_gyms", 1.0),
        ("live_deliveries_total", 4.0),
        ("live_delivery_seconds_count", 4.0),
        ("live_delivery_seconds_bucket{le=\"+Inf\"}", 4.0),
        ("live_snapshots_total{reason=\"fresh\"}", 2.0),
    ] {
        assert!(
            (rose(&during, name) - by).abs() < 0.5,
            "{name} rose by {}",
            rose(&during, name)
        );
    }
    assert!(rose(&during, "live_delivered_bytes_total") > 400.0);
    assert!(
        rose(&during, "live_sent_bytes_total") > rose(&during, "live_delivered_bytes_total"),
        "sent bytes must include replies such as {reply}"
    );
    let took = during.value("live_delivery_seconds_sum") / 4.0;
    assert!(took > 0.0 && took < 1.0, "a delivery took {took} s");

    // One socket closes by itself, one is lost, one is refused.
    json.stream.close(None).await.expect("closed");
    drop(protobuf);
    let mut refused = app.nobody().raw_socket().await;
    refused.send("connect", json!({"token": "none"})).await;
    assert_eq!(refused.closed().await, 3500);
    drop(refused);
    let zero = [
        "live_sockets{codec=\"json\"}",
        "live_sockets{codec=\"protobuf\"}",
        "live_subscriptions",
        "live_gyms",
        "live_queue_bytes",
    ];
    let after = Scrape::until(app.metrics, "the gauges are zero", |s| {
        zero.iter().all(|name| s.value(name) < 0.5)
    })
    .await;
    for code in [1000, 1006, 3500] {
        let name = format!("live_sockets_closed_total{{code=\"{code}\"}}");
        assert!((rose(&after, &name) - 1.0).abs() < 0.5, "{name}: {}", after.text);
    }
    app.stop().await;
}

#[tokio::test]
async fn no_metric_series_belongs_to_one_gym_or_account() {
    let app = TestApp::start().await;
    let mut few = 0;
    for gyms in 1..=2 {
        let mut floor = Floor::make(&app, 2).await;
        let mut socket = floor.trainer.socket().await;
        socket.subscribe(&floor.roster()).await;
        let mut watching = floor.author.socket().await;
        watching.subscribe(&format!("plan:{}", floor.plan.id)).await;
        floor.rename("Uno").await;
        let scrape = Scrape::of(app.metrics).await;
        let series = scrape.names().count();
        let ids = [
            floor.gym.id.to_string(),
            floor.trainer.account.to_string(),
            floor.plan.id.clone(),
        ];
        assert!(ids.iter().all(|id| !scrape.text.contains(id)), "{}", scrape.text);
        let known = ["class", "code", "codec", "how", "le", "of", "path", "reason", "version"];
        assert!(
            scrape.labels().iter().all(|label| known.contains(label)),
            "{:?}",
            scrape.labels()
        );
        if gyms == 1 {
            few = series;
        } else {
            assert!(series <= few + 2, "{series} series of two gyms, {few} of one");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn redis_traffic_is_measured() {
    let redis = Redis::start().await;
    let url = redis.url();
    let one = TestApp::start_with(|config| config.redis_url = Some(url.clone())).await;
    let two = TestApp::node(&one.database, |config| config.redis_url = Some(url.clone())).await;
    let mut floor = Floor::make(&one, 1).await;
    let channel = format!("plan:{}", floor.plan.id);
    let mut screen = floor.author.at(two.address).socket().await;
    screen.subscribe(&channel).await;
    floor.rename("Uno").await;
    screen.publication(&channel).await;
    let made = Scrape::until(one.metrics, "the publication to Redis is counted", |s| {
        s.value("live_publish_seconds_count") >= 1.0 && s.value("redis_probes_total") >= 1.0
    })
    .await;
    assert!((made.value("redis_up") - 1.0).abs() < f64::EPSILON);
    assert!(made.value("redis_trips_total") >= made.value("redis_probes_total") + 1.0);
    assert!(made.value("redis_published_total") >= 1.0);
    let heard = Scrape::until(two.metrics, "it is delivered", |s| {
        s.value("live_deliveries_total") >= 1.0
    })
    .await;
    // Delivery time is not measured across nodes: their clocks differ.
    assert!(heard.value("live_delivery_seconds_count") < 0.5);
    drop(redis);
    let away = |s: &Scrape| s.value("redis_up") < 0.5 && s.value("redis_lost_connections_total") >= 1.0;
    Scrape::until(one.metrics, "the loss of Redis is noticed", away).await;
    two.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_recovery_is_counted_by_its_path() {
    let app = TestApp::start().await;
    let mut floor = Floor::make(&app, 1).await;
    let channel = format!("plan:{}", floor.plan.id);
    let mut stays = app.person(floor.gym, &[Role::Manager]).await.socket().await;
    let position = stays.subscribe(&channel).await["subscribe"].clone();
    floor.rename("Uno").await;
    stays.publication(&channel).await;
    let mut back = floor.author.socket().await;
    let from = json!({"channel": channel, "recover": true, "epoch": position["epoch"], "offset": position["offset"]});
    assert_eq!(back.call("subscribe", from).await["subscribe"]["recovered"], true);
    let scrape = Scrape::of(app.metrics).await;
    assert!((scrape.value("live_recoveries_total{path=\"memory\"}") - 1.0).abs() < 0.5);
    assert!(scrape.value("live_recoveries_total{path=\"database\"}") < 0.5);
    assert!((scrape.value("live_state_reads_total{of=\"snapshot\"}") - 1.0).abs() < 0.5);
    app.stop().await;
}

#[tokio::test]
async fn plan_reads_are_counted_by_their_source() {
    let app = TestApp::start().await;
    let floor = Floor::make(&app, 1).await;
    let before = Scrape::of(app.metrics).await;
    for _ in 0..3 {
        floor.author.get(&format!("/plans/{}", floor.plan.id)).await.ok();
    }
    let after = Scrape::of(app.metrics).await;
    for (path, times) in [("database", 1.0), ("memory", 2.0), ("redis", 0.0)] {
        let name = format!("plan_reads_total{{path=\"{path}\"}}");
        let rose = after.value(&name) - before.value(&name);
        assert!((rose - times).abs() < 0.5, "{name}: {rose}");
    }
    for name in ["plan_version_requests_total", "plan_version_reads_total"] {
        let rose = after.value(name) - before.value(name);
        assert!(
            (rose - 3.0).abs() < 0.5,
            "{name}: sequential requests must not share reads: {rose}"
        );
    }
    let checks = |path| {
        let name = format!("token_checks_total{{path=\"{path}\"}}");
        after.value(&name) - before.value(&name)
    };
    // Setting the floor up has already verified the author's token.
    assert!((checks("memory") - 3.0).abs() < 0.5, "{}", checks("memory"));
    assert!(checks("signature").abs() < 0.5, "{}", checks("signature"));
    assert!(after.value("completions_waiting") < 0.5);
    app.stop().await;
}
