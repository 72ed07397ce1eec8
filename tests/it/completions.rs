//! Ticking meals: a repeated tick has one effect, sums agree with the completions, and screens show them.

use std::time::Duration;

use chrono::TimeDelta;
use liveplan::app::For;
use liveplan::auth::Role;
use liveplan::error::Code;
use liveplan::ids::{AccountId, MealId};
use liveplan::meals::{self, Command, Kind, Source};
use liveplan_nutrition::portion::CompletionStatus as Status;
use rand::RngExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::follows::kit::Kit;
use crate::harness::proxy::Cuttable;
use crate::harness::{Client, TestApp};

/// A FROM clause for the meal events on channels of this kind.
fn events(channel: &str) -> String {
    format!("live_events WHERE type LIKE 'meal.%' AND channel LIKE '{channel}:%'")
}

#[tokio::test]
async fn a_tick_reaches_the_members_and_the_trainers_screens() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let (mut own, mut roster) = (kit.own_screen().await, kit.roster_screen().await);
    let (date, path) = (kit.today().to_string(), kit.completion(&kit.plan.lunch));
    let done = kit.member.put(&path, &json!({"status": "eaten"})).await.ok();
    let completion = &done["completion"];
    assert_eq!(
        (completion["title"].clone(), completion["portion_permille"].clone()),
        (json!("The lunch"), json!(1000))
    );
    assert_eq!(
        (completion["plan_revision"].clone(), completion["on_behalf"].clone()),
        (json!(1), json!(false))
    );
    assert_eq!(done["progress"]["eaten"]["energy_mkcal"], 200_000);
    assert_eq!(done["progress"]["eaten"]["known_permille"]["fibre_mg"], 0);
    assert_eq!(done["progress"]["planned"]["energy_mkcal"], 350_000);
    let event = own.hears().await;
    assert_eq!(
        (event["type"].clone(), event["actor"].clone()),
        (json!("meal.completed"), json!(kit.member.account))
    );
    let entry = &event["patch"]["completions"][&date][&kit.plan.lunch];
    for field in [
        "status",
        "portion_permille",
        "title",
        "plan_revision",
        "on_behalf",
        "at",
    ] {
        assert_eq!(entry[field], completion[field], "{field}");
    }
    assert_eq!(event["patch"]["progress"][&date]["meals_done"], 1);
    own.is_up_to_date(&kit.member).await;
    let event = roster.hears().await;
    let row = &event["patch"]["members"][kit.member.account.to_string()]["progress"][&date];
    assert_eq!(row["eaten"]["protein_mg"], 20_000);
    assert!(
        event["patch"]["members"][kit.member.account.to_string()]
            .get("completions")
            .is_none()
    );
    roster.is_up_to_date(&kit.trainer).await;
    kit.app.stop().await;
}

#[tokio::test]
async fn a_tick_repeated_from_many_devices_makes_one_row_and_has_one_effect() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let path = kit.completion(&kit.plan.breakfast);
    let body = json!({"status": "eaten"});
    let answers = futures_util::future::join_all((0..12).map(|_| kit.member.put(&path, &body))).await;
    let answers: Vec<Value> = answers.into_iter().map(crate::harness::client::Answer::ok).collect();
    assert!(answers.iter().all(|a| *a == answers[0]));
    assert_eq!(kit.member.put(&path, &body).await.ok(), answers[0]);
    for (rows, n) in [("completions", 1), ("completion_history", 1), ("daily_progress", 1)] {
        assert_eq!(kit.count(rows).await, n, "{rows}");
    }
    assert_eq!(
        (kit.count(&events("member")).await, kit.count(&events("roster")).await),
        (1, 1)
    );
    kit.app.stop().await;
}

