//! What an account may ask for in a minute, over REST and sockets, on one node and on several.

use std::time::{Duration, Instant};

use diesel_async::SimpleAsyncConnection as _;
use liveplan::auth::Role;
use liveplan::config::Config;
use reqwest::Method;
use serde_json::json;

use crate::follows::kit::Kit;
use crate::harness::metrics::Scrape;
use crate::harness::redis::Redis;
use crate::harness::{Answer, Client, Socket, TestApp, postgres, until};

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Reads until the budget refuses, at most `most` times; returns how often it did not.
async fn reads(who: &Client, most: usize) -> usize {
    for n in 0..most {
        let answer = who.get("/auth/me").await;
        if answer.status == 429 {
            return n;
        }
        answer.ok();
    }
    most
}

/// How many requests a rate allows again in the time since `began`, rounded up.
fn again(per_minute: usize, began: Instant) -> usize {
    usize::try_from(began.elapsed().as_millis()).expect("it fits") * per_minute / 60_000 + 1
}

#[tokio::test]
async fn an_account_over_its_budget_waits_and_others_do_not() {
    let app = TestApp::start_with(|config| (config.budgets.reads, config.budgets.writes) = (12, 12)).await;
    let gym = app.gym().await;
    let (member, other) = (
        app.person(gym, &[Role::Member]).await,
        app.person(gym, &[Role::Member]).await,
    );
    let first = member.get("/auth/me").await;
    assert_eq!(header(&first, "ratelimit-policy"), "\"reads\";q=12;w=60");
    assert_eq!(header(&first, "ratelimit"), "\"reads\";r=11;t=5");
    // One request is allowed again every five seconds.
    assert_eq!(reads(&member, 200).await, 11);
    let refused = member.get("/auth/me").await;
    refused.refused(429, "too_many_requests");
    assert_eq!(header(&refused, "retry-after"), "5");
    assert_eq!(header(&refused, "ratelimit"), "\"reads\";r=0;t=60");
    // In any language, on any route, and before anything is read.
    let spanish = [("Accept-Language", "es")];
    let refused = member.send(Method::GET, "/api/v1/foods?limit=0", None, &spanish).await;
    refused.refused(429, "too_many_requests");
    assert!(
        header(&refused, "ratelimit").contains("\"reads\";r=0"),
        "{:?}",
        refused.headers
    );
    // Another class, another account.
    let write = member.post("/auth/password", &json!({})).await;
    assert_eq!(header(&write, "ratelimit-policy"), "\"writes\";q=12;w=60");
    assert_ne!(write.status, 429);
    other.get("/auth/me").await.ok();
    // Without a token there is no budget.
    let nobody = app.nobody().get("/auth/me").await;
    nobody.refused(401, "unauthenticated");
    assert_eq!(header(&nobody, "ratelimit"), "");
    tokio::time::sleep(Duration::from_millis(5200)).await;
    member.get("/auth/me").await.ok();
    let scrape = Scrape::of(app.metrics).await;
    assert!(scrape.value("budget_refused_total{class=\"reads\"}") >= 3.0);
    assert!(scrape.value("budget_refused_total{class=\"writes\"}") < 1.0);
    app.stop().await;
}

#[tokio::test]
async fn lists_count_in_a_budget_of_their_own_too() {
    let app = TestApp::start_with(|config| config.budgets.expensive = 3).await;
    let author = app.person(app.gym().await, &[Role::Nutritionist]).await;
    let list = author.get("/plans").await;
    let policies: Vec<_> = list.headers.get_all("ratelimit-policy").iter().collect();
    assert_eq!(policies, ["\"reads\";q=3000;w=60", "\"expensive_reads\";q=3;w=60"]);
    for path in ["/foods?q=rice", "/memberships"] {
        assert_ne!(author.get(path).await.status, 429, "{path}");
    }
    for path in [
        "/plans",
        "/foods",
        "/memberships",
        "/assignments",
        "/follows",
        "/progress/daily",
        "/trainer/roster",
        "/plans/00000000-0000-0000-0000-000000000000/revisions",
        "/plans/00000000-0000-0000-0000-000000000000/revisions/1",
    ] {
        author.get(path).await.refused(429, "too_many_requests");
    }
    author.get("/auth/me").await.ok();
    app.stop().await;
}

