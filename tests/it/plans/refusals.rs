//! Refused writes: each has its own problem and leaves nothing half done.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::kit::{TestPlan, kitchen};
use crate::harness::{Gym, TestApp};

/// Counts the rows of every table that a write could have touched.
async fn rows(app: &TestApp) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let tables = [
        "plans",
        "plan_revisions",
        "plan_days",
        "plan_meals",
        "plan_items",
        "live_events",
        "idempotency_keys",
    ];
    let counts = tables
        .map(|table| format!("(SELECT count(*) FROM {table})"))
        .join(" + ");
    let row: Count = diesel::sql_query(format!("SELECT {counts} AS count"))
        .get_result(&mut app.owner().await)
        .await
        .expect("a count");
    row.count
}

/// Inserts a food that belongs to a gym.
async fn gym_food(app: &TestApp, gym: Gym) -> Uuid {
    let id = Uuid::now_v7();
    diesel::sql_query(
        "INSERT INTO gym_foods (id, gym_id, author_id, kind, name_en, name_es, energy_mkcal, carb_basis, search, created_at, updated_at)
         VALUES ($1, $2, $1, 'dish', $3, $3, 50000, 'available', $3, now(), now())",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<SqlUuid, _>(gym.id)
    .bind::<Text, _>("house shake")
    .execute(&mut app.owner().await)
    .await
    .expect("a food");
    id
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_refused_write_names_the_field_and_changes_nothing() {
    let app = TestApp::start().await;
    let (gym, author, food) = kitchen(&app).await;
    let (own, foreign) = (gym_food(&app, gym).await, gym_food(&app, app.gym().await).await);
    let mut plan = TestPlan::published(&author, 2, food).await;
    let meal = plan.meal(2, "Dinner", own).await;
    let item = plan.read().await["days"][1]["meals"][0]["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let (items, item) = (format!("{meal}/items"), format!("{meal}/items/{item}"));
    let (before, count) = (plan.read().await, rows(&app).await);
    let new_meal = |extra: Value| {
        let mut body = json!({"slot": "lunch", "title": "x"});
        liveplan::events::merge::apply(&mut body, extra);
        body
    };
    let too_many = vec![json!({"food_id": food, "grams_milli": 1}); 41];
    let cases: Vec<(Method, &str, Value, u16, &str, &str)> = vec![
        (Method::PATCH, "", json!({"nme": "x"}), 400, "malformed", "nme"),
        (Method::PATCH, "", json!({"name": " "}), 422, "invalid", "name"),
        (Method::PATCH, "", json!({"goal": "win"}), 400, "malformed", "win"),
        (
            Method::PATCH,
            "",
            json!({"target": {"energy_mkcal": -1}}),
            422,
            "invalid",
            "target.energy_mkcal",
        ),
        (
            Method::PATCH,
            "",
            json!({"duration_days": 3}),
            400,
            "malformed",
            "duration_days",
        ),
        (Method::PATCH, "/days/3", json!({"title": "x"}), 404, "not_found", "day"),
        (Method::PATCH, "/days/0", json!({"title": "x"}), 404, "not_found", "day"),
        (
            Method::POST,
            "/days/3/meals",
            new_meal(json!({})),
            404,
            "not_found",
            "day",
        ),
        (
            Method::POST,
            "/days/1/meals",
            new_meal(json!({"colour": 1})),
            400,
            "malformed",
            "colour",
        ),
        (
            Method::POST,
            "/days/1/meals",
            new_meal(json!({"title": "y".repeat(201)})),
            422,
            "invalid",
            "title",
        ),
        (
            Method::POST,
            "/days/1/meals",
            new_meal(json!({"time_min": 1440})),
            422,
            "invalid",
            "time_min",
        ),
        (
            Method::POST,
            "/days/1/meals",
            new_meal(json!({"position": -1})),
            422,
            "invalid",
            "position",
        ),
        (
            Method::POST,
            "/days/1/meals",
            new_meal(json!({"notes": "a\u{0}b"})),
            422,
            "invalid",
            "notes",
        ),
        (
            Method::POST,
            "/days/1/meals",
            new_meal(json!({"items": too_many})),
            422,
            "invalid",
            "items",
        ),
        (
            Method::POST,
            "/days/1/meals",
            new_meal(json!({"items": [{"food_id": food, "grams_milli": 1},
            {"food_id": foreign, "grams_milli": 1}]})),
            422,
            "invalid",
            "items[1].food_id",
        ),
        (
            Method::POST,
            &items,
            json!({"food_id": food, "grams_milli": -5}),
            422,
            "invalid",
            "grams_milli",
        ),
        (
            Method::POST,
            &items,
            json!({"food_id": food, "grams_milli": 0}),
            422,
            "invalid",
            "grams_milli",
        ),
        (
            Method::POST,
            &items,
            json!({"food_id": food, "grams_milli": 10_000_001}),
            422,
            "invalid",
            "grams_milli",
        ),
        (
            Method::POST,
            &items,
            json!({"food_id": food}),
            422,
            "invalid",
            "grams_milli",
        ),
        (
            Method::POST,
            &items,
            json!({"food_id": food, "grams_milli": 1, "unit": "g"}),
            422,
            "invalid",
            "grams_milli",
        ),
        (
            Method::POST,
            &items,
            json!({"food_id": food, "quantity_milli": 1, "unit": "bucket"}),
            422,
            "invalid",
            "unit",
        ),
        (
            Method::POST,
            &items,
            json!({"food_id": foreign, "grams_milli": 1}),
            422,
            "invalid",
            "food_id",
        ),
        (
            Method::POST,
            &items,
            json!({"food_id": Uuid::now_v7(), "grams_milli": 1}),
            422,
            "invalid",
            "food_id",
        ),
        (
            Method::PATCH,
            &item,
            json!({"food_id": foreign, "grams_milli": 1}),
            422,
            "invalid",
            "food_id",
        ),
        (
            Method::PATCH,
            &item,
            json!({"grams_milli": -1}),
            422,
            "invalid",
            "grams_milli",
        ),
        (Method::PATCH, &item, json!({"grams": 1}), 400, "malformed", "grams"),
        (
            Method::DELETE,
            "/days/1/meals/01890000-0000-7000-8000-000000000000",
            Value::Null,
            404,
            "not_found",
            "meal",
        ),
    ];
    for (method, below, body, status, code, names) in cases {
        let answer = plan.attempt(method.clone(), below, Some(&body)).await;
        answer.refused(status, code);
        assert!(
            answer.body["detail"].as_str().expect("a detail").contains(names),
            "{names}: {}",
            answer.body
        );
    }
    let huge = json!({"notes": "x".repeat(1024 * 1024)});
    plan.attempt(Method::PATCH, &meal, Some(&huge))
        .await
        .refused(413, "too_large");
    assert_eq!((plan.read().await, rows(&app).await), (before, count));
    app.stop().await;
}

#[tokio::test]
async fn another_gyms_food_and_a_missing_food_get_the_same_answer() {
    let app = TestApp::start().await;
    let (_, author, _) = kitchen(&app).await;
    let foreign = gym_food(&app, app.gym().await).await;
    let mut plan = TestPlan::draft(&author, 1).await;
    let body = json!({"slot": "lunch", "title": "x"});
    let written = plan.write(Method::POST, "/days/1/meals", Some(&body)).await;
    let items = format!("/days/1/meals/{}/items", written["meal"]["id"].as_str().expect("an id"));
    let refusal = async |food: Uuid| {
        plan.attempt(Method::POST, &items, Some(&json!({"food_id": food, "grams_milli": 1})))
            .await
            .body
    };
    assert_eq!(refusal(foreign).await, refusal(Uuid::now_v7()).await);
    app.stop().await;
}

#[tokio::test]
async fn an_invalid_new_plan_is_refused() {
    let app = TestApp::start().await;
    let (_, author, _) = kitchen(&app).await;
    let count = rows(&app).await;
    for (extra, status, names) in [
        (json!({"duration_days": 0}), 422, "duration_days"),
        (json!({"duration_days": 85}), 422, "duration_days"),
        (json!({"name": ""}), 422, "name"),
        (json!({"name": null}), 400, "name"),
        (json!({"target": {"protein_mg": 0}}), 422, "target.protein_mg"),
        (json!({"target": {"proteins": 1}}), 400, "proteins"),
        (json!({"kind": "live"}), 422, "start_date"),
        (json!({"start_date": "2026-01-01"}), 422, "start_date"),
        (json!({"status": "published"}), 400, "status"),
        (json!({"description": "x".repeat(4001)}), 422, "description"),
    ] {
        let mut body = json!({"goal": "health", "name": "x", "duration_days": 7});
        liveplan::events::merge::apply(&mut body, extra);
        let answer = author.post("/plans", &body).await;
        assert_eq!(answer.status.as_u16(), status, "{names}: {}", answer.body);
        assert!(
            answer.body["detail"].as_str().expect("a detail").contains(names),
            "{names}: {}",
            answer.body
        );
    }
    let many = json!({"slot": "snack", "title": "x"});
    let mut plan = TestPlan::draft(&author, 1).await;
    for _ in 0..20 {
        plan.write(Method::POST, "/days/1/meals", Some(&many)).await;
    }
    plan.attempt(Method::POST, "/days/1/meals", Some(&many))
        .await
        .refused(422, "invalid");
    assert_eq!(rows(&app).await, count + 1 + 1 + 20);
    app.stop().await;
}
