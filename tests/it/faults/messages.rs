//! Messages between nodes that are lost.

use super::Floor;
use super::screen::Screen;
use crate::harness::TestApp;
use crate::harness::proxy::Lossy;
use crate::harness::redis::Redis;

#[tokio::test]
async fn the_sweep_finds_messages_that_redis_loses() {
    let redis = Redis::start().await;
    let lossy = Lossy::before_redis(redis.port).await;
    let one = TestApp::start_with(|config| config.redis_url = Some(lossy.url())).await;
    let two = TestApp::node(&one.database, |config| config.redis_url = Some(redis.url())).await;
    let mut floor = Floor::make(&one, 2).await;
    let mut screens = Vec::new();
    for (who, channel) in [
        (&floor.author, format!("plan:{}", floor.plan.id)),
        (&floor.trainer, floor.roster()),
        (&floor.trainer, format!("member:{}", floor.members[0].account)),
        (&floor.members[1], format!("member:{}", floor.members[1].account)),
    ] {
        screens.push(Screen::open(who, two.address, channel).await);
    }
    let mut portion = 0;
    // First all messages, then every other one, so that later ones arrive above holes.
    for (lose_every, changes) in [(1, 3), (2, 8)] {
        let lost = lossy.lost();
        lossy.lose_every(lose_every);
        for change in 0..changes {
            portion += 1;
            assert!(floor.tick(change % 2, portion).send(one.address).await);
            floor.rename(&format!("Plato {portion}")).await;
            if lose_every == 1 {
                for screen in &screens {
                    screen.becomes_right(two.address).await;
                }
            }
        }
        for screen in &screens {
            screen.becomes_right(two.address).await;
        }
        assert!(
            lossy.lost() >= lost + 2 * changes / lose_every,
            "too few messages were lost"
        );
    }
    for screen in &screens {
        assert_eq!(screen.seen().subscribed, 1, "{} needed a new snapshot", screen.channel);
    }
    two.stop().await;
    one.stop().await;
}
