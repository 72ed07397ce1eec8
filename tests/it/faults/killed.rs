//! A node is killed while members tick through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::screen::Screen;
use super::{Floor, effects};
use crate::harness::TestApp;
use crate::harness::process::Node;
use crate::harness::redis::Redis;

const MEMBERS: usize = 4;
const TICKS: usize = 40;

#[tokio::test]
async fn a_node_killed_during_ticks_loses_no_acknowledged_tick() {
    let redis = Redis::start().await;
    let maker = TestApp::start().await;
    let floor = Floor::make(&maker, MEMBERS).await;
    let database = maker.database.clone();
    maker.stop().await;
    let mut dies = Node::start(&database, &redis.url()).await;
    let lives = Node::start(&database, &redis.url()).await;

    let mut screens = vec![
        Screen::open(&floor.trainer, dies.address, floor.roster()).await,
        Screen::open(&floor.trainer, lives.address, floor.roster()).await,
    ];
    for member in &floor.members {
        let own = format!("member:{}", member.account);
        screens.push(Screen::open(member, dies.address, own.clone()).await);
        screens.push(Screen::open(&floor.trainer, lives.address, own).await);
    }
    let acknowledged = Arc::<AtomicUsize>::default();
    let ticking: Vec<_> = (0..MEMBERS)
        .map(|member| {
            let ticks: Vec<_> = (1..=TICKS).map(|portion| floor.tick(member, portion)).collect();
            let (nodes, acknowledged) = ([dies.address, lives.address], acknowledged.clone());
            tokio::spawn(async move {
                for (n, tick) in ticks.iter().enumerate() {
                    // Ticks alternate between the nodes; an unanswered tick goes to the other node under the same key.
                    let mut attempt = n;
                    while !tick.send(nodes[attempt % 2]).await {
                        attempt += 1;
                        assert!(attempt < n + 100, "a tick is never acknowledged");
                    }
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                ticks.into_iter().map(|tick| tick.key).collect::<Vec<_>>()
            })
        })
        .collect();
    let some = async {
        while acknowledged.load(Ordering::SeqCst) < MEMBERS * TICKS / 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), some)
        .await
        .expect("ticks");
    dies.kill();
    for screen in &screens {
        screen.move_to(lives.address);
    }
    let at_death = acknowledged.load(Ordering::SeqCst);
    assert!(
        at_death < MEMBERS * TICKS,
        "all {at_death} ticks ended before the node was killed"
    );
    for task in ticking {
        let keys = task.await.expect("no panic");
        assert_eq!(effects(&database, &keys).await, vec![1; keys.len()]);
    }
    for (n, screen) in screens.iter().enumerate() {
        screen.becomes_right(lives.address).await;
        let seen = screen.seen();
        let of_the_dead = n % 2 == 0;
        assert_eq!(
            seen.recovered > 0,
            of_the_dead,
            "{} must recover exactly if its node was killed",
            screen.channel
        );
    }
}