#[tokio::test]
async fn concurrent_ticks_add_up() {
    let kit = Kit::start().await;
    kit.follow(1).await;
    let mut own = kit.own_screen().await;
    let yesterday = kit.today() - TimeDelta::days(1);
    // Day 2 of the plan is today, day 1 was yesterday.
    let ticks = [
        (
            format!("/meals/{}/completions/{yesterday}", kit.plan.breakfast),
            json!({"status": "eaten"}),
        ),
        (
            format!("/meals/{}/completions/{yesterday}", kit.plan.lunch),
            json!({"status": "partial", "portion_permille": 250}),
        ),
        (kit.completion(&kit.plan.dinner), json!({"status": "skipped"})),
    ];
    let answers = futures_util::future::join_all(ticks.iter().map(|(path, body)| kit.member.put(path, body))).await;
    for answer in answers {
        answer.ok();
    }
    for _ in 0..3 {
        own.hears().await;
    }
    own.is_up_to_date(&kit.member).await;
    let days = kit.member.get(&format!("/progress/daily?from={yesterday}")).await.ok();
    let row = |n: usize| days["items"][n].clone();
    assert_eq!(row(0)["eaten"]["energy_mkcal"], 200_000);
    assert_eq!(
        (row(0)["meals_planned"].clone(), row(0)["meals_done"].clone()),
        (json!(2), json!(2))
    );
    assert_eq!(
        (row(1)["meals_skipped"].clone(), row(1)["eaten"]["energy_mkcal"].clone()),
        (json!(1), json!(0))
    );
    kit.app.stop().await;
}

#[tokio::test]
async fn the_last_tick_wins_and_earlier_ones_stay_in_the_history() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let mut own = kit.own_screen().await;
    let path = kit.completion(&kit.plan.lunch);
    kit.member.put(&path, &json!({"status": "eaten"})).await.ok();
    let for_member = json!({"status": "skipped", "member_id": kit.member.account});
    let done = kit.trainer.put(&path, &for_member).await.ok();
    assert_eq!(
        (
            done["completion"]["status"].clone(),
            done["completion"]["on_behalf"].clone()
        ),
        (json!("skipped"), json!(true))
    );
    assert_eq!(done["progress"]["eaten"]["energy_mkcal"], 0);
    for kind in ["meal.completed", "meal.skipped"] {
        assert_eq!(own.hears().await["type"], kind);
    }
    own.is_up_to_date(&kit.member).await;
    assert_eq!(
        (kit.count("completions").await, kit.count("completion_history").await),
        (1, 2)
    );
    assert_eq!(kit.count("completions WHERE on_behalf").await, 1);
    kit.app.stop().await;
}

#[tokio::test]
async fn an_undone_tick_leaves_no_completion() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let mut own = kit.own_screen().await;
    let path = kit.completion(&kit.plan.lunch);
    kit.member.delete(&path).await.ok();
    assert_eq!(kit.count(&events("member")).await, 0);
    kit.member
        .put(&path, &json!({"status": "partial", "portion_permille": 300}))
        .await
        .ok();
    let undone = kit.member.delete(&path).await.ok();
    assert_eq!(
        (undone.get("completion"), undone["progress"]["meals_done"].clone()),
        (None, json!(0))
    );
    assert_eq!(undone["progress"]["eaten"], json!({}));
    assert_eq!(own.hears().await["type"], "meal.partial");
    assert_eq!(own.hears().await["type"], "meal.undone");
    own.is_up_to_date(&kit.member).await;
    assert_eq!(own.shown["completions"], json!({}));
    assert_eq!(kit.member.delete(&path).await.ok(), undone);
    assert_eq!(
        (kit.count("completions").await, kit.count("completion_history").await),
        (0, 2)
    );
    kit.app.stop().await;
}

