//! A client of one node recovers at another.

use super::NEVER;
use crate::faults::Floor;
use crate::faults::screen::Screen;
use crate::harness::TestApp;
use crate::harness::redis::Redis;

#[tokio::test]
async fn a_client_of_one_node_recovers_at_another_exactly_what_it_missed() {
    let redis = Redis::start().await;
    let on_it = |config: &mut liveplan::config::Config| {
        config.redis_url = Some(redis.url());
        config.live.sweep_every = NEVER;
    };
    let one = TestApp::start_with(on_it).await;
    let two = TestApp::node(&one.database, on_it).await;
    let mut floor = Floor::make(&one, 1).await;
    let channel = format!("plan:{}", floor.plan.id);
    let mut screen = Screen::open(&floor.author, one.address, channel).await;
    // The other node has no socket of this gym yet, so it reads everything from the log.
    screen.move_to(two.address);
    one.stop().await;
    floor.author = floor.author.at(two.address);
    for n in 0..5 {
        floor.rename(&format!("Entretanto {n}")).await;
    }
    screen.waits_until("it has recovered", |seen| seen.recovered == 1).await;
    screen.becomes_right(two.address).await;
    assert_eq!(screen.seen().subscribed, 2, "the screen needed a new snapshot");
    two.stop().await;
}
