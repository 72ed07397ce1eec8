//! Extreme dates, numbers and texts in every field of every route and command, one field at a time. The answer is
//! always a client error or a success: never a 5xx, a panic or a dropped connection.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use liveplan::auth::Role;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value, json};

use super::rows::{ROWS, Row};
use super::world::World;
use super::{openapi, rows::Door};
use crate::harness::{Client, TestApp};

/// The first and last dates that chrono and Postgres can hold, those just outside, and some invalid ones.
const DATES: [&str; 12] = [
    "-262143-01-01",
    "-262143-01-07",
    "+262142-12-31",
    "-4712-01-01",
    "-4714-11-23",
    "+5874898-01-01",
    "0000-01-01",
    "0001-01-01",
    "1899-12-31",
    "9999-12-31",
    "+294277-01-01",
    "2026-02-30",
];
/// The ends of the integers of Rust and Postgres, and values beyond them.
const NUMBERS: [&str; 11] = [
    "0",
    "-1",
    "2147483647",
    "-2147483648",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "-99999999999999999999",
    "1e308",
];
/// Texts that Postgres cannot store, or that no user would send.
const TEXTS: [&str; 6] = ["", "\u{0}", "a\u{0}b", "\u{10ffff}", "%", "\u{202e}\n'\"\\"];

