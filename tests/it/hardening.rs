//! What the server refuses by its construction: requests with two meanings, pages of other sites, unknown fields,
//! methods that no route has, caches of the API, and dependencies from elsewhere than the registries.

use liveplan::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, http};

use crate::harness::{RawHttp, TestApp};

const HERE: &str = "https://app.example.com";
const ELSEWHERE: &str = "https://elsewhere.example";

#[tokio::test]
async fn a_request_whose_end_is_ambiguous_is_refused_and_its_connection_closed() {
    let app = TestApp::start().await;
    let json = "Content-Type: application/json";
    for lines in [
        &["Content-Length: 2", "Transfer-Encoding: chunked"][..],
        &["Transfer-Encoding: chunked", "Content-Length: 2"],
        &["Content-Length: 2", "Content-Length: 40"],
        &["Content-Length: +2"],
        &["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
        &["Transfer-Encoding: xchunked"],
    ] {
        let mut connection = RawHttp::open(app.address).await;
        // What a front end with another opinion on the length would pass on as a second request.
        let body = "{}GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";
        let lines = [lines, &[json]].concat();
        connection.send("POST /api/v1/auth/login", &lines, body).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, 400, "{lines:?}: {}", answer.head);
        assert!(
            !answer.body.contains("version"),
            "{lines:?}: the second request was answered"
        );
        assert!(connection.ends().await, "{lines:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_parameter_or_field_that_comes_twice_is_refused() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let manager = app.person(gym, &[Role::Manager]).await;
    for query in ["limit=1&limit=200", "role=member&role=owner"] {
        manager
            .get(&format!("/memberships?{query}"))
            .await
            .refused(400, "malformed");
    }
    manager
        .get("/memberships?limit=1&other=2")
        .await
        .refused(400, "malformed");
    let mut connection = RawHttp::open(app.address).await;
    let body = r#"{"email": "a@b.example", "password": "one", "password": "two"}"#;
    let length = format!("Content-Length: {}", body.len());
    let lines = ["Content-Type: application/json", length.as_str()];
    connection.send("POST /api/v1/auth/login", &lines, body).await;
    connection.answer().await.refused(400, "malformed");
    app.stop().await;
}

/// Collects the objects with fields in a schema, following references.
fn objects<'a>(document: &'a Value, schema: &'a Value, name: &str, found: &mut Vec<(String, &'a Value)>) {
    if let Some(to) = schema["$ref"]
        .as_str()
        .and_then(|to| to.strip_prefix("#/components/schemas/"))
    {
        if !found.iter().any(|(known, _)| known == to) {
            let schema = &document["components"]["schemas"][to];
            found.push((to.to_owned(), schema));
            objects(document, schema, to, found);
        }
        return;
    }
    match schema {
        Value::Object(fields) => {
            if schema["properties"].is_object() {
                found.push((name.to_owned(), schema));
            }
            fields.values().for_each(|part| objects(document, part, name, found));
        }
        Value::Array(parts) => parts.iter().for_each(|part| objects(document, part, name, found)),
        _ => {}
    }
}

#[test]
fn every_object_that_a_request_may_send_refuses_unknown_fields() {
    let document = serde_json::to_value(liveplan::server::openapi()).expect("JSON");
    let operations = document["paths"].as_object().expect("paths").values();
    let operations = operations.flat_map(|methods| methods.as_object().expect("methods").values());
    let mut found = Vec::new();
    for operation in operations {
        objects(&document, &operation["requestBody"], "a body", &mut found);
    }
    found.retain(|(_, schema)| schema["properties"].is_object());
    assert!(found.len() > 15, "{} objects", found.len());
    let open: Vec<_> = found
        .iter()
        .filter(|(_, schema)| schema["additionalProperties"] != false)
        .map(|(name, _)| name)
        .collect();
    assert!(
        open.is_empty(),
        "objects of requests without `deny_unknown_fields`: {open:?}"
    );
}

