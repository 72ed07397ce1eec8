//! The property behind every screen: a snapshot with the later events merged into it equals a fresh snapshot. The merge
//! is done by the web app's own store and reducer on the official SDK, under random changes in random order, with
//! screens that lose the network at random.
//!
//! Each run draws new seeds and prints them. `LIVEPLAN_SEED` replays one; `LIVEPLAN_SEQUENCES` sets the number of
//! sequences.

mod calls;
mod world;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use liveplan::config::Config;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::TestApp;
use crate::sdk::script::{Script, Sdk};
use calls::draw;
use world::{Who, World};

/// Sequences per run.
const SEQUENCES: u64 = 3;
/// Steps per sequence; in each, one to three people act concurrently.
const STEPS: usize = 30;

/// The people with a screen. The manager watches all channels, the member their own, the trainer their roster.
const SCREENS: [Who; 3] = [Who::Manager, Who::Member, Who::Trainer];

/// The screens, which run in Node.
struct Screens {
    script: Script,
    /// Whether each screen has its network.
    online: BTreeMap<Who, bool>,
}

impl Screens {
    async fn open(app: &TestApp, world: &World) -> Self {
        let given = json!({"address": app.address.to_string()});
        let script = Script::start(Sdk::JavaScript, "screens", &given).await;
        let mut screens = Self {
            script,
            online: SCREENS.map(|who| (who, true)).into(),
        };
        for who in SCREENS {
            let channels = match who {
                Who::Manager => world.channels(),
                Who::Trainer => vec![world.channel("roster", who)],
                // The server subscribes a member's sockets.
                _ => Vec::new(),
            };
            let order =
                json!({"order": "open", "screen": name(who), "token": world.who(who).token, "channels": channels});
            screens.order(&order).await;
        }
        screens
    }

    async fn order(&mut self, order: &Value) -> Value {
        self.script.tell(&order.to_string()).await;
        let answer: Value = serde_json::from_str(&self.script.line().await).expect("JSON");
        assert!(
            answer["error"].is_null(),
            "{}",
            answer["error"].as_str().unwrap_or_default()
        );
        answer["ok"].clone()
    }

    /// Takes a screen offline or online.
    async fn switch(&mut self, who: Who, online: bool) {
        let order = if online { "online" } else { "offline" };
        eprintln!("  {who:?} is {order}");
        self.order(&json!({"order": order, "screen": name(who)})).await;
        self.online.insert(who, online);
    }

    /// Asserts that every online screen converges to the latest snapshots.
    async fn show(&mut self, world: &World) {
        for (who, online) in self.online.clone() {
            let mut channels = world.seen.clone();
            match who {
                Who::Manager => {}
                Who::Trainer => channels.retain(|channel, _| *channel == world.channel("roster", who)),
                _ => channels.retain(|channel, _| *channel == world.channel("member", who)),
            }
            if online {
                let order = json!({"order": "shows", "screen": name(who), "channels": channels});
                self.order(&order).await;
            }
        }
    }
}

fn name(who: Who) -> String {
    format!("{who:?}")
}

/// Counts of what happened, so that a run that exercises nothing fails.
#[derive(Debug, Default)]
struct Tally {
    calls: u64,
    accepted: u64,
    applied: u64,
    recoveries: u64,
    fetches: u64,
}

