//! Every route, channel and command is tried without a token, with each wrong role and from another gym. The product
//! itself lists them; a route without a row in the table fails the test, and so does a row without a route.

mod channels;
mod extremes;
mod rows;
mod world;

use std::collections::BTreeSet;

use liveplan::auth::Role;
use liveplan::server;
use reqwest::Method;
use serde_json::Value;

use crate::harness::{Answer, Client, TestApp};
use rows::{Door, Elsewhere, ROWS, Row};
use world::World;

fn openapi() -> Value {
    serde_json::to_value(server::openapi()).expect("a document")
}

#[test]
fn the_table_has_every_route_and_no_other() {
    let document = openapi();
    let mut there = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let path = path.strip_prefix("/api/v1").expect("a path of the API");
            there.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let rows: BTreeSet<_> = ROWS.iter().map(|row| format!("{} {}", row.method, row.path)).collect();
    let missing: Vec<_> = there.difference(&rows).collect();
    let extra: Vec<_> = rows.difference(&there).collect();
    assert!(
        missing.is_empty(),
        "routes that the table of tests/it/every_route/rows.rs lacks: {missing:?}"
    );
    assert!(extra.is_empty(), "rows without a route: {extra:?}");
    assert_eq!(ROWS.len(), rows.len(), "a route has two rows");
}

#[test]
fn every_reference_in_the_openapi_document_resolves() {
    let document = openapi();
    let (mut found, mut dangling, mut to_look_at) = (0, BTreeSet::new(), vec![&document]);
    while let Some(value) = to_look_at.pop() {
        match value {
            Value::Object(map) => {
                if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                    found += 1;
                    let pointer = reference.strip_prefix('#').expect("a reference inside the document");
                    if document.pointer(pointer).is_none() {
                        dangling.insert(reference);
                    }
                }
                to_look_at.extend(map.values());
            }
            Value::Array(items) => to_look_at.extend(items),
            _ => {}
        }
    }
    assert!(found > 50, "{found} references");
    assert_eq!(dangling, BTreeSet::new());
}

#[test]
fn every_operation_has_a_summary_and_a_unique_id() {
    let document = openapi();
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(
                ids.insert(id.clone()),
                "{method} {path}: the name {id:?} is taken or empty"
            );
        }
    }
}

/// Sends a row's request, with the placeholders replaced by ids of the world.
async fn ask(who: &Client, row: &Row, world: &World) -> Answer {
    let method: Method = row.method.parse().expect("a method");
    let path = format!("/api/v1{}", world.fill(row.path, row.instead));
    let path = format!("{path}{}", world.fill(row.query, row.instead));
    let body: Option<Value> =
        (!row.body.is_empty()).then(|| serde_json::from_str(&world.fill_body(row.body)).expect(row.body));
    // `*` matches any version of the plan, so that the precondition is not the reason for a refusal.
    who.send(method, &path, body.as_ref(), &[("If-Match", "*")]).await
}

#[tokio::test]
async fn every_route_refuses_anonymous_callers_the_wrong_role_and_another_gym() {
    let app = TestApp::start().await;
    let world = World::make(&app).await;
    let nowhere = world.without_things();
    for row in ROWS {
        let name = format!("{} {}", row.method, row.path);
        let before = world::fingerprint(&app).await;
        let nobody = ask(&app.nobody(), row, &world).await;
        if let Door::Public(why) = row.door {
            assert!(!why.is_empty());
            assert_ne!(nobody.body["code"], "unauthenticated", "{name} is public");
            continue;
        }
        assert_eq!(
            (nobody.status.as_u16(), &nobody.body["code"]),
            (401, &"unauthenticated".into()),
            "{name}"
        );
        if let Door::Roles(wrong) = row.door {
            for role in wrong {
                let refused = ask(&world.alone[role], row, &world).await;
                let got = (refused.status.as_u16(), &refused.body["code"]);
                assert_eq!(got, (403, &"forbidden".into()), "{name} as {role:?}: {}", refused.body);
            }
        }
        elsewhere(&name, row, &world, &nowhere).await;
        let after = world::fingerprint(&app).await;
        assert_eq!(before, after, "{name}: a refused request changed something");
        // The same request must succeed for a person with the right, so that nothing else was the reason for the
        // refusals above.
        let right = world.person(&app, row.right).await;
        let answer = ask(&right, row, &world).await;
        assert!(answer.status.is_success(), "{name}: {} {}", answer.status, answer.body);
    }
    app.stop().await;
}

/// Tries a route as an account of another gym that has every role there.
async fn elsewhere(name: &str, row: &Row, world: &World, nowhere: &World) {
    let code_of = |answer: &Answer| answer.body["code"].as_str().unwrap_or_default().to_owned();
    let (status, code) = match row.elsewhere {
        Elsewhere::Nothing(why) => return assert!(!why.is_empty()),
        Elsewhere::OwnOnly => {
            let found = ask(&world.stranger, row, world).await.ok().to_string();
            let seen = world.ids().find(|id| found.contains(*id));
            return assert_eq!(seen, None, "{name} shows another gym's things");
        }
        Elsewhere::NotFound => (404, "not_found"),
        Elsewhere::Refused(status, code) => (status, code),
    };
    let found = ask(&world.stranger, row, world).await;
    let missing = ask(&world.stranger, row, nowhere).await;
    assert_eq!(
        (found.status.as_u16(), code_of(&found).as_str()),
        (status, code),
        "{name}: {}",
        found.body
    );
    assert_eq!(
        (found.status, found.body),
        (missing.status, missing.body),
        "{name}: the answers for another gym's object and a missing one differ"
    );
}

/// Every role: no role alone opens these routes and channels.
const EVERYBODY: &[Role] = &Role::ALL;
