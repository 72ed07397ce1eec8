//! Searching foods in two languages, and a gym's own foods.

use diesel::sql_types::{BigInt, Text};
use liveplan::auth::Role;
use liveplan::foods::starter;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Client, TestApp};

async fn search(client: &Client, q: &str) -> Vec<Value> {
    let url = reqwest::Url::parse_with_params("http://x/foods?limit=10", [("q", q)]).expect("a URL");
    let page = client
        .get(&format!("/foods?{}", url.query().expect("a query")))
        .await
        .ok();
    page["items"].as_array().expect("items").clone()
}

fn names(foods: &[Value], language: &str) -> Vec<String> {
    foods
        .iter()
        .map(|food| food[format!("name_{language}")].as_str().expect("a name").to_owned())
        .collect()
}

fn bread() -> Value {
    json!({
        "name_es": "Pan de espelta del barrio", "brand": "Hornó", "barcode": "4006381333931", "kind": "bread",
        "per_100g": {"energy_mkcal": 250_000, "protein_mg": 10_000, "carbohydrate_mg": 45_000, "fat_mg": 2000},
        "allergens": {"gluten": "contains", "nuts": "traces"},
        "portions": [{"name_en": "slice", "name_es": "rebanada", "grams_milli": 40_000}],
    })
}