async fn run(app: &TestApp, seed: u64, tally: &mut Tally) {
    eprintln!("LIVEPLAN_SEED={seed}");
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut world = World::new(app).await;
    let mut screens = Screens::open(app, &world).await;
    screens.show(&world).await;
    for _ in 0..STEPS {
        let who = *SCREENS.choose(rng).expect("a screen");
        match (rng.random_range(0..4), screens.online[&who]) {
            (0, true) => screens.switch(who, false).await,
            (0 | 1, false) => screens.switch(who, true).await,
            (1, true) => drop(screens.order(&json!({"order": "cut", "screen": name(who)})).await),
            _ => {}
        }
        act(&mut world, &mut screens, rng, tally).await;
        world.look().await;
        screens.show(&world).await;
    }
    for who in SCREENS
        .into_iter()
        .filter(|who| !screens.online[who])
        .collect::<Vec<_>>()
    {
        screens.switch(who, true).await;
    }
    screens.show(&world).await;
    subscribing_shows_it_too(&world).await;
    let counts = screens.order(&json!({"order": "counts"})).await;
    let count = |what: &str| counts[what].as_u64().expect("a count");
    tally.applied += count("applied");
    tally.recoveries += count("recoveries");
    tally.fetches += count("fetches");
}

/// Lets one to three people act concurrently.
async fn act(world: &mut World, screens: &mut Screens, rng: &mut StdRng, tally: &mut Tally) {
    let calls: Vec<_> = (0..rng.random_range(1..=3)).map(|_| draw(world, rng)).collect();
    let answers = join_all(calls.iter().map(|call| call.make(world))).await;
    for (call, answer) in calls.iter().zip(answers) {
        eprintln!("  {call} {}", answer.status);
        assert!(!answer.status.is_server_error(), "{call}: {}", answer.body);
        tally.calls += 1;
        if !answer.status.is_success() {
            continue;
        }
        tally.accepted += 1;
        if let (true, Some((plan, _))) = (call.path.ends_with("/publish"), world.draft.take()) {
            let order = json!({"order": "watch", "screen": name(Who::Manager), "channel": format!("plan:{plan}")});
            screens.order(&order).await;
            world.plans.push(plan);
        }
    }
}

/// Asserts that a fresh subscription gives the same state as REST.
async fn subscribing_shows_it_too(world: &World) {
    let mut socket = world.who(Who::Manager).socket().await;
    for (channel, fresh) in &world.seen {
        let mut reply = socket.subscribe(channel).await["subscribe"].take();
        assert_eq!((&reply["offset"], &reply["epoch"]), (&fresh["offset"], &fresh["epoch"]));
        let data = reply["data"].as_object_mut().expect("a snapshot");
        data.remove("online");
        data.remove("last_seen");
        if data.contains_key("fetch") {
            assert_eq!(data["url"], format!("/api/v1/live/snapshots/{channel}"));
        } else {
            assert_eq!(reply["data"], fresh["snapshot"], "{channel}");
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|value| value.parse().ok())
}

async fn snapshot_and_events_make_a_new_snapshot(adjust: impl FnOnce(&mut Config)) -> Tally {
    let app = TestApp::start_with(adjust).await;
    let mut tally = Tally::default();
    let seeds = match number("LIVEPLAN_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("LIVEPLAN_SEQUENCES").unwrap_or(SEQUENCES))
            .map(|_| rand::random::<u32>().into())
            .collect(),
    };
    for seed in seeds {
        run(&app, seed, &mut tally).await;
    }
    app.stop().await;
    eprintln!("{tally:?}");
    assert!(tally.accepted * 2 > tally.calls, "most calls were refused: {tally:?}");
    assert!(
        tally.applied * 4 > tally.accepted,
        "too few events reached the screens: {tally:?}"
    );
    tally
}

#[tokio::test]
async fn screens_that_merge_events_equal_a_fresh_snapshot() {
    let tally = snapshot_and_events_make_a_new_snapshot(|_| {}).await;
    assert!(tally.recoveries > 0, "{tally:?}");
}

/// The same with tiny limits: screens fetch snapshots by REST while events wait, and long gaps are not replayed.
#[tokio::test]
async fn screens_that_fetch_large_snapshots_equal_a_fresh_snapshot() {
    let tally = snapshot_and_events_make_a_new_snapshot(|config| {
        config.live.snapshot_bytes = 1_500;
        config.recovery.events = 2;
    })
    .await;
    assert!(tally.fetches > 0, "{tally:?}");
}
