//! Old revisions stay unchanged.

use diesel_async::RunQueryDsl as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{TestPlan, kitchen};
use crate::harness::TestApp;

#[tokio::test]
async fn every_revision_stays_readable_unchanged() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let mut plan = TestPlan::draft(&author, 2).await;
    // Changes of a draft before its publication make no revision.
    let gone = plan.meal(1, "Draft", food).await;
    plan.write(Method::DELETE, &gone, None).await;
    let meal = plan.meal(1, "Lunch", food).await;
    plan.publish().await;
    let item = plan.read().await["days"][0]["meals"][0]["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let item = format!("{meal}/items/{item}");
    let mut was: Vec<Value> = vec![plan.read().await];
    let edits = [
        (Method::PATCH, item.clone(), json!({"grams_milli": 250_000})),
        (
            Method::PATCH,
            meal.clone(),
            json!({"title": "Late lunch", "notes": "warm"}),
        ),
        (Method::PATCH, "/days/2".into(), json!({"title": "Rest"})),
        (
            Method::PATCH,
            String::new(),
            json!({"name": "Better", "description": "d", "goal": "health", "target": {"fat_mg": 1}}),
        ),
        (
            Method::POST,
            "/days/2/meals".into(),
            json!({"slot": "snack", "title": "Nuts", "items": [{"food_id": food, "grams_milli": 1}]}),
        ),
        (Method::PATCH, String::new(), json!({"visibility": "assigned"})),
        (Method::DELETE, item, Value::Null),
        (Method::DELETE, meal, Value::Null),
    ];
    for (n, (method, below, body)) in edits.into_iter().enumerate() {
        let written = plan.write(method, &below, Some(&body)).await;
        assert_eq!(
            written["revision"],
            json!(n + 2),
            "an edit did not make exactly one revision"
        );
        was.push(plan.read().await);
    }
    plan.write(Method::POST, "/archive", None).await;
    diesel::sql_query("UPDATE foods SET energy_mkcal = 1, name_en = 'Other'")
        .execute(&mut app.owner().await)
        .await
        .expect("another food");
    for (n, then) in was.iter().enumerate() {
        let read = author.get(&plan.path(&format!("/revisions/{}", n + 1))).await.ok();
        assert_eq!(&read, then, "revision {}", n + 1);
    }
    author.get(&plan.path("/revisions/10")).await.refused(404, "not_found");
    author.get(&plan.path("/revisions/0")).await.refused(404, "not_found");

    let page = author.get(&plan.path("/revisions?limit=5")).await.ok();
    let numbers = |page: &Value| -> Vec<i64> {
        page["items"]
            .as_array()
            .expect("items")
            .iter()
            .filter_map(|r| r["revision"].as_i64())
            .collect()
    };
    assert_eq!(numbers(&page), [9, 8, 7, 6, 5]);
    assert_eq!(
        (&page["items"][0]["name"], &page["items"][0]["author_id"]),
        (&json!("Better"), &json!(author.account))
    );
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let rest = author
        .get(&plan.path(&format!("/revisions?limit=5&cursor={cursor}")))
        .await
        .ok();
    assert_eq!((numbers(&rest), rest.get("next_cursor")), (vec![4, 3, 2, 1], None));
    app.stop().await;
}