fn at(food: &Value) -> String {
    format!("/foods/{}", food["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn foods_are_found_in_both_languages_despite_typos() {
    let app = TestApp::start().await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    for (query, language, expected) in [
        ("pechuga pollo", "es", "Pechuga de pollo"),
        ("pollo pechuga", "es", "Pechuga de pollo"),
        ("chicken breast", "en", "Chicken breast"),
        ("chiken brest", "en", "hicken breast"),
        ("pehcuga poyo", "es", "echuga de pollo"),
        ("PECH", "es", "Pech"),
    ] {
        let found = search(&member, query).await;
        let names = names(&found, language);
        assert!(
            names.first().is_some_and(|name| name.contains(expected)),
            "{query}: {names:?}"
        );
    }
    for query in ["brocoli", "Brócoli", "broccoli", "brocolli", "BRO\u{301}COLI"] {
        let names = names(&search(&member, query).await, "en");
        assert!(
            names.first().is_some_and(|name| name.starts_with("Broccoli")),
            "{query}: {names:?}"
        );
    }
    assert!(search(&member, "xqzjvw").await.is_empty());
    assert!(search(&member, "?!'\\%").await.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn names_that_start_with_the_query_come_first() {
    let app = TestApp::start().await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    for (query, language, expected) in [
        ("egg", "en", "Egg "),
        ("arroz", "es", "Arroz "),
        ("leche", "es", "Leche "),
    ] {
        let names = names(&search(&member, query).await, language);
        assert!(
            names.first().is_some_and(|name| name.starts_with(expected)),
            "{query}: {names:?}"
        );
    }
    app.stop().await;
}

#[tokio::test]
async fn without_a_query_all_foods_are_listed_in_pages() {
    let app = TestApp::start().await;
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let (mut seen, mut cursor) = (std::collections::HashSet::new(), String::new());
    loop {
        let page = member.get(&format!("/foods?limit=200{cursor}")).await.ok();
        for food in page["items"].as_array().expect("items") {
            assert!(seen.insert(food["id"].as_str().expect("an id").to_owned()));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(seen.len() > 1000, "{}", seen.len());
    let one = seen.iter().next().expect("a food");
    let food = member.get(&format!("/foods/{one}")).await.ok();
    assert_eq!((&food["scope"], &food["verified"]), (&json!("shared"), &json!(true)));
    assert!(food["source"].as_str().expect("a source").starts_with("usda"));
    app.stop().await;
}

#[tokio::test]
async fn a_gyms_own_food_is_found_only_in_that_gym() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let trainer = app.person(gym, &[Role::Trainer]).await;
    let made = trainer.post("/foods", &bread()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.ok();
    assert_eq!(
        (&made["scope"], &made["name_en"]),
        (&json!("gym"), &json!("Pan de espelta del barrio"))
    );
    assert_eq!(made["allergens"], json!({"gluten": "contains", "nuts": "traces"}));
    assert_eq!(
        (&made["carb_basis"], &made["verified"]),
        (&json!("available"), &json!(false))
    );
    let member = app.person(gym, &[Role::Member]).await;
    for query in ["pan espelta barrio", "horno", "4006381333931", "04006381333931"] {
        assert!(search(&member, query).await.contains(&made), "{query}");
    }
    assert_eq!(member.get(&at(&made)).await.ok(), made);

    let stranger = app.person(app.gym().await, &[Role::Manager]).await;
    assert!(search(&stranger, "4006381333931").await.is_empty());
    assert!(!search(&stranger, "pan espelta barrio").await.contains(&made));
    stranger.get(&at(&made)).await.refused(404, "not_found");
    stranger
        .patch(&at(&made), &json!({"kind": "dish"}))
        .await
        .refused(404, "not_found");
    stranger.delete(&at(&made)).await.refused(404, "not_found");
    app.stop().await;
}

#[tokio::test]
async fn an_impossible_food_is_refused() {
    let app = TestApp::start().await;
    let trainer = app.person(app.gym().await, &[Role::Trainer]).await;
    for (field, value, named) in [
        ("per_100g", json!({"protein_mg": 100_001}), "per_100g.protein_mg"),
        (
            "per_100g",
            json!({"fat_mg": 1, "saturated_fat_mg": 2}),
            "per_100g.saturated_fat_mg",
        ),
        ("barcode", json!("4006381333932"), "barcode"),
        ("name_es", json!("…"), "name_es"),
        (
            "portions",
            json!([{"name_en": "x", "name_es": "x", "grams_milli": 0}]),
            "portions[0].grams_milli",
        ),
    ] {
        let mut food = bread();
        food[field] = value;
        let answer = trainer.post("/foods", &food).await;
        answer.refused(422, "invalid");
        assert_eq!(answer.body["field"], named);
    }
    for (field, value) in [
        ("kind", json!("stone")),
        ("allergens", json!({"milk": "maybe"})),
        ("id", json!("x")),
    ] {
        let mut food = bread();
        food[field] = value;
        trainer.post("/foods", &food).await.refused(400, "malformed");
    }
    app.stop().await;
}

#[tokio::test]
async fn an_edit_is_validated_as_a_whole_and_the_food_is_found_by_its_new_name() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let nutritionist = app.person(gym, &[Role::Nutritionist]).await;
    let made = nutritionist.post("/foods", &bread()).await.ok();
    let patch = json!({"name_en": "Spelt loaf zyx", "brand": null, "portions": []});
    let changed = nutritionist.patch(&at(&made), &patch).await.ok();
    assert_eq!((changed.get("brand"), &changed["portions"]), (None, &json!([])));
    assert_eq!(
        (&changed["barcode"], &changed["per_100g"]),
        (&made["barcode"], &made["per_100g"])
    );
    assert_eq!(search(&nutritionist, "spelt zyx").await, [changed]);
    let basis = json!({"per_100g": {"energy_mkcal": 900_000, "protein_mg": 0, "carbohydrate_mg": 0, "fat_mg": 0}});
    nutritionist.patch(&at(&made), &basis).await.refused(422, "invalid");

    // Trainers may change the foods that they added, but no others.
    let trainer = app.person(gym, &[Role::Trainer]).await;
    trainer
        .patch(&at(&made), &json!({"kind": "dish"}))
        .await
        .refused(403, "forbidden");
    trainer.delete(&at(&made)).await.refused(403, "forbidden");
    let own = trainer
        .post("/foods", &json!({"name_en": "Own", "per_100g": {}}))
        .await
        .ok();
    trainer.patch(&at(&own), &json!({"kind": "dish"})).await.ok();
    nutritionist.patch(&at(&own), &json!({"kind": "sweet"})).await.ok();
    app.stop().await;
}

#[tokio::test]
async fn a_plan_keeps_its_items_when_their_food_is_deleted() {
    let app = TestApp::start().await;
    let author = app.person(app.gym().await, &[Role::Nutritionist]).await;
    let food = author.post("/foods", &bread()).await.ok();
    let plan = json!({"goal": "maintain", "name": "Base", "duration_days": 1, "cycle": "weekly"});
    let plan = author.post("/plans", &plan).await.ok();
    let path = format!("/plans/{}", plan["id"].as_str().expect("an id"));
    let meal = json!({"slot": "lunch", "title": "Pan", "items": [{"food_id": food["id"], "grams_milli": 40_000}]});
    let version = plan["version"].as_i64().expect("a version");
    author
        .write(Method::POST, &format!("{path}/days/1/meals"), Some(&meal), version)
        .await
        .ok();
    let before = author.get(&path).await.ok();
    assert_eq!(author.delete(&at(&food)).await.status, StatusCode::NO_CONTENT);
    author.get(&at(&food)).await.refused(404, "not_found");
    author.delete(&at(&food)).await.refused(404, "not_found");
    assert_eq!(author.get(&path).await.ok(), before);
    app.stop().await;
}

#[tokio::test]
async fn foods_refuse_anonymous_callers_and_the_wrong_role_and_shared_foods_cannot_be_changed() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let shared = format!("/foods/{}", app.food().await);
    let own = at(&app
        .person(gym, &[Role::Trainer])
        .await
        .post("/foods", &bread())
        .await
        .ok());
    let nobody = app.nobody();
    nobody.get("/foods").await.refused(401, "unauthenticated");
    nobody.get(&shared).await.refused(401, "unauthenticated");
    nobody.post("/foods", &bread()).await.refused(401, "unauthenticated");
    nobody.patch(&own, &json!({})).await.refused(401, "unauthenticated");
    nobody.delete(&own).await.refused(401, "unauthenticated");
    for role in [Role::Owner, Role::Member, Role::Auditor] {
        let person = app.person(gym, &[role]).await;
        person.post("/foods", &bread()).await.refused(403, "forbidden");
        person
            .patch(&own, &json!({"kind": "dish"}))
            .await
            .refused(403, "forbidden");
        person.delete(&own).await.refused(403, "forbidden");
    }
    let manager = app.person(gym, &[Role::Manager]).await;
    manager
        .patch(&shared, &json!({"kind": "dish"}))
        .await
        .refused(403, "forbidden");
    manager.delete(&shared).await.refused(403, "forbidden");
    manager
        .get("/foods/0197f0f0-0000-7000-8000-000000000000")
        .await
        .refused(404, "not_found");
    app.stop().await;
}

#[tokio::test]
async fn the_starter_foods_are_loaded_once_and_updated_in_place() {
    use diesel_async::RunQueryDsl as _;
    #[derive(diesel::QueryableByName)]
    struct Counted {
        #[diesel(sql_type = BigInt)]
        n: i64,
        #[diesel(sql_type = Text)]
        ids: String,
    }
    let app = TestApp::start().await;
    let now = app.app.clock.now();
    let mut conn = app.owner().await;
    let count = "SELECT count(*) AS n, md5(string_agg(id::text || name_es, ',' ORDER BY id)) AS ids FROM foods";
    let before: Counted = diesel::sql_query(count).get_result(&mut conn).await.expect("counted");
    assert_eq!(starter::load(&mut conn, now).await.expect("loaded"), 0);
    diesel::sql_query("UPDATE foods SET name_es = 'x' WHERE id IN (SELECT id FROM foods ORDER BY id LIMIT 3)")
        .execute(&mut conn)
        .await
        .expect("spoilt");
    assert_eq!(starter::load(&mut conn, now).await.expect("loaded"), 0);
    diesel::sql_query("DELETE FROM food_tables")
        .execute(&mut conn)
        .await
        .expect("forgotten");
    assert_eq!(starter::load(&mut conn, now).await.expect("loaded"), 3);
    let after: Counted = diesel::sql_query(count).get_result(&mut conn).await.expect("counted");
    assert_eq!((before.n, before.ids), (after.n, after.ids));
    app.stop().await;
}
