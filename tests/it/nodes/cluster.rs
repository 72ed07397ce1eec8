//! Two nodes on a real cluster of three servers, where each gym's channel and leases are on the server of its slot.

use std::time::Duration;

use liveplan::config::Config;

use super::{NEVER, Pair};
use crate::harness::cluster::Cluster;
use crate::harness::redis::Program;
use crate::harness::{Gym, TestApp, until};

/// Two nodes on a cluster, and a gym on each of its servers.
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
        // Whatever came before it was subscribed to, this comes through the cluster.
        pair.is_fast_again().await;
        pair.edit("Cena").await;
        pair.shows("Cena").await;
        Pair { one, two, .. } = pair;
    }
    two.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn changes_cross_a_cluster_of_redis_wherever_their_gym_is() {
    changes_cross_a_cluster(Program::Redis).await;
}

#[tokio::test]
async fn changes_cross_a_cluster_of_valkey_wherever_their_gym_is() {
    changes_cross_a_cluster(Program::Valkey).await;
}

#[tokio::test]
async fn a_server_killed_or_paused_delays_its_gyms_and_no_others() {
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
    until("it is back", async || pair.two.app.hub.broker_is_up()).await;
    pair.is_fast_again().await;
    pair.stop().await;
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_gym_along() {
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