#[tokio::test]
async fn commands_over_the_budget_of_an_account_get_an_error_and_have_no_effect() {
    let kit = Kit::start_with(|config| config.budgets.commands = 12).await;
    kit.follow(0).await;
    let (mut one, mut two) = (kit.member.socket().await, kit.member.socket().await);
    let tick = |key: &str| {
        let data = json!({"key": key, "meal_id": kit.plan.lunch, "date": kit.today(), "status": "eaten"});
        json!({"method": "meal.complete", "data": data})
    };
    for n in 0..5 {
        assert!(one.call("rpc", tick(&format!("one {n}"))).await["rpc"].is_object());
        assert!(two.call("rpc", tick(&format!("two {n}"))).await["rpc"].is_object());
    }
    // Two connects and ten commands, on two sockets.
    for socket in [&mut one, &mut two] {
        let mut undo = tick("over");
        undo["method"] = "meal.undo".into();
        undo["data"].as_object_mut().expect("an object").remove("status");
        let refused = socket.call("rpc", undo).await;
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["temporary"]),
            (&json!(1429), &json!(true)),
            "{refused}"
        );
        let refused = socket.subscribe("plan:none").await;
        assert_eq!(refused["error"]["code"], 1429, "{refused}");
        // What costs nothing is answered.
        let left = socket.call("unsubscribe", json!({"channel": "plan:none"})).await;
        assert!(left["unsubscribe"].is_object(), "{left}");
    }
    let mut three = Socket::open(kit.app.address).await;
    let refused = three.connect(kit.member.token.as_deref().expect("signed in")).await;
    assert_eq!(refused["error"]["code"], 1429, "{refused}");
    assert_eq!(kit.count("completions").await, 1, "it was undone");
    assert!(
        kit.trainer.socket().await.connected["connect"].is_object(),
        "others are served"
    );
    // After five seconds there is room for one more.
    tokio::time::sleep(Duration::from_millis(5200)).await;
    assert!(one.call("rpc", tick("later")).await["rpc"].is_object());
    kit.app.stop().await;
}

/// Two nodes on one database; with a Redis if there is one.
async fn nodes(redis: Option<&Redis>, adjust: impl Fn(&mut Config)) -> [TestApp; 2] {
    let database = postgres::fresh_database().await;
    let url = redis.map(Redis::url);
    let with = |config: &mut Config| {
        config.redis_url.clone_from(&url);
        adjust(config);
    };
    [
        TestApp::node(&database, with).await,
        TestApp::node(&database, with).await,
    ]
}

/// Reads per minute in the tests with several nodes: a node asks Redis after ten at the latest.
const RATE: usize = 160;
const SHARE: usize = RATE / 16;

fn few(config: &mut Config) {
    config.budgets.reads = u32::try_from(RATE).expect("it fits");
}