#[tokio::test]
async fn pages_of_other_sites_neither_read_the_api_nor_open_sockets() {
    let app = TestApp::start_with(|config| config.allowed_origins = vec![HERE.into()]).await;
    let nobody = app.nobody();
    for (origin, allowed) in [(HERE, Some(HERE)), (ELSEWHERE, None), ("null", None)] {
        let preflight = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type,authorization"),
        ];
        let asked = nobody
            .send(Method::OPTIONS, "/api/v1/auth/login", None, &preflight)
            .await;
        let read = nobody.send(Method::GET, "/api/v1/gym", None, &preflight[..1]).await;
        for answer in [asked, read] {
            let allows = answer.headers.get("access-control-allow-origin");
            assert_eq!(allows.and_then(|v| v.to_str().ok()), allowed, "{origin}");
            assert!(
                !answer.headers.contains_key("access-control-allow-credentials"),
                "{origin}"
            );
        }
        // Without a preflight a page can send only the media types of forms.
        let headers = [("Origin", origin), ("Content-Type", "text/plain")];
        let login = json!({"email": "a@b.example", "password": "none"});
        nobody
            .send(Method::POST, "/api/v1/auth/login", Some(&login), &headers)
            .await
            .refused(415, "unsupported_media_type");

        let url = format!("ws://{}/connection/websocket", app.address);
        let mut request = url.into_client_request().expect("a request");
        request
            .headers_mut()
            .insert("origin", origin.parse().expect("a header"));
        let opened = tokio_tungstenite::connect_async(request).await;
        match opened {
            Ok(_) => assert!(allowed.is_some(), "{origin} opened a socket"),
            Err(SocketError::Http(answer)) => {
                assert_eq!(
                    (allowed, answer.status()),
                    (None, http::StatusCode::FORBIDDEN),
                    "{origin}"
                );
            }
            Err(error) => panic!("{origin}: {error}"),
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn no_address_answers_trace_or_a_method_that_it_does_not_have() {
    let app = TestApp::start().await;
    let paths = [
        "/",
        "/app/",
        "/api/docs",
        "/api/v1/auth/login",
        "/api/v1/plans",
        "/connection/websocket",
        "/healthz",
        "/nowhere",
    ];
    let canary = ("X-Canary", "yellow");
    for path in paths {
        for method in ["TRACE", "TRACK", "CONNECT", "PROPFIND"] {
            let method = method.parse().expect("a method");
            let answer = app.nobody().send(method, path, None, &[canary]).await;
            assert!(
                [404, 405].contains(&answer.status.as_u16()),
                "{path}: {}",
                answer.status
            );
            assert!(!answer.body.to_string().contains("yellow"), "{path}: {}", answer.body);
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn nothing_that_the_api_answers_may_be_stored_unless_it_says_how() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let member = app.person(gym, &[Role::Member]).await;
    for (who, path, status) in [
        (&member, "/auth/me", 200),
        (&member, "/gym", 200),
        (&member, "/foods?q=rice", 200),
        (&member, "/system/live", 403),
        (&member, "/nowhere", 404),
        (&app.nobody(), "/gym", 401),
    ] {
        let answer = who.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
    }
    app.stop().await;
}

#[tokio::test]
async fn every_body_names_its_type_and_texts_their_encoding() {
    let app = TestApp::start().await;
    let html = "text/html; charset=utf-8";
    for (path, expected) in [
        ("/app/", html),
        ("/api/docs", html),
        ("/api/openapi.json", "application/json"),
        ("/api/live.json", "application/json"),
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/api/v1/gym", "application/problem+json"),
        ("/nowhere", "application/problem+json"),
        ("/connection/websocket", "application/problem+json"),
    ] {
        let answer = app.nobody().send(Method::GET, path, None, &[]).await;
        assert_eq!(answer.headers["content-type"], expected, "{path}");
    }
    app.stop().await;
}

#[test]
fn every_dependency_is_pinned_by_its_hash_and_comes_from_its_registry() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    let lock = read("Cargo.lock");
    let packages: Vec<&str> = lock.split("[[package]]\n").skip(1).collect();
    assert!(packages.len() > 200, "{} packages", packages.len());
    for package in packages {
        let name = package.lines().next().unwrap_or_default();
        // Packages of this repository have neither.
        let source = package.lines().find(|line| line.starts_with("source = "));
        let pinned = package.contains("\nchecksum = \"");
        match source {
            Some(from) => assert!(
                from == r#"source = "registry+https://github.com/rust-lang/crates.io-index""# && pinned,
                "{name}: {from}"
            ),
            None => assert!(!pinned && is_ours(package), "{name} has no source"),
        }
    }
    let locks = ["static", "tests/web", "tests/sdk", "benches/peers"];
    for lock in locks.map(|folder| format!("{folder}/package-lock.json")) {
        let packages: Value = serde_json::from_str(&read(&lock)).expect("JSON");
        let packages = packages["packages"].as_object().expect("packages");
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            let from = package["resolved"].as_str();
            assert!(
                package["integrity"]
                    .as_str()
                    .is_some_and(|hash| hash.starts_with("sha512-"))
                    && from.is_none_or(|from| from.starts_with("https://registry.npmjs.org/")),
                "{lock}: {name} from {from:?}"
            );
        }
    }
}

/// Whether a package of the lock file is a member of the workspace.
fn is_ours(package: &str) -> bool {
    ["liveplan", "embedded-postgres"]
        .iter()
        .any(|name| package.starts_with(&format!("name = \"{name}")))
}
