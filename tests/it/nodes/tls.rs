//! Redis over TLS: the nodes reach a server and a cluster, and no server whose certificate is not right.

use super::{NEVER, Pair, count};
use crate::harness::certificates::Authority;
use crate::harness::cluster::Cluster;
use crate::harness::process::Node;
use crate::harness::redis::{Program, Redis};
use crate::harness::{TestApp, free_port, postgres, until};

#[tokio::test]
async fn changes_cross_nodes_through_a_redis_with_tls() {
    let authority = Authority::new();
    let redis = Redis::with_tls(&authority, &["localhost", "127.0.0.1"]).await;
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("rediss://{host}:{}", redis.port);
        let mut pair = Pair::start_with(&url, &url, NEVER, |config| {
            config.redis_ca_file = Some(authority.file());
        })
        .await;
        for title in ["Cena", "Merienda"] {
            pair.edit(title).await;
            pair.shows(title).await;
        }
        assert!(count(&pair.heard().received) > 0);
        pair.stop().await;
    }
}

#[tokio::test]
async fn changes_cross_a_redis_cluster_with_tls() {
    let authority = Authority::new();
    let cluster = Cluster::with_tls(Program::Redis, &authority).await;
    let mut pair = Pair::start_with(&cluster.url(), &cluster.url(), NEVER, |config| {
        config.redis_ca_file = Some(authority.file());
    })
    .await;
    pair.is_fast_again().await;
    pair.stop().await;
}

#[tokio::test]
async fn a_redis_whose_certificate_is_not_right_is_not_used_and_stops_no_node() {
    let (authority, other) = (Authority::new(), Authority::new());
    let redis = Redis::with_tls(&authority, &["localhost"]).await;
    let wrong_name = Redis::with_tls(&authority, &["cache.example"]).await;
    for (what, url, authorities) in [
        (
            "another authority",
            format!("rediss://localhost:{}", redis.port),
            Some(other.file()),
        ),
        (
            "no authority of the system",
            format!("rediss://localhost:{}", redis.port),
            None,
        ),
        (
            "another name",
            format!("rediss://localhost:{}", wrong_name.port),
            Some(authority.file()),
        ),
        (
            "an address that it does not name",
            format!("rediss://127.0.0.1:{}", redis.port),
            Some(authority.file()),
        ),
        ("no TLS", format!("redis://localhost:{}", redis.port), None),
    ] {
        let app = TestApp::start_with(|config| {
            config.redis_url = Some(url);
            config.redis_ca_file = authorities;
        })
        .await;
        let counters = &app.app.hub.counters.broker;
        until("the node has tried twice", async || {
            count(&counters.lost_connections) >= 2
        })
        .await;
        assert!(!app.app.hub.broker_is_up(), "{what}");
        assert_eq!(count(&counters.trips), 0, "{what}");
        let answer = reqwest::get(format!("http://{}/readyz", app.address))
            .await
            .expect("an answer");
        assert!(answer.status().is_success(), "{what}");
        app.stop().await;
    }
}

#[tokio::test]
async fn without_a_file_of_authorities_those_of_the_system_count() {
    let authority = Authority::new();
    let redis = Redis::with_tls(&authority, &["localhost"]).await;
    let url = format!("rediss://localhost:{}", redis.port);
    let system = authority.file();
    let system = system.to_str().expect("a path");
    // The metrics' listener has the details of readiness.
    let details = format!("127.0.0.1:{}", free_port());
    let variables = [
        ("REDIS_URL", url.as_str()),
        ("SSL_CERT_FILE", system),
        ("METRICS_BIND", &details),
    ];
    let _node = Node::with(&postgres::fresh_database().await, &variables).await;
    until("the broker is up", async || {
        let answer = reqwest::get(format!("http://{details}/readyz"))
            .await
            .expect("an answer");
        let said: serde_json::Value = answer.json().await.expect("JSON");
        said["broker"] == true
    })
    .await;
}