#[tokio::test]
async fn a_completion_keeps_its_nutrients_when_plan_and_food_change() {
    let mut kit = Kit::start().await;
    kit.follow(0).await;
    let (breakfast, lunch) = (kit.plan.breakfast.clone(), kit.plan.lunch.clone());
    kit.member
        .put(&kit.completion(&breakfast), &json!({"status": "eaten"}))
        .await
        .ok();
    kit.sql("UPDATE foods SET energy_mkcal = 900000").await;
    let items = json!([{"food_id": kit.food, "grams_milli": 1_000_000}]);
    kit.edit(1, &breakfast, &json!({"title": "Feast", "items": items}))
        .await;
    let done = kit
        .member
        .put(&kit.completion(&lunch), &json!({"status": "eaten"}))
        .await
        .ok();
    // The plan's item keeps the food's nutrients from the time it was written; `planned` is that of the current
    // revision.
    assert_eq!(done["progress"]["eaten"]["energy_mkcal"], 350_000);
    assert_eq!(done["progress"]["planned"]["energy_mkcal"], 9_200_000);
    kit.remove(1, &breakfast).await;
    let half = json!({"status": "partial", "portion_permille": 500});
    let done = kit.member.put(&kit.completion(&breakfast), &half).await.ok();
    assert_eq!(
        (
            done["completion"]["title"].clone(),
            done["completion"]["plan_revision"].clone()
        ),
        (json!("The breakfast"), json!(1))
    );
    assert_eq!(done["progress"]["eaten"]["energy_mkcal"], 275_000);
    assert_eq!(
        (
            done["progress"]["meals_planned"].clone(),
            done["progress"]["meals_done"].clone()
        ),
        (json!(2), json!(2))
    );
    kit.member.delete(&kit.completion(&breakfast)).await.ok();
    kit.member
        .put(&kit.completion(&breakfast), &half)
        .await
        .refused(409, "meal_not_on_day");
    kit.app.stop().await;
}

#[tokio::test]
async fn a_bad_tick_is_refused_with_its_reason() {
    let kit = Kit::start().await;
    let eaten = json!({"status": "eaten"});
    let path = kit.completion(&kit.plan.lunch);
    kit.member.put(&path, &eaten).await.refused(404, "not_following");
    let follow = kit.follow(1).await;
    kit.member.put(&path, &eaten).await.refused(409, "meal_not_on_day");
    kit.member
        .put(&kit.completion(&MealId::new().to_string()), &eaten)
        .await
        .refused(404, "not_found");
    let dinner = &kit.plan.dinner;
    let on = |days: i64| format!("/meals/{dinner}/completions/{}", kit.today() + TimeDelta::days(days));
    kit.member.put(&on(-2), &eaten).await.refused(422, "invalid");
    kit.member.put(&on(2), &eaten).await.refused(422, "invalid");
    kit.member
        .put(&format!("/meals/{dinner}/completions/tomorrow"), &eaten)
        .await
        .refused(404, "not_found");
    for body in [
        json!({"status": "partial"}),
        json!({"status": "partial", "portion_permille": 1000}),
        json!({"status": "eaten", "portion_permille": 0}),
        json!({"status": "skipped", "portion_permille": 5}),
        json!({"status": "eaten", "key": ""}),
    ] {
        kit.member.put(&on(0), &body).await.refused(422, "invalid");
    }
    kit.member
        .put(&on(0), &json!({"status": "swapped"}))
        .await
        .refused(400, "malformed");
    let id = follow["id"].as_str().expect("an id");
    kit.member.post(&format!("/follows/{id}/pause"), &json!({})).await.ok();
    kit.member.put(&on(0), &eaten).await.refused(409, "follow_paused");
    kit.member.delete(&on(0)).await.refused(409, "follow_paused");
    for rows in [
        "completions",
        "completion_history",
        "daily_progress",
        "idempotency_keys",
    ] {
        assert_eq!(kit.count(rows).await, 0, "{rows}");
    }
    kit.app.stop().await;
}

