//! Following a plan: who may follow, the day that a follow gives, and the screens that show it.

mod ending;
pub mod kit;

use chrono::TimeDelta;
use liveplan::auth::Role;
use serde_json::{Value, json};

use crate::harness::Client;
use kit::{Kit, Screen, draft, publish};

#[tokio::test]
async fn each_step_of_a_follow_reaches_the_members_and_the_trainers_screens() {
    let kit = Kit::start().await;
    let (mut own, mut roster) = (kit.own_screen().await, kit.roster_screen().await);
    let follow = kit.follow(0).await;
    assert_eq!(
        (follow["plan_name"].clone(), follow["status"].clone()),
        (json!("Base"), json!("active"))
    );
    assert_eq!(
        (follow["time_zone"].clone(), follow["revision"].clone()),
        (json!("Europe/Madrid"), json!(1))
    );
    let id = follow["id"].as_str().expect("an id");
    assert_eq!(own.hears().await["type"], "follow.started");
    assert_eq!(own.shown["follow"], follow);
    assert_eq!(roster.hears().await["type"], "follow.started");
    assert_eq!(
        roster.shown["members"][kit.member.account.to_string()]["follow"],
        follow
    );
    kit.member
        .put(&kit.completion(&kit.plan.breakfast), &json!({"status": "eaten"}))
        .await
        .ok();
    own.hears().await;
    roster.hears().await;
    for (action, kind) in [
        ("pause", "follow.paused"),
        ("resume", "follow.resumed"),
        ("abandon", "follow.abandoned"),
    ] {
        kit.member
            .post(&format!("/follows/{id}/{action}"), &json!({}))
            .await
            .ok();
        assert_eq!(own.hears().await["type"], kind);
        own.is_up_to_date(&kit.member).await;
        assert_eq!(roster.hears().await["type"], kind);
        roster.is_up_to_date(&kit.trainer).await;
    }
    assert_eq!(own.shown, json!({"completions": {}, "progress": {}}));
    let again = kit.member.post(&format!("/follows/{id}/resume"), &json!({})).await;
    again.refused(409, "follow_status");
    kit.app.stop().await;
}

#[tokio::test]
async fn of_two_concurrent_follows_one_starts() {
    let kit = Kit::start().await;
    let path = format!("/plans/{}/follow", kit.plan.id);
    let body = json!({});
    let (one, two) = tokio::join!(kit.member.post(&path, &body), kit.member.post(&path, &body));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    kit.member.post(&path, &body).await.refused(409, "already_following");
    let list = kit.member.get("/follows").await.ok();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    kit.app.stop().await;
}

#[tokio::test]
async fn a_retry_with_its_key_gets_the_first_answer() {
    let kit = Kit::start().await;
    let path = format!("/api/v1/plans/{}/follow", kit.plan.id);
    let headers = [("Idempotency-Key", "one")];
    let follow = async || {
        kit.member
            .send(reqwest::Method::POST, &path, Some(&json!({})), &headers)
            .await
    };
    let (first, second) = (follow().await, follow().await);
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_eq!(first.body, second.body);
    assert!(second.headers.contains_key("idempotency-replayed"));
    kit.app.stop().await;
}

#[tokio::test]
async fn only_a_published_plan_with_a_valid_start_date_and_time_zone_can_be_followed() {
    let kit = Kit::start().await;
    let both = kit.app.person(kit.gym, &[Role::Nutritionist, Role::Member]).await;
    let (draft, _) = draft(&both, &json!({})).await;
    let refused = both.post(&format!("/plans/{draft}/follow"), &json!({})).await;
    refused.refused(409, "plan_not_published");
    let path = format!("/plans/{}/follow", kit.plan.id);
    for body in [
        json!({"time_zone": "Mars/Olympus"}),
        json!({"start_date": kit.today() - TimeDelta::days(33)}),
        json!({"start_date": kit.today() + TimeDelta::days(368)}),
        json!({"start_date": "9999-12-31"}),
    ] {
        both.post(&path, &body).await.refused(422, "invalid");
    }
    both.post(&path, &json!({"zone": "UTC"}))
        .await
        .refused(400, "malformed");
    let follow = both.post(&path, &json!({"time_zone": "Pacific/Auckland"})).await.ok();
    assert_eq!(follow["time_zone"], "Pacific/Auckland");
    kit.app.stop().await;
}

