//! Writing plans: the life cycle, sums, portions, copies and retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::connection::InstrumentationEvent;
use diesel_async::AsyncConnection as _;
use liveplan::plans::{Revision, tree};
use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{TestPlan, kitchen};
use crate::harness::TestApp;

#[tokio::test]
async fn a_plan_goes_from_draft_to_published_to_archived() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let body = json!({"goal": "lose_fat", "name": " Definición ", "duration_days": 7, "cycle": "weekly",
        "target": {"energy_mkcal": 2_000_000, "protein_mg": 140_000}, "visibility": "gym"});
    let answer = author.post("/plans", &body).await;
    assert_eq!((answer.status.as_u16(), answer.etag.as_deref()), (201, Some("\"1\"")));
    let plan = answer.ok();
    assert_eq!(
        (
            &plan["name"],
            &plan["status"],
            &plan["revision"],
            &plan["source"],
            &plan["kind"]
        ),
        (
            &json!("Definición"),
            &json!("draft"),
            &json!(0),
            &json!("manual"),
            &json!("plan")
        )
    );
    assert_eq!(plan["days"].as_array().expect("days").len(), 7);
    assert_eq!((plan["nutrients"].clone(), plan.get("start_date")), (json!({}), None));
    let id = plan["id"].as_str().expect("an id").to_owned();
    let mut plan = TestPlan { author, id, version: 1 };

    plan.attempt(Method::POST, "/publish", None)
        .await
        .refused(409, "plan_empty");
    let meal = json!({"slot": "lunch", "title": "Arroz", "time_min": 840, "notes": "hervido",
        "items": [{"food_id": food, "quantity_milli": 1500, "unit": "taza"}]});
    let written = plan.write(Method::POST, "/days/2/meals", Some(&meal)).await;
    assert_eq!((&written["version"], &written["revision"]), (&json!(2), &json!(0)));
    let item = &written["meal"]["items"][0];
    assert_eq!(
        (&item["grams_milli"], &item["unit"], &item["name_es"]),
        (&json!(300_000), &json!("taza"), &json!("Arroz"))
    );
    assert_eq!(
        item["nutrients"],
        json!({"energy_mkcal": 300_000, "protein_mg": 30_000, "carbohydrate_mg": 30_000, "fat_mg": 6000})
    );

    let published = plan.publish().await;
    assert_eq!(
        (&published["status"], &published["revision"], &published["version"]),
        (&json!("published"), &json!(1), &json!(3))
    );
    assert_eq!(plan.publish().await, published, "publishing again must change nothing");
    plan.attempt(Method::DELETE, "", None).await.refused(409, "conflict");

    let renamed = plan
        .write(Method::PATCH, "/days/2", Some(&json!({"title": "Descanso"})))
        .await;
    assert_eq!(
        (&renamed["day"]["title"], &renamed["revision"]),
        (&json!("Descanso"), &json!(2))
    );
    let patch = json!({"name": "Volumen", "target": {"protein_mg": null, "fat_mg": 60_000}});
    let revised = plan.write(Method::PATCH, "", Some(&patch)).await;
    assert_eq!(revised["target"], json!({"energy_mkcal": 2_000_000, "fat_mg": 60_000}));
    assert_eq!(
        plan.write(Method::PATCH, "", Some(&patch)).await,
        revised,
        "a patch that changes nothing must make no revision"
    );

    let archived = plan.write(Method::POST, "/archive", None).await;
    assert_eq!(
        (&archived["status"], &archived["revision"]),
        (&json!("archived"), &json!(3))
    );
    for (method, below, body) in [
        (Method::PATCH, "", json!({"name": "x"})),
        (Method::PATCH, "/days/1", json!({"title": "x"})),
        (Method::POST, "/days/1/meals", meal.clone()),
        (Method::POST, "/publish", json!({})),
    ] {
        plan.attempt(method, below, Some(&body))
            .await
            .refused(409, "plan_archived");
    }
    assert_eq!(plan.read().await, archived);
    app.stop().await;
}