#[tokio::test]
async fn only_a_member_and_their_trainer_may_tick_for_the_member() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let other_gym = kit.app.gym().await;
    let stranger = kit.app.person(other_gym, &[Role::Member]).await;
    let foreign_trainer = kit.app.person(other_gym, &[Role::Trainer]).await;
    let other_member = kit.app.person(kit.gym, &[Role::Member]).await;
    let unassigned = kit.app.person(kit.gym, &[Role::Trainer]).await;
    let manager = kit.app.person(kit.gym, &[Role::Manager]).await;
    let path = kit.completion(&kit.plan.lunch);
    let own = json!({"status": "eaten"});
    let for_member = json!({"status": "eaten", "member_id": kit.member.account});
    let undo = format!("{path}?member={}", kit.member.account);
    kit.app.nobody().put(&path, &own).await.refused(401, "unauthenticated");
    stranger.put(&path, &own).await.refused(404, "not_following");
    for somebody in [&stranger, &foreign_trainer] {
        somebody.put(&path, &for_member).await.refused(404, "not_found");
        somebody.delete(&undo).await.refused(404, "not_found");
    }
    for somebody in [&other_member, &unassigned, &manager, &kit.author] {
        somebody.put(&path, &for_member).await.refused(403, "forbidden");
        somebody.delete(&undo).await.refused(403, "forbidden");
    }
    kit.trainer.put(&path, &own).await.refused(403, "forbidden");
    kit.trainer.put(&path, &for_member).await.ok();
    kit.trainer.delete(&undo).await.ok();
    kit.app.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_is_shared_by_rest_and_the_socket() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let mut socket = kit.member.socket().await;
    let (meal, date) = (kit.plan.lunch.clone(), kit.today());
    let data = json!({"key": "k1", "meal_id": meal, "date": date, "status": "partial", "portion_permille": 400});
    let reply = socket
        .call("rpc", json!({"method": "meal.complete", "data": data}))
        .await;
    let answer = reply["rpc"]["data"].clone();
    assert_eq!(answer["completion"]["portion_permille"], 400, "{reply}");
    let body = json!({"status": "partial", "portion_permille": 400});
    let put = async |body: &Value| {
        let path = format!("/api/v1{}", kit.completion(&meal));
        kit.member
            .send(Method::PUT, &path, Some(body), &[("Idempotency-Key", "k1")])
            .await
    };
    // A later tick does not change the answer stored under the key.
    kit.member
        .put(&kit.completion(&meal), &json!({"status": "eaten"}))
        .await
        .ok();
    let again = put(&body).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.ok(), answer);
    put(&json!({"status": "skipped"})).await.refused(422, "key_reused");
    let undo = json!({"key": "k2", "meal_id": meal, "date": date});
    let reply = socket.call("rpc", json!({"method": "meal.undo", "data": undo})).await;
    assert_eq!(reply["rpc"]["data"]["progress"]["meals_done"], 0, "{reply}");
    let wrong = json!({"meal_id": MealId::new(), "date": date, "status": "eaten"});
    let reply = socket
        .call("rpc", json!({"method": "meal.complete", "data": wrong}))
        .await;
    assert_eq!(reply["error"]["code"], 1404, "{reply}");
    let reply = socket
        .call("rpc", json!({"method": "meal.complete", "data": {"portion": 1}}))
        .await;
    assert_eq!(reply["error"]["code"], 107, "{reply}");
    let mut own = kit.own_screen().await;
    let body = json!({"meal_id": meal, "date": date, "status": "eaten"});
    let alias = kit.member.post("/meals/complete", &body).await.ok();
    assert_eq!(alias["completion"]["status"], "eaten");
    own.hears().await;
    own.is_up_to_date(&kit.member).await;
    assert_eq!(
        kit.count("completion_history WHERE client_key = 'k1' AND source = 'socket'")
            .await,
        1
    );
    kit.app.stop().await;
}

fn command(kit: &Kit, member: AccountId, meal: &str, kind: Kind) -> Command {
    Command {
        kind,
        member,
        meal_id: meal.parse().expect("an id"),
        date: kit.today(),
        key: None,
        actor: member,
        on_behalf: false,
        source: Source::System,
    }
}

