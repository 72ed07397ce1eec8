//! Follows of fixed plans that reach their end.

use chrono::TimeDelta;
use chrono_tz::Pacific::{Kiritimati, Pago_Pago};
use liveplan::follows::ending::complete_due;
use liveplan_nutrition::calendar::local_day;
use serde_json::{Value, json};

use super::kit::{Kit, publish};
use crate::harness::{Client, TestApp, local};

/// Days for late ticks: a follow ends that many days after its plan's last day.
const LATE: i64 = 1;

/// Follows a two-day plan that started `days_ago + LATE` days before the current date in Samoa, where each date begins
/// last.
async fn follow_in(kit: &Kit, member: &Client, plan: &str, zone: &str, days_ago: i64) -> String {
    let start = local_day(kit.app.app.clock.now(), Pago_Pago, 0) - TimeDelta::days(days_ago + LATE);
    let body = json!({"start_date": start, "time_zone": zone});
    let follow = member.post(&format!("/plans/{plan}/follow"), &body).await.ok();
    follow["id"].as_str().expect("an id").to_owned()
}

async fn status(member: &Client, follow: &str) -> Value {
    let follows = member.get("/follows").await.ok();
    let all = follows["items"].as_array().expect("items");
    let found = all.iter().find(|f| f["id"] == follow).expect("the follow");
    found["status"].clone()
}

#[tokio::test]
async fn a_follow_is_completed_after_the_plans_last_day_and_every_screen_gets_the_event() {
    let kit = Kit::start().await;
    let plan = publish(&kit.author, kit.food, &json!({"cycle": "fixed"})).await;
    let follow = follow_in(&kit, &kit.member, &plan.id, "Europe/Madrid", 3).await;
    let mut phone = kit.own_screen().await;
    let mut wall = kit.roster_screen().await;
    let mut plan_screen = kit.member.socket().await;
    let plan_channel = format!("plan:{}", plan.id);
    assert!(plan_screen.subscribe(&plan_channel).await["subscribe"].is_object());

    assert_eq!(local(complete_due(&kit.app.app)).await.expect("completed"), 1);
    assert_eq!(phone.hears().await["type"], "follow.completed");
    assert_eq!(phone.shown, json!({"completions": {}, "progress": {}}));
    assert_eq!(wall.hears().await["type"], "follow.completed");
    phone.is_up_to_date(&kit.member).await;
    wall.is_up_to_date(&kit.trainer).await;
    // The member could read the plan only because of the follow.
    assert_eq!(plan_screen.unsubscribed(&plan_channel).await, 2000);
    assert_eq!(status(&kit.member, &follow).await, "completed");
    kit.member.get("/follows/today").await.refused(404, "not_following");
    assert_eq!(local(complete_due(&kit.app.app)).await.expect("nothing left"), 0);
    // The member can start another plan.
    kit.follow(0).await;
    assert_eq!(phone.hears().await["type"], "follow.started");
    kit.app.stop().await;
}

#[tokio::test]
async fn a_repeating_plan_or_one_with_a_day_left_in_the_members_zone_continues() {
    let kit = Kit::start().await;
    let fixed = publish(&kit.author, kit.food, &json!({"cycle": "fixed"})).await;
    let mut expected = Vec::new();
    for (plan, zone, days_ago, ends) in [
        // The last day is today in Samoa; in Kiribati it is over.
        (&fixed.id, Pago_Pago.name(), 1, false),
        (&fixed.id, Kiritimati.name(), 1, true),
        (&fixed.id, Pago_Pago.name(), 2, true),
        (&kit.plan.id, Kiritimati.name(), 20, false),
    ] {
        let member = kit.app.person(kit.gym, &[liveplan::auth::Role::Member]).await;
        let follow = follow_in(&kit, &member, plan, zone, days_ago).await;
        expected.push((
            member,
            follow,
            if ends { "completed" } else { "active" },
            zone,
            days_ago,
        ));
    }
    // A pause does not move the plan's days.
    let follow = follow_in(&kit, &kit.member, &fixed.id, "Europe/Madrid", 5).await;
    kit.member
        .post(&format!("/follows/{follow}/pause"), &json!({}))
        .await
        .ok();
    expected.push((kit.member.clone(), follow, "completed", "paused", 5));
    local(complete_due(&kit.app.app)).await.expect("completed");
    for (member, follow, after, zone, days_ago) in expected {
        assert_eq!(status(&member, &follow).await, after, "{zone} {days_ago}");
    }
    kit.app.stop().await;
}