#[tokio::test]
async fn a_live_plan_starts_on_the_same_day_for_all() {
    let kit = Kit::start().await;
    let start = kit.today() - TimeDelta::days(40);
    let fields = json!({"kind": "live", "start_date": start, "duration_days": 84});
    let plan = publish(&kit.author, kit.food, &fields).await;
    let path = format!("/plans/{}/follow", plan.id);
    kit.member
        .post(&path, &json!({"start_date": kit.today()}))
        .await
        .refused(422, "invalid");
    assert_eq!(
        kit.member.post(&path, &json!({})).await.ok()["start_date"],
        json!(start)
    );
    assert_eq!(kit.member.get("/follows/today").await.ok()["day"], 41);
    kit.app.stop().await;
}

#[tokio::test]
async fn only_a_member_and_their_trainer_may_start_and_pause_a_follow() {
    let kit = Kit::start().await;
    let other_gym = kit.app.gym().await;
    let stranger = kit.app.person(other_gym, &[Role::Member]).await;
    let other_member = kit.app.person(kit.gym, &[Role::Member]).await;
    let unassigned = kit.app.person(kit.gym, &[Role::Trainer]).await;
    let manager = kit.app.person(kit.gym, &[Role::Manager]).await;
    let path = format!("/plans/{}/follow", kit.plan.id);
    let own = json!({});
    let for_member = json!({"member_id": kit.member.account});
    let for_stranger = json!({"member_id": stranger.account});
    kit.app.nobody().post(&path, &own).await.refused(401, "unauthenticated");
    stranger.post(&path, &own).await.refused(404, "not_found");
    kit.trainer.post(&path, &own).await.refused(403, "forbidden");
    kit.trainer.post(&path, &for_stranger).await.refused(404, "not_found");
    for somebody in [&other_member, &unassigned, &manager, &kit.author] {
        somebody.post(&path, &for_member).await.refused(403, "forbidden");
    }
    let follow = kit.trainer.post(&path, &for_member).await.ok();
    assert_eq!(follow["member_id"], json!(kit.member.account));
    let pause = format!("/follows/{}/pause", follow["id"].as_str().expect("an id"));
    stranger.post(&pause, &own).await.refused(404, "not_found");
    for somebody in [&other_member, &unassigned, &manager, &kit.author] {
        somebody.post(&pause, &own).await.refused(403, "forbidden");
    }
    kit.trainer.post(&pause, &own).await.ok();
    for read in ["/follows", "/follows/today", "/progress/daily"] {
        let path = format!("{read}?member={}", kit.member.account);
        kit.app.nobody().get(&path).await.refused(401, "unauthenticated");
        stranger.get(&path).await.refused(404, "not_found");
        for somebody in [&other_member, &unassigned] {
            somebody.get(&path).await.refused(403, "forbidden");
        }
        for somebody in [&kit.member, &kit.trainer, &manager, &kit.author] {
            somebody.get(&path).await.ok();
        }
    }
    kit.app.stop().await;
}

#[tokio::test]
async fn a_follow_that_a_trainer_starts_lets_the_member_read_the_plan() {
    let kit = Kit::start().await;
    let plan = publish(&kit.trainer, kit.food, &json!({"visibility": "assigned"})).await;
    let path = format!("/plans/{}/follow", plan.id);
    kit.member.post(&path, &json!({})).await.refused(403, "forbidden");
    let follow = kit
        .trainer
        .post(&path, &json!({"member_id": kit.member.account}))
        .await
        .ok();
    kit.member.get(&format!("/plans/{}", plan.id)).await.ok();
    let mut screen = Screen::open(&kit.member, format!("plan:{}", plan.id)).await;
    let abandon = format!("/follows/{}/abandon", follow["id"].as_str().expect("an id"));
    kit.member.post(&abandon, &json!({})).await.ok();
    let channel = screen.channel.clone();
    assert_eq!(screen.socket.unsubscribed(&channel).await, 2000);
    kit.member
        .get(&format!("/plans/{}", plan.id))
        .await
        .refused(403, "forbidden");
    kit.app.stop().await;
}

