//! Two nodes on a real cluster of three servers; the server of a gym's slot holds its channel and leases.

use std::time::Duration;

use liveplan::config::Config;

use super::{NEVER, Pair};
use crate::harness::cluster::Cluster;
use crate::harness::redis::Program;
use crate::harness::{Gym, TestApp, until};

/// Starts two nodes on a cluster, and a gym on each of its servers.
async fn nodes(cluster: &Cluster, sweep_every: Duration) -> (TestApp, TestApp, [Gym; 3]) {
    let on_it = |config: &mut Config| {
        config.redis_url = Some(cluster.url());
        config.live.sweep_every = sweep_every;
    };
    let one = TestApp::start_with(on_it).await;
    let two = TestApp::node(&one.database, on_it).await;
    let mut gyms = [None; 3];
    while gyms.iter().any(Option::is_none) {
        let gym = one.gym().await;
        gyms[cluster.server_of(gym.id).await] = Some(gym);
    }
    (one, two, gyms.map(|gym| gym.expect("a gym")))
}

async fn changes_cross_a_cluster(program: Program) {
    let cluster = Cluster::start(program).await;
    let (mut one, mut two, gyms) = nodes(&cluster, NEVER).await;
    for gym in gyms {
        let mut pair = Pair::in_gym(one, two, gym).await;
        // The first changes may come otherwise, before the subscription; from here on they come through the cluster.
        pair.is_fast_again().await;
        pair.edit("Cena").await;
        pair.shows("Cena").await;
        Pair { one, two, .. } = pair;
    }
    two.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn changes_cross_a_redis_cluster_whichever_server_holds_the_gym() {
    changes_cross_a_cluster(Program::Redis).await;
}

#[tokio::test]
async fn changes_cross_a_valkey_cluster_whichever_server_holds_the_gym() {
    changes_cross_a_cluster(Program::Valkey).await;
}

#[tokio::test]
async fn a_killed_or_paused_server_delays_only_its_own_gyms() {
    let mut cluster = Cluster::start(Program::Redis).await;
    let (one, two, gyms) = nodes(&cluster, Duration::from_secs(1)).await;
    let mut pair = Pair::in_gym(one, two, gyms[1]).await;
    pair.is_fast_again().await;

    cluster.kill(1);
    pair.edit("Sin servidor").await;
    let took = pair.shows("Sin servidor").await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    let Pair { one, two, .. } = pair;
    let mut other = Pair::in_gym(one, two, gyms[2]).await;
    other.is_fast_again().await;

    cluster.restart(1).await;
    let Pair { one, two, .. } = other;
    let mut pair = Pair::in_gym(one, two, gyms[1]).await;
    pair.is_fast_again().await;

    cluster.pause(1);
    pair.edit("En pausa").await;
    let took = pair.shows("En pausa").await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    cluster.resume(1);
    until("the broker is up again", async || pair.two.app.hub.broker_is_up()).await;
    pair.is_fast_again().await;
    pair.stop().await;
}

#[tokio::test]
async fn a_gym_whose_slot_moves_gets_its_fast_path_back() {
    let cluster = Cluster::start(Program::Redis).await;
    let (one, two, gyms) = nodes(&cluster, Duration::from_secs(1)).await;
    let mut pair = Pair::in_gym(one, two, gyms[0]).await;
    pair.is_fast_again().await;
    cluster.move_slot_of(gyms[0].id).await;
    pair.edit("Mudanza").await;
    let took = pair.shows("Mudanza").await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    pair.is_fast_again().await;
    pair.stop().await;
}
