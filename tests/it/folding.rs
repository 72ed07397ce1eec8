//! Ticks that wait are folded into one transaction and still count as separate commands: each has its own answer, event
//! and number, whatever happens to its neighbours.

mod locked;

use std::time::{Duration, Instant};

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use liveplan::auth::Role;
use liveplan::meals::Queues;
use serde_json::{Value, json};

use crate::follows::kit::{Kit, Screen};
use crate::harness::client::Answer;
use crate::harness::proxy::Cuttable;
use crate::harness::{Client, TestApp, until};

/// A transaction that locks the gym's log head, so that the first batch cannot end and later commands wait.
struct Held(AsyncPgConnection);

impl Held {
    async fn log(kit: &Kit) -> Self {
        let mut conn = kit.app.owner().await;
        let sql = format!(
            "BEGIN; SELECT 1 FROM gym_log_heads WHERE gym_id = '{}' FOR UPDATE",
            kit.gym.id
        );
        conn.batch_execute(&sql).await.expect("held");
        Self(conn)
    }

    async fn follow(kit: &Kit, member: &Client) -> Self {
        let mut conn = kit.app.owner().await;
        let sql = format!(
            "BEGIN; SELECT 1 FROM follows WHERE member_id = '{}' FOR UPDATE",
            member.account
        );
        conn.batch_execute(&sql).await.expect("held");
        Self(conn)
    }

    async fn release(mut self) {
        self.0.batch_execute("COMMIT").await.expect("released");
    }
}

async fn followers(kit: &Kit, count: usize) -> Vec<Client> {
    let mut members = Vec::new();
    for _ in 0..count {
        let member = kit.app.person(kit.gym, &[Role::Member]).await;
        let path = format!("/plans/{}/follow", kit.plan.id);
        member.post(&path, &json!({})).await.ok();
        members.push(member);
    }
    members
}

/// A member's own channel, which the server subscribes at connect.
async fn own_screen(member: &Client) -> Screen {
    let channel = format!("member:{}", member.account);
    let mut socket = member.raw_socket().await;
    let reply = socket.connect(member.token.as_deref().expect("a token")).await;
    let shown = reply["connect"]["subs"][&channel]["data"].clone();
    Screen { socket, channel, shown }
}

async fn until_waiting(kit: &Kit, count: usize) {
    until("the commands wait in the gatherer", async || {
        kit.app.app.part::<Queues>().waiting(kit.gym.id) == count
    })
    .await;
}

async fn until_blocked(kit: &Kit) {
    let blocked = "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    until("a batch waits for the log", async || kit.count(blocked).await == 1).await;
}

fn tick(who: &Client, path: String, body: Value) -> tokio::task::JoinHandle<Answer> {
    let who = who.clone();
    tokio::spawn(async move { who.put(&path, &body).await })
}

/// The kit's member ticks lunch; while that batch is being written, all others tick too and form the next batch.
async fn one_and_then(kit: &Kit, others: &[Client]) -> [Vec<tokio::task::JoinHandle<Answer>>; 2] {
    let held = Held::log(kit).await;
    let (path, eaten) = (kit.completion(&kit.plan.lunch), json!({"status": "eaten"}));
    let first = tick(&kit.member, path.clone(), eaten.clone());
    until_blocked(kit).await;
    let ticks = others.iter().map(|m| tick(m, path.clone(), eaten.clone())).collect();
    until_waiting(kit, others.len()).await;
    held.release().await;
    [vec![first], ticks]
}