#[tokio::test]
async fn today_is_the_plans_day_with_its_meals() {
    let mut kit = Kit::start().await;
    kit.member.get("/follows/today").await.refused(404, "not_following");
    kit.follow(2).await;
    let today = kit.member.get("/follows/today").await.ok();
    assert_eq!(
        (today["day"].clone(), today["date"].clone()),
        (json!(1), json!(kit.today()))
    );
    let meals = today["meals"].as_array().expect("meals");
    assert_eq!(meals.iter().map(|m| &m["status"]).collect::<Vec<_>>(), ["open", "open"]);
    assert_eq!(meals[0]["items"][0]["name_es"], "Arroz");
    assert_eq!(meals[0]["nutrients"]["energy_mkcal"], 150_000);
    assert_eq!(today["progress"]["planned"]["energy_mkcal"], 350_000);
    assert_eq!(
        (
            today["progress"]["meals_planned"].clone(),
            today["progress"]["meals_done"].clone()
        ),
        (json!(2), json!(0))
    );
    let day = async |days: i64| {
        let date = kit.today() + TimeDelta::days(days);
        kit.member.get(&format!("/follows/today?date={date}")).await.ok()
    };
    assert_eq!(day(1).await["meals"][0]["title"], "The dinner");
    let before = day(-3).await;
    assert_eq!((before.get("day"), before["meals"].clone()), (None, json!([])));
    kit.member
        .get("/follows/today?date=9999-01-01")
        .await
        .refused(422, "invalid");
    let breakfast = kit.plan.breakfast.clone();
    kit.member
        .put(
            &kit.completion(&breakfast),
            &json!({"status": "partial", "portion_permille": 500}),
        )
        .await
        .ok();
    let items = json!([{"food_id": kit.food, "grams_milli": 400_000}]);
    kit.edit(1, &breakfast, &json!({"title": "Brunch", "items": items}))
        .await;
    let lunch = kit.plan.lunch.clone();
    kit.remove(1, &lunch).await;
    let today = kit.member.get("/follows/today").await.ok();
    let meal = &today["meals"][0];
    assert_eq!(
        (meal["title"].clone(), meal["changed"].clone()),
        (json!("The breakfast"), json!(true))
    );
    assert_eq!(
        (meal["status"].clone(), meal["portion_permille"].clone()),
        (json!("partial"), json!(500))
    );
    assert_eq!(meal["nutrients"]["energy_mkcal"], 150_000);
    assert_eq!(today["meals"].as_array().map(Vec::len), Some(1));
    assert_eq!(today["revision"], 3);
    kit.app.stop().await;
}

#[tokio::test]
async fn only_its_trainer_and_managers_read_a_roster() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let manager = kit.app.person(kit.gym, &[Role::Manager]).await;
    let other = kit.app.person(kit.gym, &[Role::Trainer]).await;
    let stranger = kit.app.person(kit.app.gym().await, &[Role::Manager]).await;
    let own = kit.trainer.get("/trainer/roster").await.ok();
    let entry = &own["snapshot"]["members"][kit.member.account.to_string()];
    assert_eq!(
        (entry["name"].clone(), entry["progress"].clone()),
        (json!("Ana Prueba"), json!({}))
    );
    assert_eq!(entry["follow"]["plan_id"], json!(kit.plan.id));
    assert!(own["offset"].as_u64().is_some_and(|offset| offset > 0) && own["epoch"].is_string());
    let path = format!("/trainer/roster?trainer={}", kit.trainer.account);
    assert_eq!(manager.get(&path).await.ok(), own);
    other.get(&path).await.refused(403, "forbidden");
    kit.member.get(&path).await.refused(403, "forbidden");
    stranger.get(&path).await.refused(404, "not_found");
    kit.app.nobody().get(&path).await.refused(401, "unauthenticated");
    kit.app.stop().await;
}

#[tokio::test]
async fn an_assignment_adds_the_members_current_state_to_the_roster_and_its_end_removes_it() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    kit.member
        .put(&kit.completion(&kit.plan.lunch), &json!({"status": "eaten"}))
        .await
        .ok();
    let manager = kit.app.person(kit.gym, &[Role::Manager]).await;
    let trainer = kit.app.person(kit.gym, &[Role::Trainer]).await;
    let mut roster = Screen::open(&trainer, format!("roster:{}", trainer.account)).await;
    let body = json!({"trainer_id": trainer.account, "member_id": kit.member.account});
    let assignment = manager.post("/assignments", &body).await.ok();
    assert_eq!(roster.hears().await["type"], "assignment.started");
    roster.is_up_to_date(&trainer).await;
    let entry = &roster.shown["members"][kit.member.account.to_string()];
    assert_eq!(entry["progress"][kit.today().to_string()]["meals_done"], 1);
    let mut member = Screen::open(&trainer, format!("member:{}", kit.member.account)).await;
    let path = format!("/assignments/{}", assignment["id"].as_str().expect("an id"));
    assert_eq!(manager.delete(&path).await.status, 204);
    assert_eq!(roster.hears().await["type"], "assignment.ended");
    assert_eq!(roster.shown["members"], json!({}));
    let channel = member.channel.clone();
    assert_eq!(member.socket.unsubscribed(&channel).await, 2000);
    kit.app.stop().await;
}