#[tokio::test]
async fn nodes_count_together_and_exceed_a_budget_by_at_most_a_share_each() {
    let redis = Redis::start().await;
    let [one, two] = nodes(Some(&redis), few).await;
    let member = one.person(one.gym().await, &[Role::Member]).await;
    let there = member.at(two.address);
    // Both nodes have a connection to Redis, and only what happens from now on counts.
    let failures = async || {
        let of = async |app: &TestApp| Scrape::of(app.metrics).await.value("budget_failures_total");
        of(&one).await + of(&two).await
    };
    for app in [&one, &two] {
        until("Redis has answered", async || {
            reads(&one.person(one.gym().await, &[Role::Member]).await.at(app.address), 1).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            let scrape = Scrape::of(app.metrics).await;
            scrape.value("budget_trips_total") > scrape.value("budget_failures_total")
        })
        .await;
    }
    let before = failures().await;
    let began = Instant::now();
    // In turns, as fast as possible.
    let (mut taken, mut refused) = (0, 0);
    while refused < 20 {
        for who in [&member, &there] {
            match who.get("/auth/me").await.status.as_u16() {
                200 => taken += 1,
                status => {
                    assert_eq!(status, 429);
                    refused += 1;
                }
            }
        }
        assert!(taken < 2 * RATE, "the nodes do not count together");
    }
    let most = RATE + 2 * SHARE + 2 * again(RATE, began);
    // On an overloaded machine Redis may miss its deadline. Then a node counts alone for a second, and what it sent
    // without an answer counts twice.
    let all_answered = failures().await <= before;
    let (least, most) = if all_answered {
        (RATE, most)
    } else {
        (RATE / 2, 2 * RATE)
    };
    assert!((least..=most).contains(&taken), "{taken}, {least} to {most}");
    let late = TestApp::node(&one.database, |config| {
        config.redis_url = Some(redis.url());
        few(config);
    })
    .await;
    let more = reads(&member.at(late.address), RATE).await;
    // It learns what the others know as soon as it has a connection.
    assert!(more < RATE / 2, "{more}");
    let scrape = Scrape::of(one.metrics).await;
    // Many requests, few queries, and fewer that a request waited for.
    let (trips, waits) = (scrape.value("budget_trips_total"), scrape.value("budget_waits_total"));
    println!("{taken} requests on two nodes; on one of them {trips} queries, {waits} requests waited");
    for app in [late, one, two] {
        app.stop().await;
    }
}