#[tokio::test]
async fn meals_and_items_are_changed_and_removed() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let other = app.food().await;
    let mut plan = TestPlan::draft(&author, 2).await;
    let meal = plan.meal(1, "Lunch", food).await;
    let item = plan.read().await["days"][0]["meals"][0]["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();

    let new = json!({"food_id": other, "quantity_milli": 50_000, "unit": "g"});
    let added = plan.write(Method::POST, &format!("{meal}/items"), Some(&new)).await["item"].clone();
    assert_eq!((&added["position"], &added["grams_milli"]), (&json!(1), &json!(50_000)));
    let path = format!("{meal}/items/{}", added["id"].as_str().expect("an id"));
    let cups = plan
        .write(
            Method::PATCH,
            &path,
            Some(&json!({"quantity_milli": 500, "unit": "CUP"})),
        )
        .await;
    assert_eq!(
        (&cups["item"]["unit"], &cups["item"]["grams_milli"]),
        (&json!("cup"), &json!(100_000))
    );
    let more = plan
        .write(
            Method::PATCH,
            &path,
            Some(&json!({"quantity_milli": 750, "position": 0})),
        )
        .await;
    assert_eq!(
        (&more["item"]["grams_milli"], &more["item"]["position"]),
        (&json!(150_000), &json!(0))
    );
    let swapped = plan
        .write(
            Method::PATCH,
            &path,
            Some(&json!({"food_id": food, "grams_milli": 10_000})),
        )
        .await;
    assert_eq!(
        (&swapped["item"]["food_id"], &swapped["item"]["id"]),
        (&json!(food), &added["id"])
    );

    let items = json!([{"food_id": other, "grams_milli": 20_000}, {"food_id": food, "grams_milli": 30_000}]);
    let change = json!({"slot": "dinner", "title": "Cena", "time_min": 1260, "notes": "ligera", "items": items});
    let patched = plan.write(Method::PATCH, &meal, Some(&change)).await["meal"].clone();
    assert_eq!(
        (&patched["slot"], &patched["time_min"]),
        (&json!("dinner"), &json!(1260))
    );
    assert_eq!(
        patched["items"][1]["id"],
        json!(item),
        "an item with the same food must keep its id"
    );
    assert_eq!(patched["nutrients"]["energy_mkcal"], 50_000);
    let timeless = plan.write(Method::PATCH, &meal, Some(&json!({"time_min": null}))).await;
    assert_eq!(timeless["meal"].get("time_min"), None);
    assert_eq!(plan.author.get(&plan.path(&meal)).await.ok(), timeless);

    plan.write(Method::DELETE, &format!("{meal}/items/{item}"), None).await;
    assert_eq!(
        plan.author.get(&plan.path("/days/1")).await.ok()["day"]["meals"][0]["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    plan.write(Method::DELETE, &meal, None).await;
    let left = plan.read().await;
    assert_eq!(
        (left["days"][0]["meals"].clone(), left["nutrients"].clone()),
        (json!([]), json!({}))
    );
    assert_eq!(plan.attempt(Method::DELETE, "", None).await.status, 204);
    plan.author.get(&plan.path("")).await.refused(404, "not_found");
    app.stop().await;
}

#[tokio::test]
async fn items_add_up_to_meals_days_and_the_plan() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let mut plan = TestPlan::draft(&author, 3).await;
    for (day, grams) in [(1, 33_333), (1, 77), (2, 1), (3, 9_999_999)] {
        let items =
            json!([{"food_id": food, "grams_milli": grams}, {"food_id": food, "quantity_milli": 333, "unit": "cup"}]);
        let body = json!({"slot": "snack", "title": "x", "items": items});
        plan.write(Method::POST, &format!("/days/{day}/meals"), Some(&body))
            .await;
    }
    let read = plan.read().await;
    let sum = |parts: &Value, name: &str| -> i64 {
        parts
            .as_array()
            .expect("parts")
            .iter()
            .map(|part| part["nutrients"][name].as_i64().expect("known"))
            .sum()
    };
    for name in ["energy_mkcal", "protein_mg", "carbohydrate_mg", "fat_mg"] {
        assert_eq!(read["nutrients"][name], sum(&read["days"], name), "{name}");
        for day in read["days"].as_array().expect("days") {
            assert_eq!(day["nutrients"][name], sum(&day["meals"], name), "{name}");
            for meal in day["meals"].as_array().expect("meals") {
                assert_eq!(meal["nutrients"][name], sum(&meal["items"], name), "{name}");
            }
        }
    }
    assert_eq!(
        (
            read["nutrients"].get("fibre_mg"),
            &read["nutrients"]["known_permille"]["fibre_mg"]
        ),
        (None, &json!(0))
    );
    app.stop().await;
}

#[tokio::test]
async fn a_plan_is_read_in_the_same_number_of_queries_whatever_its_size() {
    let app = TestApp::start().await;
    let (gym, author, food) = kitchen(&app).await;
    let mut small = TestPlan::published(&author, 1, food).await;
    let mut large = TestPlan::draft(&author, 7).await;
    for day in 1..=7 {
        for title in ["a", "b", "c"] {
            large.meal(day, title, food).await;
        }
    }
    large.publish().await;
    let mut conn = app.owner().await;
    let started = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&started);
    conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if matches!(event, InstrumentationEvent::StartQuery { .. }) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    for plan in [&mut small, &mut large] {
        started.store(0, Ordering::Relaxed);
        let id = plan.id.parse().expect("an id");
        let read = tree::read(&mut conn, gym.id, id, Revision::Current)
            .await
            .expect("read")
            .expect("a plan");
        assert_eq!(serde_json::to_value(&read).expect("json"), plan.read().await);
        assert_eq!(started.load(Ordering::Relaxed), 4, "{} days", read.duration_days);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_repeated_post_returns_the_first_answer_and_has_no_second_effect() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let body = json!({"goal": "health", "name": "Once", "duration_days": 1});
    let key = [("Idempotency-Key", "k-1")];
    let create = || author.send(Method::POST, "/api/v1/plans", Some(&body), &key);
    let first = create().await;
    let again = create().await;
    assert_eq!((again.status, &again.etag), (first.status, &first.etag));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let first = first.ok();
    assert_eq!(again.ok(), first);
    assert_eq!(
        author.get("/plans").await.ok()["items"].as_array().map(Vec::len),
        Some(1)
    );
    let other = json!({"goal": "health", "name": "Other", "duration_days": 1});
    author
        .send(Method::POST, "/api/v1/plans", Some(&other), &key)
        .await
        .refused(422, "key_reused");

    // The retry's version is stale because of the first attempt; it is recognised as a retry all the same.
    let path = format!("/api/v1/plans/{}/days/1/meals", first["id"].as_str().expect("an id"));
    let meal = json!({"slot": "late", "title": "Yogur", "items": [{"food_id": food, "grams_milli": 125_000}]});
    let headers = [("Idempotency-Key", "k-2"), ("If-Match", "\"1\"")];
    let added = author.send(Method::POST, &path, Some(&meal), &headers).await.ok();
    assert_eq!(
        author.send(Method::POST, &path, Some(&meal), &headers).await.ok(),
        added
    );
    app.stop().await;
}

#[tokio::test]
async fn a_copy_is_an_independent_draft() {
    let app = TestApp::start().await;
    let (gym, author, food) = kitchen(&app).await;
    let mut original = TestPlan::published(&author, 2, food).await;
    let trainer = app.person(gym, &[liveplan::auth::Role::Trainer]).await;
    let copy = trainer.post(&original.path("/duplicate"), &json!({})).await;
    assert_eq!((copy.status.as_u16(), copy.etag.as_deref()), (201, Some("\"1\"")));
    let copy = copy.ok();
    let read = original.read().await;
    assert_eq!(
        (&copy["status"], &copy["revision"], &copy["author_id"]),
        (&json!("draft"), &json!(0), &json!(trainer.account))
    );
    assert_eq!((&copy["nutrients"], &copy["name"]), (&read["nutrients"], &read["name"]));
    for path in ["/id", "/days/0/id", "/days/0/meals/0/id", "/days/0/meals/0/items/0/id"] {
        assert_ne!(copy.pointer(path).expect(path), read.pointer(path).expect(path));
    }
    original.meal(2, "More", food).await;
    let mut copy = TestPlan {
        author: trainer,
        id: copy["id"].as_str().expect("an id").to_owned(),
        version: 1,
    };
    assert_eq!(copy.read().await["days"][1]["meals"], json!([]));
    assert_eq!(copy.publish().await["revision"], 1);
    app.stop().await;
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    TestPlan::published(&author, 1, food).await;
    for _ in 0..2 {
        TestPlan::draft(&author, 1).await;
    }
    let live =
        json!({"kind": "live", "goal": "health", "name": "Together", "duration_days": 1, "start_date": "2026-12-01"});
    assert_eq!(author.post("/plans", &live).await.ok()["start_date"], "2026-12-01");
    let count = async |query: &str| {
        author.get(&format!("/plans{query}")).await.ok()["items"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(count("").await, Some(4));
    assert_eq!(count("?status=published").await, Some(1));
    assert_eq!(count("?kind=live").await, Some(1));
    let mut seen = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let page = author.get(&format!("/plans{query}")).await.ok();
        seen.extend(
            page["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|plan| plan["id"].clone()),
        );
        assert!(
            page["items"]
                .as_array()
                .expect("items")
                .iter()
                .all(|plan| plan.get("days").is_none())
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 4);
    author.get("/plans?limit=0").await.refused(422, "invalid");
    author.get("/plans?status=open").await.refused(400, "malformed");
    app.stop().await;
}