#[tokio::test]
async fn member_and_roster_channels_open_only_to_accounts_with_the_right() {
    let kit = Kit::start().await;
    let manager = kit.app.person(kit.gym, &[Role::Manager]).await;
    let other_member = kit.app.person(kit.gym, &[Role::Member]).await;
    let unassigned = kit.app.person(kit.gym, &[Role::Trainer]).await;
    let owner = kit.app.person(kit.gym, &[Role::Owner]).await;
    let stranger = kit.app.person(kit.app.gym().await, &[Role::Manager]).await;
    let denied = async |who: &Client, channel: &str| {
        let reply: Value = who.socket().await.subscribe(channel).await;
        assert_eq!(reply["error"]["code"], 103, "{channel} {reply}");
    };
    let (member, roster) = (
        format!("member:{}", kit.member.account),
        format!("roster:{}", kit.trainer.account),
    );
    for who in [&kit.trainer, &kit.author, &manager] {
        Screen::open(who, member.clone()).await;
    }
    for who in [&other_member, &unassigned, &owner, &stranger] {
        denied(who, &member).await;
    }
    for who in [&kit.trainer, &manager] {
        Screen::open(who, roster.clone()).await;
    }
    for who in [&kit.member, &kit.author, &unassigned, &owner, &stranger] {
        denied(who, &roster).await;
    }
    kit.app.stop().await;
}

#[tokio::test]
async fn the_members_time_zone_decides_the_current_day() {
    let kit = Kit::start().await;
    let path = format!("/plans/{}/follow", kit.plan.id);
    // These zones are 25 hours apart, so their dates always differ.
    let east = kit
        .member
        .post(&path, &json!({"time_zone": "Pacific/Kiritimati"}))
        .await
        .ok();
    let other = kit.app.person(kit.gym, &[Role::Member]).await;
    let west = other.post(&path, &json!({"time_zone": "Pacific/Pago_Pago"})).await.ok();
    assert!(east["start_date"].as_str() > west["start_date"].as_str());
    assert_eq!(kit.member.get("/follows/today").await.ok()["date"], east["start_date"]);
    assert_eq!(other.get("/follows/today").await.ok()["date"], west["start_date"]);
    kit.app.stop().await;
}

#[tokio::test]
async fn a_roster_stays_correct_while_assignments_start_and_end_during_ticks() {
    let kit = Kit::start().await;
    kit.follow(0).await;
    let manager = kit.app.person(kit.gym, &[Role::Manager]).await;
    let trainer = kit.app.person(kit.gym, &[Role::Trainer]).await;
    let mut roster = Screen::open(&trainer, format!("roster:{}", trainer.account)).await;
    let ticks = async {
        for round in 0..60 {
            let body = json!({"status": "partial", "portion_permille": round + 1});
            kit.member.put(&kit.completion(&kit.plan.lunch), &body).await.ok();
        }
    };
    let assignments = async {
        let body = json!({"trainer_id": trainer.account, "member_id": kit.member.account});
        for _ in 0..20 {
            let assignment = manager.post("/assignments", &body).await.ok();
            let path = format!("/assignments/{}", assignment["id"].as_str().expect("an id"));
            assert_eq!(manager.delete(&path).await.status, 204);
        }
    };
    tokio::join!(ticks, assignments);
    let count = format!("live_events WHERE channel = '{}'", roster.channel);
    for _ in 0..kit.count(&count).await {
        let event = roster.hears().await;
        // A member on the roster has a name, and a tick does not bring back a member who has left.
        let entries = roster.shown["members"].as_object().expect("members");
        assert!(entries.values().all(|entry| entry["name"].is_string()), "{event}");
    }
    assert_eq!(roster.shown["members"], json!({}));
    roster.is_up_to_date(&trainer).await;
    // The roster has exactly the ticks between the two events of an assignment.
    let told = format!(
        "(SELECT m.seq, r.seq AS told, (
             SELECT type FROM live_events a WHERE a.channel = '{0}' AND a.type LIKE 'assignment.%' AND a.seq < m.seq
             ORDER BY a.seq DESC LIMIT 1) AS last
         FROM live_events m LEFT JOIN live_events r ON r.seq = m.seq AND r.channel = '{0}'
         WHERE m.channel = 'member:{1}' AND m.type LIKE 'meal.%') ticks",
        roster.channel, kit.member.account
    );
    let wrong = format!("{told} WHERE (coalesce(last, '') = 'assignment.started') <> (told IS NOT NULL)");
    assert_eq!(kit.count(&wrong).await, 0);
    kit.app.stop().await;
}