#[tokio::test]
async fn without_redis_each_node_counts_for_itself() {
    let [one, two] = nodes(None, few).await;
    let member = one.person(one.gym().await, &[Role::Member]).await;
    for app in [&one, &two] {
        let began = Instant::now();
        let taken = reads(&member.at(app.address), 2 * RATE).await;
        assert!((RATE..=RATE + again(RATE, began)).contains(&taken), "{taken}");
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_redis_that_is_silent_or_gone_delays_nobody_and_nodes_keep_their_budgets() {
    let mut redis = Redis::start().await;
    let [one, two] = nodes(Some(&redis), few).await;
    let member = one.person(one.gym().await, &[Role::Member]).await;
    assert_eq!(reads(&member, 5).await, 5);
    for fault in ["silent", "gone"] {
        if fault == "silent" {
            redis.pause();
        } else {
            redis.kill();
        }
        let who = if fault == "silent" {
            member.clone()
        } else {
            member.at(two.address)
        };
        let (began, mut slowest, mut taken) = (Instant::now(), Duration::ZERO, 0);
        loop {
            let asked = Instant::now();
            let answer = who.get("/auth/me").await;
            slowest = slowest.max(asked.elapsed());
            if answer.status == 429 {
                break;
            }
            answer.ok();
            taken += 1;
            assert!(taken < 2 * RATE, "no budget while Redis is {fault}");
        }
        println!("{taken} reads while Redis is {fault}, the slowest {slowest:?}");
        assert!(
            taken >= RATE - 2 * SHARE && taken <= RATE + again(RATE, began),
            "{taken}"
        );
        // The deadline is 20 ms; the rest is for a loaded machine.
        assert!(slowest < Duration::from_millis(500), "{slowest:?}");
        if fault == "silent" {
            redis.resume();
            let answered = async || {
                let scrape = Scrape::of(one.metrics).await;
                scrape.value("budget_trips_total") - scrape.value("budget_failures_total")
            };
            let before = answered().await;
            until("the node asks Redis again", async || {
                reads(&member, 1).await;
                answered().await > before
            })
            .await;
        }
    }
    assert!(Scrape::of(one.metrics).await.value("budget_failures_total") >= 1.0);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn whoever_writes_to_redis_gives_no_account_more_than_a_node_allows() {
    let redis = Redis::start().await;
    let [one, two] = nodes(Some(&redis), few).await;
    let member = one.person(one.gym().await, &[Role::Member]).await;
    let key = format!("liveplan:budget:{}:reads", member.account);
    let began = Instant::now();
    let mut taken = 0;
    // Forgets what was taken, as often as the node tells it.
    for lie in ["DEL", "0", "garbage", "-1e308", "nan"].iter().cycle() {
        match *lie {
            "DEL" => drop(redis.ask(&["DEL", &key]).await),
            lie => drop(redis.ask(&["SET", &key, lie]).await),
        }
        if member.get("/auth/me").await.status == 429 {
            break;
        }
        taken += 1;
        assert!(taken < 2 * RATE, "Redis gives away requests");
    }
    assert!(taken <= RATE + again(RATE, began), "{taken}");
    // A value of another type is a failure, and so is one that claims too much: no longer than a minute.
    let other = one.person(one.gym().await, &[Role::Member]).await.at(two.address);
    let key = format!("liveplan:budget:{}:reads", other.account);
    redis.ask(&["LPUSH", &key, "x"]).await;
    assert_eq!(reads(&other, 3 * SHARE).await, 3 * SHARE);
    assert!(Scrape::of(two.metrics).await.value("budget_failures_total") >= 1.0);
    let last = one.person(one.gym().await, &[Role::Member]).await;
    let key = format!("liveplan:budget:{}:reads", last.account);
    redis.ask(&["SET", &key, "1e300"]).await;
    let began = Instant::now();
    assert!(
        reads(&last, RATE).await <= SHARE + again(RATE, began),
        "a debt of other nodes counts"
    );
    let refused = last.get("/auth/me").await;
    let wait: u64 = header(&refused, "retry-after").parse().expect("seconds");
    assert!(wait <= 60, "{wait} s");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn expensive_reads_wait_for_each_other_and_delay_nothing_else() {
    let app = TestApp::start_with(|config| config.budgets.expensive_at_once = 1).await;
    let author = app.person(app.gym().await, &[Role::Nutritionist]).await;
    let mut lock = app.owner().await;
    lock.batch_execute("BEGIN; LOCK TABLE plans IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    let slow = tokio::spawn({
        let author = author.clone();
        async move { author.get("/plans").await }
    });
    until("the list waits for the lock", async || {
        app.app.pool.state().connections > app.app.pool.state().idle_connections
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    let refused = author.get("/foods?q=rice").await;
    refused.refused(503, "busy");
    assert_eq!(header(&refused, "retry-after"), "2");
    assert!(
        (1900..3500).contains(&began.elapsed().as_millis()),
        "{:?}",
        began.elapsed()
    );
    author.get("/auth/me").await.ok();
    author.get("/gym").await.ok();
    let waits = tokio::spawn({
        let author = author.clone();
        async move { author.get("/foods?q=rice").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    lock.batch_execute("COMMIT").await.expect("unlocked");
    slow.await.expect("no panic").ok();
    waits.await.expect("no panic").ok();
    app.stop().await;
}

#[tokio::test]
async fn the_history_of_one_meal_is_bounded() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let mut own = kit.own_screen().await;
    let (path, other) = (kit.completion(&kit.plan.lunch), kit.completion(&kit.plan.breakfast));
    let mut changes = 0;
    let refused = loop {
        let answer = if changes % 2 == 0 {
            kit.member.put(&path, &json!({"status": "eaten"})).await
        } else {
            kit.member.delete(&path).await
        };
        if !answer.status.is_success() {
            break answer;
        }
        changes += 1;
        assert!(changes < 300, "it grows without bound");
    };
    refused.refused(409, "conflict");
    assert_eq!(changes, 200);
    for _ in 0..changes {
        own.hears().await;
    }
    // Other meals, and other people's ticks in the same batch, are not affected.
    kit.member.put(&other, &json!({"status": "eaten"})).await.ok();
    let event = own.hears().await;
    assert_eq!(event["type"], "meal.completed");
    own.is_up_to_date(&kit.member).await;
    kit.app.stop().await;
}