#[tokio::test]
async fn a_bad_command_in_a_batch_fails_alone() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let second = kit.app.person(kit.gym, &[Role::Member]).await;
    second
        .post(&format!("/plans/{}/follow", kit.plan.id), &json!({}))
        .await
        .ok();
    let idle = kit.app.person(kit.gym, &[Role::Member]).await;
    let mut own = kit.own_screen().await;
    let eaten = Kind::Complete {
        status: Status::Eaten,
        portion_permille: None,
    };
    let half = Kind::Complete {
        status: Status::Partial,
        portion_permille: Some(500),
    };
    let bad = Kind::Complete {
        status: Status::Partial,
        portion_permille: None,
    };
    let stray = MealId::new().to_string();
    let (one, two) = (kit.member.account, second.account);
    let commands = vec![
        command(&kit, one, &kit.plan.breakfast, eaten),
        command(&kit, one, &kit.plan.dinner, eaten),
        command(&kit, two, &kit.plan.lunch, half),
        command(&kit, idle.account, &kit.plan.lunch, eaten),
        command(&kit, two, &stray, eaten),
        command(&kit, one, &kit.plan.lunch, bad),
        command(&kit, one, &kit.plan.lunch, half),
        command(&kit, one, &kit.plan.breakfast, eaten),
        command(&kit, two, &kit.plan.lunch, Kind::Undo),
    ];
    let (app, gym) = (kit.app.app.clone(), kit.gym.id);
    let change = app.change(For::gym(gym), async move |tx| meals::complete(tx, &commands).await);
    let results = tokio::task::LocalSet::new().run_until(change).await.expect("the batch");
    let codes: Vec<_> = results.iter().map(|r| r.as_ref().err().map(|e| e.code)).collect();
    let expected = [
        None,
        Some(Code::MealNotOnDay),
        None,
        Some(Code::NotFollowing),
        Some(Code::NotFound),
        Some(Code::Invalid),
        None,
        None,
        None,
    ];
    assert_eq!(codes, expected);
    assert_eq!(
        (kit.count("completions").await, kit.count("completion_history").await),
        (2, 4)
    );
    let event = own.hears().await;
    assert_eq!(
        event["patch"]["progress"][kit.today().to_string()]["eaten"]["energy_mkcal"],
        250_000
    );
    own.is_up_to_date(&kit.member).await;
    assert_eq!(kit.count(&events("member")).await, 2);
    let today = second.get("/follows/today").await.ok();
    assert_eq!(today["progress"]["meals_done"], 0);
    kit.app.stop().await;
}

/// Sends a random tick or undo of a meal.
async fn say_something(rng: &mut impl rand::Rng, who: &Client, path: &str, member: AccountId) {
    let body = match rng.random_range(0..4) {
        0 => json!({"status": "eaten", "member_id": member}),
        1 => json!({"status": "skipped", "member_id": member}),
        2 => {
            json!({"status": "partial", "portion_permille": rng.random_range(1..1000), "member_id": member})
        }
        _ => {
            who.delete(&format!("{path}?member={member}")).await.ok();
            return;
        }
    };
    who.put(path, &body).await.ok();
}