#[tokio::test]
async fn waiting_ticks_share_one_transaction_and_each_is_its_own_change() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let members = followers(&kit, 12).await;
    for member in &members {
        kit.app.assign(kit.gym, &kit.trainer, member).await;
    }
    let mut own = own_screen(&members[3]).await;
    let mut roster = kit.roster_screen().await;
    let [first, ticks] = one_and_then(&kit, &members).await;
    for answer in first.into_iter().chain(ticks) {
        assert_eq!(answer.await.expect("an answer").ok()["progress"]["meals_done"], 1);
    }
    // Every row carries the id of the transaction that wrote it (`xmin`).
    let transactions = kit.count("(SELECT DISTINCT xmin::text FROM completions) AS t").await;
    assert_eq!((transactions, kit.count("completions").await), (2, 13));
    let event = own.hears().await;
    assert_eq!(
        (&event["type"], &event["actor"]),
        (&json!("meal.completed"), &json!(members[3].account))
    );
    own.is_up_to_date(&members[3]).await;
    let mut last = 0;
    let mut heard = 0;
    while heard < 13 {
        let (offset, event) = roster.socket.publication(&roster.channel).await;
        if offset == 0 {
            // Changes of presence have offset 0; they are not events.
            continue;
        }
        heard += 1;
        assert!(offset > last, "{offset} after {last}");
        last = offset;
        assert_eq!(event["patch"]["members"].as_object().map(serde_json::Map::len), Some(1));
        liveplan::events::merge::apply(&mut roster.shown, event["patch"].clone());
    }
    roster.is_up_to_date(&kit.trainer).await;
    kit.app.stop().await;
}

#[tokio::test]
async fn a_refused_tick_in_a_batch_affects_no_other() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let members = followers(&kit, 4).await;
    let idle = kit.app.person(kit.gym, &[Role::Member]).await;
    let outsider = kit.app.person(kit.gym, &[Role::Trainer]).await;
    // Simulates a database error that a single row causes.
    kit.sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$")
        .await;
    kit.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON completion_history FOR EACH ROW
         WHEN (new.client_key = 'refuse me') EXECUTE FUNCTION refuse()",
    )
    .await;
    let held = Held::log(&kit).await;
    let (path, eaten) = (kit.completion(&kit.plan.lunch), json!({"status": "eaten"}));
    let first = tick(&kit.member, path.clone(), eaten.clone());
    until_blocked(&kit).await;
    let asked = [
        (&members[0], path.clone(), eaten.clone(), None),
        (
            &members[1],
            kit.completion(&kit.plan.dinner),
            eaten.clone(),
            Some((409, "meal_not_on_day")),
        ),
        (
            &members[2],
            path.clone(),
            json!({"status": "eaten", "key": "refuse me"}),
            Some((500, "internal")),
        ),
        (&idle, path.clone(), eaten.clone(), Some((404, "not_following"))),
        (
            &outsider,
            path.clone(),
            json!({"status": "eaten", "member_id": members[3].account}),
            Some((403, "forbidden")),
        ),
        (
            &members[3],
            path,
            json!({"status": "partial", "portion_permille": 500}),
            None,
        ),
    ];
    let ticks: Vec<_> = asked
        .iter()
        .map(|(who, path, body, _)| tick(who, path.clone(), body.clone()))
        .collect();
    until_waiting(&kit, asked.len()).await;
    held.release().await;
    first.await.expect("an answer").ok();
    for (answer, (_, _, _, refused)) in ticks.into_iter().zip(&asked) {
        let answer = answer.await.expect("an answer");
        match refused {
            Some((status, code)) => answer.refused(*status, code),
            None => drop(answer.ok()),
        }
    }
    assert_eq!(
        (kit.count("completions").await, kit.count("idempotency_keys").await),
        (3, 0)
    );
    kit.app.stop().await;
}

#[tokio::test]
async fn a_tick_takes_five_round_trips() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let proxy = Cuttable::before_postgres(&kit.app.database).await;
    let node = TestApp::node(&proxy.url(&kit.app.database), |config| {
        config.database_pool = 1;
        config.live.sweep_every = Duration::from_hours(1);
    })
    .await;
    let member = kit.member.at(node.address);
    let path = kit.completion(&kit.plan.lunch);
    let mut trips = Vec::new();
    for portion in 1..=16 {
        let before = proxy.trips();
        let part = json!({"status": "partial", "portion_permille": portion});
        member.put(&path, &part).await.ok();
        trips.push(proxy.trips() - before);
    }
    // BEGIN; access and follow; key, rights and day; writes, log and second check; COMMIT. The first ticks also prepare
    // their statements, and on a busy machine one round trip may arrive in two parts.
    assert_eq!(trips.iter().min(), Some(&5), "{trips:?}");
    node.stop().await;
    kit.app.stop().await;
}