#[tokio::test]
async fn the_gyms_day_start_decides_when_the_last_day_is_over() {
    let kit = Kit::start().await;
    let plan = publish(&kit.author, kit.food, &json!({"cycle": "fixed"})).await;
    let zone = chrono_tz::Europe::Madrid;
    let now = kit.app.app.clock.now();
    // The day begins a minute from now where possible; noon is the latest day start.
    let minutes = (now.with_timezone(&zone).time() - chrono::NaiveTime::MIN).num_minutes();
    let day_start = i32::try_from(minutes + 2).expect("minutes").min(720);
    kit.sql(&format!("UPDATE gyms SET day_start = {day_start}")).await;
    let over = local_day(now, zone, day_start);
    let body = json!({"start_date": over - TimeDelta::days(1 + LATE), "time_zone": zone.name()});
    let follow = kit.member.post(&format!("/plans/{}/follow", plan.id), &body).await.ok();
    local(complete_due(&kit.app.app)).await.expect("looked");
    let id = follow["id"].as_str().expect("an id");
    assert_eq!(
        status(&kit.member, id).await,
        "active",
        "the plan's last day is not over yet"
    );
    kit.sql("UPDATE gyms SET day_start = 0").await;
    local(complete_due(&kit.app.app)).await.expect("looked");
    let without = if local_day(now, zone, 0) > over {
        "completed"
    } else {
        "active"
    };
    assert_eq!(status(&kit.member, id).await, without);
    kit.app.stop().await;
}

#[tokio::test]
async fn nodes_that_complete_follows_concurrently_complete_each_once() {
    let kit = Kit::start().await;
    let other = TestApp::node(&kit.app.database, |_| {}).await;
    let plan = publish(&kit.author, kit.food, &json!({"cycle": "fixed"})).await;
    for _ in 0..6 {
        let member = kit.app.person(kit.gym, &[liveplan::auth::Role::Member]).await;
        follow_in(&kit, &member, &plan.id, "Europe/Madrid", 4).await;
    }
    let (one, two) = local(async { tokio::join!(complete_due(&kit.app.app), complete_due(&other.app)) }).await;
    assert_eq!(one.expect("one") + two.expect("two"), 6);
    let told = kit
        .count("live_events WHERE type = 'follow.completed' AND channel LIKE 'member:%'")
        .await;
    assert_eq!(told, 6);
    assert_eq!(
        kit.count("follows WHERE status = 'completed' AND ended_at IS NOT NULL")
            .await,
        6
    );
    other.stop().await;
    kit.app.stop().await;
}

#[tokio::test]
async fn the_last_day_accepts_late_ticks_and_a_new_plan_completes_the_follow_at_once() {
    let kit = Kit::start().await;
    let plan = publish(&kit.author, kit.food, &json!({"cycle": "fixed"})).await;
    // The plan's two days were the day before yesterday and yesterday.
    let today = local_day(kit.app.app.clock.now(), chrono_tz::Tz::UTC, 0);
    let body = json!({"start_date": today - TimeDelta::days(2), "time_zone": "UTC"});
    let follow = kit.member.post(&format!("/plans/{}/follow", plan.id), &body).await.ok();
    let follow = follow["id"].as_str().expect("an id");
    assert_eq!(local(complete_due(&kit.app.app)).await.expect("looked"), 0);
    let mut phone = kit.own_screen().await;
    let tick = json!({"meal_id": plan.breakfast, "date": today - TimeDelta::days(2), "status": "eaten"});
    kit.member.post("/meals/complete", &tick).await.ok();
    assert_eq!(phone.hears().await["type"], "meal.completed");
    kit.follow(0).await;
    assert_eq!(phone.hears().await["type"], "follow.started");
    phone.is_up_to_date(&kit.member).await;
    assert_eq!(status(&kit.member, follow).await, "completed");
    kit.app.stop().await;
}