#[tokio::test]
async fn after_random_ticks_and_edits_the_daily_row_is_the_sum_of_the_completions_and_screens_show_it() {
    let mut kit = Kit::start().await;
    kit.follow(2).await;
    let (mut own, mut roster) = (kit.own_screen().await, kit.roster_screen().await);
    let mut rng = rand::rng();
    let (member, today) = (kit.member.account, kit.today());
    for round in 0..40 {
        let days_ago = if rng.random_bool(0.5) { 2 } else { 0 };
        let date = today - TimeDelta::days(days_ago);
        let meal = if rng.random_bool(0.5) {
            &kit.plan.breakfast
        } else {
            &kit.plan.lunch
        };
        let path = format!("/meals/{meal}/completions/{date}");
        let who = if rng.random_bool(0.5) {
            &kit.member
        } else {
            &kit.trainer
        };
        say_something(&mut rng, who, &path, member).await;
        if round % 10 == 9 {
            let items = json!([{"food_id": kit.food, "grams_milli": rng.random_range(1..500_000)}]);
            let lunch = kit.plan.lunch.clone();
            kit.edit(1, &lunch, &json!({"items": items})).await;
        }
    }
    for channel in [&mut own, &mut roster] {
        let kind = channel.channel.split(':').next().expect("a kind").to_owned();
        for _ in 0..kit.count(&events(&kind)).await {
            channel.hears().await;
        }
    }
    own.is_up_to_date(&kit.member).await;
    roster.is_up_to_date(&kit.trainer).await;
    let wrong = kit
        .count(
            "daily_progress d JOIN LATERAL (
                 SELECT coalesce(sum(((planned -> 'sums' ->> 'energy_mkcal')::bigint * portion_permille + 500) / 1000), 0) AS energy,
                        count(*) FILTER (WHERE status <> 'skipped') AS done,
                        count(*) FILTER (WHERE status = 'skipped') AS skipped
                 FROM completions c WHERE c.follow_id = d.follow_id AND c.date = d.date) s ON true
             WHERE coalesce((d.eaten ->> 'energy_mkcal')::bigint, 0) <> s.energy
                OR d.meals_done <> s.done OR d.meals_skipped <> s.skipped",
        )
        .await;
    assert_eq!((wrong, kit.count("daily_progress").await), (0, 2));
    kit.app.stop().await;
}

#[tokio::test]
async fn days_too_old_for_screens_are_read_by_rest() {
    let kit = Kit::start().await;
    kit.follow(20).await;
    let (own, roster) = (kit.own_screen().await, kit.roster_screen().await);
    let on = |days: i64| kit.today() - TimeDelta::days(days);
    for days in [20, 4] {
        let path = format!("/meals/{}/completions/{}", kit.plan.breakfast, on(days));
        kit.member.put(&path, &json!({"status": "eaten"})).await.ok();
    }
    assert_eq!(
        (kit.count(&events("member")).await, kit.count(&events("roster")).await),
        (1, 0)
    );
    roster.is_up_to_date(&kit.trainer).await;
    drop(own);
    let days = kit
        .member
        .get(&format!("/progress/daily?from={}&to={}", on(30), on(0)))
        .await
        .ok();
    assert_eq!(days["items"][0]["date"], json!(on(20)));
    assert_eq!(days["items"].as_array().map(Vec::len), Some(2));
    kit.member
        .get(&format!("/progress/daily?from={}", on(400)))
        .await
        .refused(422, "invalid");
    kit.member
        .get(&format!("/progress/daily?from={}&to={}", on(0), on(1)))
        .await
        .refused(422, "invalid");
    kit.app.stop().await;
}

#[tokio::test]
async fn a_tick_over_the_socket_takes_five_round_trips() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let proxy = Cuttable::before_postgres(&kit.app.database).await;
    let counted = TestApp::node(&proxy.url(&kit.app.database), |config| {
        // One connection, so that its statements are prepared after the first ticks, and no sweeps between the ticks.
        config.database_pool = 1;
        config.live.sweep_every = Duration::from_hours(1);
    })
    .await;
    let mut phone = kit.member.at(counted.address).socket().await;
    let channel = format!("member:{}", kit.member.account);
    let mut trips = Vec::new();
    for n in 0..32 {
        let status = ["eaten", "skipped"][n % 2];
        let before = proxy.trips();
        let tick =
            json!({"key": format!("tick {n}"), "meal_id": kit.plan.lunch, "date": kit.today(), "status": status});
        let reply = phone
            .call("rpc", json!({"method": "meal.complete", "data": tick}))
            .await;
        assert!(reply["error"].is_null(), "{reply}");
        trips.push(proxy.trips() - before);
        phone.publication(&channel).await;
    }
    // The first ticks prepare their statements, a change of presence may coincide with one, and on a busy machine one
    // round trip may arrive in two parts. Without pipelining there would be three times as many.
    let least = trips[8..].iter().min();
    assert!(matches!(least, Some(5 | 6)), "{trips:?}");
    counted.stop().await;
    kit.app.stop().await;
}