#[tokio::test]
async fn a_locked_follow_does_not_delay_the_rest_of_the_gym() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let other = followers(&kit, 1).await.remove(0);
    let mut own = own_screen(&other).await;
    let held = Held::follow(&kit, &kit.member).await;
    let (path, eaten) = (kit.completion(&kit.plan.lunch), json!({"status": "eaten"}));
    let waits = tick(&kit.member, path.clone(), eaten.clone());
    until_blocked(&kit).await;
    other.put(&path, &eaten).await.ok();
    own.hears().await;
    own.is_up_to_date(&other).await;
    assert!(!waits.is_finished());
    held.release().await;
    waits.await.expect("an answer").ok();
    kit.app.stop().await;
}

#[tokio::test]
async fn a_key_used_again_while_its_tick_waits_has_one_effect() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let other = followers(&kit, 1).await.remove(0);
    let held = Held::log(&kit).await;
    let path = kit.completion(&kit.plan.lunch);
    let first = tick(&other, path.clone(), json!({"status": "eaten"}));
    until_blocked(&kit).await;
    let (eaten, skipped) = (
        json!({"status": "eaten", "key": "k"}),
        json!({"status": "skipped", "key": "k"}),
    );
    let said = [&eaten, &eaten, &skipped].map(|body| tick(&kit.member, path.clone(), body.clone()));
    until_waiting(&kit, 3).await;
    held.release().await;
    first.await.expect("an answer").ok();
    let mut answers = Vec::new();
    for answer in said {
        answers.push(answer.await.expect("an answer"));
    }
    // The requests use separate connections, so they may arrive in any order.
    let refused = answers.iter().filter(|a| a.status == 422).count();
    let mut bodies: Vec<_> = answers
        .into_iter()
        .filter(|a| a.status == 200)
        .map(Answer::ok)
        .collect();
    bodies.dedup();
    assert!(
        refused == 1 && bodies.len() == 1 || refused == 2,
        "{refused}, {bodies:?}"
    );
    assert_eq!(kit.count("completion_history WHERE client_key = 'k'").await, 1);
    kit.app.stop().await;
}

#[tokio::test]
async fn a_wide_channel_waits_for_the_next_batch_but_not_when_no_batch_follows() {
    let kit = Kit::start_with(|config| {
        config.live.wide = 1;
        (config.live.wide_wait, config.live.widest_wait) = (Duration::from_secs(20), Duration::from_secs(20));
    })
    .await;
    kit.follow(0).await;
    let members = followers(&kit, 5).await;
    for member in &members {
        kit.app.assign(kit.gym, &kit.trainer, member).await;
    }
    let mut roster = kit.roster_screen().await;
    let [first, ticks] = one_and_then(&kit, &members).await;
    let mut heard = 0;
    let began = Instant::now();
    while heard < 6 {
        let (offset, _) = roster.socket.publication(&roster.channel).await;
        if offset > 0 {
            heard += 1;
            assert_eq!(
                kit.count("completions").await,
                6,
                "the first batch was published before the second was committed"
            );
        }
    }
    for answer in first.into_iter().chain(ticks) {
        answer.await.expect("an answer").ok();
    }
    // No batch follows this tick, so its publication does not wait.
    tick(
        &kit.member,
        kit.completion(&kit.plan.breakfast),
        json!({"status": "eaten"}),
    )
    .await
    .expect("an answer")
    .ok();
    while roster.socket.publication(&roster.channel).await.0 == 0 {}
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    kit.app.stop().await;
}