/// Bodies with more fields than the table's, so that every field is parsed and validated.
#[rustfmt::skip]
const FULLER: &[(&str, &str, &str)] = &[
    ("POST", "/plans", r#"{"kind": "live", "goal": "health", "name": "Otro", "duration_days": 1, "start_date": "<date>",
        "target": {"energy_mkcal": 2000000, "protein_mg": 1, "carbohydrate_mg": 1, "fat_mg": 1}}"#),
    ("PATCH", "/plans/{plan}", r#"{"target": {"energy_mkcal": 2000000}}"#),
    ("POST", "/plans/{plan}/days/{day}/meals", r#"{"slot": "dinner", "title": "Cena", "time_min": 1, "position": 1,
        "items": [{"food_id": "<food>", "quantity_milli": 1000, "unit": "g", "position": 1}]}"#),
    ("PATCH", "/plans/{plan}/days/{day}/meals/{meal}", r#"{"items": [{"food_id": "<food>", "quantity_milli": 1000, "unit": "g"}]}"#),
    ("POST", "/plans/{plan}/days/{day}/meals/{meal}/items", r#"{"food_id": "<food>", "quantity_milli": 1000, "unit": "g"}"#),
    ("POST", "/foods", r#"{"name_es": "Sopa", "per_100g": {"energy_mkcal": 1, "protein_mg": 1, "carbohydrate_mg": 1, "fat_mg": 1},
        "portions": [{"name_en": "cup", "name_es": "taza", "grams_milli": 1000}]}"#),
    ("PATCH", "/foods/{food}", r#"{"portions": [{"name_en": "cup", "name_es": "taza", "grams_milli": 1000}]}"#),
    ("POST", "/plans/{plan}/follow", r#"{"member_id": "<second>", "start_date": "<date>", "time_zone": "UTC"}"#),
    ("POST", "/assignments", r#"{"trainer_id": "<trainer>", "member_id": "<second>", "until": "2100-01-01T00:00:00Z"}"#),
    ("PUT", "/meals/{meal}/completions/{date}", r#"{"status": "partial", "portion_permille": 1, "member_id": "<member>", "key": "k"}"#),
];

/// The extreme values for a field: as text and as JSON.
fn extremes(schema: &Value, document: &Value) -> Vec<(String, Value)> {
    let schema = resolved(schema, document);
    let is = |kind: &str| schema["type"] == kind || schema["type"].as_array().is_some_and(|t| t.contains(&json!(kind)));
    let text = |texts: &[String]| texts.iter().map(|t| (t.clone(), json!(t))).collect::<Vec<_>>();
    let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    if is("integer") || is("number") {
        return NUMBERS
            .iter()
            .map(|n| ((*n).to_owned(), serde_json::from_str(n).expect("a number")))
            .collect();
    }
    match schema["format"].as_str() {
        Some("date") => text(&owned(&DATES)),
        Some("date-time") => text(&DATES.map(|day| format!("{day}T23:59:59.999999Z"))),
        _ if is("string") => {
            let mut texts = owned(&TEXTS);
            texts.push("x".repeat(20_000));
            text(&texts)
        }
        _ => Vec::new(),
    }
}

/// Resolves a schema's references, and its non-null variant.
fn resolved<'a>(schema: &'a Value, document: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("inside the document");
        return resolved(document.pointer(pointer).expect("a schema"), document);
    }
    match schema["oneOf"].as_array() {
        Some(ways) => ways
            .iter()
            .find(|way| way["type"] != "null")
            .map_or(schema, |way| resolved(way, document)),
        None => schema,
    }
}

/// Copies of the body in which one field, at any depth, has an extreme value: the field's path and the body.
fn bodies(body: &Value, schema: &Value, document: &Value) -> Vec<(String, Value)> {
    let schema = resolved(schema, document);
    if let Some(properties) = schema["properties"].as_object() {
        let given = body.as_object().cloned().unwrap_or_default();
        return properties
            .iter()
            .flat_map(|(name, of)| {
                let inner = bodies(given.get(name).unwrap_or(&Value::Null), of, document);
                let with = |(at, value)| {
                    let mut whole: Map<String, Value> = given.clone();
                    whole.insert(name.clone(), value);
                    (format!("{name}.{at}"), Value::Object(whole))
                };
                inner.into_iter().map(with).collect::<Vec<_>>()
            })
            .collect();
    }
    if schema["items"].is_object() {
        let inner = bodies(&body[0], &schema["items"], document);
        return inner.into_iter().map(|(at, value)| (at, json!([value]))).collect();
    }
    extremes(schema, document).into_iter().collect()
}

/// One attempt on a row: a name, path with query, headers and body.
struct Try {
    name: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = write!(encoded, "%{byte:02X}");
        encoded
    })
}

fn tries(row: &Row, world: &World, document: &Value) -> Vec<Try> {
    let operation = &document["paths"][format!("/api/v1{}", row.path)][row.method.to_lowercase()];
    assert!(operation.is_object(), "{} {}", row.method, row.path);
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    let template = format!("/api/v1{}", row.path);
    let path = world.fill(&template, row.instead);
    let query = world.fill(row.query, row.instead);
    let fuller = FULLER
        .iter()
        .find(|(method, path, _)| (*method, *path) == (row.method, row.path));
    let body = fuller.map_or(row.body, |(.., body)| *body);
    let body: Option<Value> = (!body.is_empty()).then(|| serde_json::from_str(&world.fill_body(body)).expect(body));
    let base = vec![("If-Match".to_owned(), "*".to_owned())];
    let mut tries = Vec::new();
    let mut add = |name: String, path: String, headers: &[(String, String)], body: &Option<Value>| {
        tries.push(Try {
            name,
            path,
            headers: headers.to_vec(),
            body: body.clone(),
        });
    };
    // Path parameters that the document describes, and those that it does not.
    for word in row.path.split(['{', '}']).skip(1).step_by(2) {
        let known = parameters.iter().find(|p| p["name"] == word && p["in"] == "path");
        let text = json!({"type": "string"});
        for (value, _) in extremes(known.map_or(&text, |p| &p["schema"]), document) {
            let placed = template.replace(&format!("{{{word}}}"), &encoded(&value));
            let placed = world.fill(&placed, row.instead);
            add(format!("{word}={value}"), format!("{placed}{query}"), &base, &body);
        }
    }
    for parameter in &parameters {
        let name = parameter["name"].as_str().expect("a name");
        for (value, _) in extremes(&parameter["schema"], document) {
            match parameter["in"].as_str() {
                Some("query") => {
                    let others = query.trim_start_matches('?');
                    let others = others.split('&').filter(|pair| !pair.starts_with(&format!("{name}=")));
                    let mut pairs: Vec<String> = others.map(str::to_owned).collect();
                    pairs.push(format!("{name}={}", encoded(&value)));
                    add(
                        format!("{name}={value}"),
                        format!("{path}?{}", pairs.join("&")),
                        &base,
                        &body,
                    );
                }
                // A value that no header can hold is never sent.
                Some("header") if HeaderValue::from_str(&value).is_ok() => {
                    let mut headers = base.clone();
                    headers.retain(|(other, _)| other != name);
                    headers.push((name.to_owned(), value.clone()));
                    add(format!("{name}={value}"), format!("{path}{query}"), &headers, &body);
                }
                _ => {}
            }
        }
    }
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    if let Some(body) = &body {
        for (at, body) in bodies(body, schema, document) {
            add(
                format!("{at}{}", short(&body)),
                format!("{path}{query}"),
                &base,
                &Some(body),
            );
        }
    }
    tries
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

/// Sends the attempt; returns the fault in the answer, if any.
async fn fault(http: &reqwest::Client, who: &Client, base: &str, row: &Row, attempt: &Try) -> Option<String> {
    let method: Method = row.method.parse().expect("a method");
    let mut request = http.request(method, format!("{base}{}", attempt.path));
    if let Some(token) = &who.token {
        request = request.bearer_auth(token);
    }
    for (name, value) in &attempt.headers {
        request = request.header(name, value);
    }
    if let Some(body) = &attempt.body {
        request = request.json(body);
    }
    match request.send().await {
        Err(error) => Some(format!("{}: no answer: {error:?}", attempt.name)),
        Ok(answer) if answer.status().is_server_error() => {
            let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
            Some(format!("{}: {status} {body}", attempt.name))
        }
        Ok(_) => None,
    }
}

#[tokio::test]
async fn no_extreme_date_number_or_text_makes_the_server_fail() {
    let app = TestApp::start().await;
    let world = World::make(&app).await;
    let document = openapi();
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client");
    let base = format!("http://{}", app.address);
    let (mut faults, mut sent) = (BTreeMap::<String, Vec<String>>::new(), 0);
    for row in ROWS {
        let name = format!("{} {}", row.method, row.path);
        let tries = tries(row, &world, &document);
        let mut people = vec![app.nobody(), world.person(&app, row.right).await];
        if !matches!(row.door, Door::Public(_)) {
            people.push(app.person(world.gym, &Role::ALL).await);
            people.extend(Role::ALL.map(|role| world.alone[&role].clone()));
        }
        for who in &people {
            sent += tries.len();
            let found = stream::iter(&tries)
                .map(|attempt| fault(&http, who, &base, row, attempt))
                .buffer_unordered(8)
                .filter_map(async |fault| fault)
                .collect::<Vec<_>>()
                .await;
            if !found.is_empty() {
                faults.entry(name.clone()).or_default().extend(found);
            }
        }
    }
    let told: Vec<String> = faults
        .iter()
        .map(|(name, all)| {
            format!(
                "{name}: {} of\n    {}",
                all.len(),
                all.iter().take(4).cloned().collect::<Vec<_>>().join("\n    ")
            )
        })
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    assert!(sent > 5_000, "{sent} requests");
    // All connections of the pool still work.
    let all: Vec<_> = (0..32).map(|_| world.member.get("/follows/today")).collect();
    for answer in futures_util::future::join_all(all).await {
        assert!(answer.status.as_u16() < 500, "{}", answer.body);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_date_out_of_range_is_refused_by_its_field() {
    let app = TestApp::start().await;
    let world = World::make(&app).await;
    for day in ["-262143-01-01", "1899-12-31", "2200-01-02", "+262142-12-31"] {
        let meal = world.word("meal");
        let instant = format!("{day}T00:00:00Z");
        let (member, trainer) = (&world.member, &world.trainer);
        let manager = world.person(&app, super::rows::Right::Manager).await;
        let author = world.person(&app, super::rows::Right::Author).await;
        let progress = encoded(day);
        let live = json!({"kind": "live", "goal": "health", "name": "x", "duration_days": 1, "start_date": day});
        let tick = json!({"meal_id": meal, "date": day, "status": "eaten"});
        let assignment = json!({"trainer_id": trainer.account, "member_id": world.word("second"), "until": instant});
        let follow = format!("/plans/{}/follow", world.word("plan"));
        let answers = [
            ("from", member.get(&format!("/progress/daily?from={progress}")).await),
            ("to", member.get(&format!("/progress/daily?to={progress}")).await),
            ("date", member.get(&format!("/follows/today?date={progress}")).await),
            (
                "date",
                member
                    .put(
                        &format!("/meals/{meal}/completions/{progress}"),
                        &json!({"status": "eaten"}),
                    )
                    .await,
            ),
            (
                "date",
                member.delete(&format!("/meals/{meal}/completions/{progress}")).await,
            ),
            ("date", member.post("/meals/complete", &tick).await),
            ("start_date", member.post(&follow, &json!({"start_date": day})).await),
            ("start_date", author.post("/plans", &live).await),
            ("until", manager.post("/assignments", &assignment).await),
        ];
        for (field, answer) in answers {
            answer.refused(422, "invalid");
            assert_eq!(answer.body["field"], field, "{day}: {}", answer.body);
        }
    }
    app.stop().await;
}

/// Whether the reply is an internal error of the server.
fn is_fault(reply: &Value) -> bool {
    reply["error"]["code"] == 100
}

#[tokio::test]
async fn no_extreme_date_or_number_in_a_command_makes_a_socket_fail() {
    let app = TestApp::start().await;
    let world = World::make(&app).await;
    let document = openapi();
    let mut faults = Vec::new();
    let commands = [
        (
            "meal.complete",
            "NewCompletion",
            r#"{"meal_id": "<meal>", "date": "<date>", "status": "partial", "portion_permille": 500}"#,
        ),
        ("meal.undo", "Undo", r#"{"meal_id": "<meal>", "date": "<date>"}"#),
    ];
    let mut socket = world.member.socket().await;
    for (method, schema, data) in commands {
        let data: Value = serde_json::from_str(&world.fill_body(data)).expect("JSON");
        for (at, data) in bodies(&data, &document["components"]["schemas"][schema], &document) {
            let reply = socket.call("rpc", json!({"method": method, "data": data})).await;
            if is_fault(&reply) {
                faults.push(format!("{method} {at}: {reply}"));
            }
        }
    }
    let channel = format!("member:{}", world.member.account);
    let trainer = &world.trainer;
    for offset in [
        "0",
        "1",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
    ] {
        for epoch in ["", "x", "\u{0}"] {
            let mut socket = trainer.socket().await;
            let offset: Value = serde_json::from_str(offset).expect("a number");
            let body = json!({"channel": channel, "recover": true, "offset": offset, "epoch": epoch, "flag": i64::MIN});
            let reply = socket.call("subscribe", body).await;
            if is_fault(&reply) {
                faults.push(format!("subscribe {offset} {epoch:?}: {reply}"));
            }
        }
    }
    for limit in [i32::MIN, -1, i32::MAX] {
        let since = json!({"offset": u64::MAX, "epoch": ""});
        let mut socket = trainer.socket().await;
        let reply = socket
            .call(
                "history",
                json!({"channel": channel, "limit": limit, "since": since, "reverse": true}),
            )
            .await;
        if is_fault(&reply) {
            faults.push(format!("history {limit}: {reply}"));
        }
    }
    for name in ["", "member:\u{0}", "plan:-1", "roster:", "gym:\u{10ffff}"] {
        let mut socket = trainer.socket().await;
        let reply = socket.call("subscribe", json!({"channel": name})).await;
        if is_fault(&reply) {
            faults.push(format!("subscribe {name:?}: {reply}"));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    app.stop().await;
}
