//! The headers that protect browsers, on every kind of response; and what strangers learn about readiness.

use liveplan::auth::Role;
use liveplan::config::{Config, Hsts};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, until};

/// Requests whose responses come from different places: handlers, extractors, middleware, the web app, documents.
const REQUESTS: [(Method, &str, u16); 16] = [
    (Method::GET, "/", 302),
    (Method::GET, "/app/", 200),
    (Method::GET, "/app/plans/1", 200),
    (Method::GET, "/app/assets/none.js", 404),
    (Method::GET, "/api/docs", 200),
    (Method::GET, "/api/docs/problems", 200),
    (Method::GET, "/api/openapi.json", 200),
    (Method::GET, "/api/live.json", 200),
    (Method::GET, "/healthz", 200),
    (Method::GET, "/readyz", 200),
    (Method::GET, "/nowhere", 404),
    (Method::DELETE, "/app/", 405),
    (Method::GET, "/connection/websocket", 400),
    (Method::GET, "/api/v1/auth/me", 401),
    (Method::GET, "/api/v1/plans/none", 401),
    (Method::POST, "/api/v1/auth/login", 415),
];

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// The directives of a response's policy.
fn policy(answer: &Answer) -> Vec<&str> {
    let all: Vec<_> = answer.headers.get_all("content-security-policy").iter().collect();
    assert_eq!(all.len(), 1);
    header(answer, "content-security-policy")
        .split(';')
        .map(str::trim)
        .collect()
}

fn is_protected(answer: &Answer, what: &str) {
    assert!(policy(answer).contains(&"frame-ancestors 'none'"), "{what}");
    assert_eq!(header(answer, "x-content-type-options"), "nosniff", "{what}");
    assert_eq!(header(answer, "referrer-policy"), "same-origin", "{what}");
    let whole = policy(answer).join(" ");
    for open in ["ws:", "http", "*", "unsafe", "data:", "blob:"] {
        assert!(!whole.contains(open), "{what}: {whole}");
    }
}

#[tokio::test]
async fn every_response_carries_the_headers_that_protect_browsers() {
    let app = TestApp::start_with(|config| config.allowed_origins = vec!["https://app.example".into()]).await;
    // Redirects are answers, too.
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    for (method, path, status) in REQUESTS {
        let what = format!("{method} {path}");
        let answer = http
            .request(method, format!("http://{}{path}", app.address))
            .send()
            .await
            .expect("an answer");
        // The web app may not be built.
        if !(path.starts_with("/app/") && answer.status() == StatusCode::SERVICE_UNAVAILABLE) {
            assert_eq!(answer.status().as_u16(), status, "{what}");
        }
        let answer = Answer {
            status: answer.status(),
            etag: None,
            headers: answer.headers().clone(),
            body: Value::Null,
        };
        is_protected(&answer, &what);
        assert!(
            !answer.headers.contains_key("strict-transport-security"),
            "{what} came without TLS"
        );
    }
    let allowed = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "PATCH"),
    ];
    let preflight = app
        .nobody()
        .send(Method::OPTIONS, "/api/v1/plans", None, &allowed)
        .await;
    assert_eq!(preflight.status, 200);
    is_protected(&preflight, "a preflight");
    let coded = [("Content-Encoding", "gzip")];
    let refused = app
        .nobody()
        .send(Method::POST, "/api/v1/auth/login", Some(&json!({})), &coded)
        .await;
    refused.refused(415, "unsupported_media_type");
    is_protected(&refused, "a compressed body");
    let metrics = reqwest::get(format!("http://{}/metrics", app.metrics))
        .await
        .expect("an answer");
    assert_eq!(metrics.headers()["x-content-type-options"], "nosniff");
    app.stop().await;
}

#[tokio::test]
async fn the_web_app_may_load_and_connect_to_its_own_origin_only_and_json_nothing() {
    let app = TestApp::start().await;
    let nobody = app.nobody();
    let page = nobody.send(Method::GET, "/app/", None, &[]).await;
    if page.status == StatusCode::OK {
        let directives = policy(&page);
        assert!(directives.contains(&"default-src 'self'") && directives.contains(&"connect-src 'self'"));
        // A cache replaces the headers of the page with those of this response.
        let same = [("If-None-Match", page.etag.as_deref().expect("a tag"))];
        let unchanged = nobody.send(Method::GET, "/app/", None, &same).await;
        assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED);
        assert_eq!(policy(&unchanged), directives);
    }
    let documentation = nobody.send(Method::GET, "/api/docs", None, &[]).await;
    assert!(
        policy(&documentation)
            .iter()
            .any(|part| part.starts_with("style-src 'sha256-"))
    );
    assert!(policy(&documentation).contains(&"default-src 'none'"));
    let member = app.person(app.gym().await, &[Role::Member]).await;
    let me = member.get("/auth/me").await;
    assert!(policy(&me).contains(&"default-src 'none'"));
    app.stop().await;
}

#[tokio::test]
async fn browsers_are_told_to_use_tls_only_behind_a_proxy_that_says_so_or_by_configuration() {
    type Case<'a> = (Hsts, bool, &'a [(&'a str, &'a str)], bool);
    let trusting = |config: &mut Config| config.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    let by_tls = [("X-Forwarded-Proto", "https")];
    let cases: [Case<'_>; 5] = [
        (Hsts::Auto, true, &by_tls, true),
        (Hsts::Auto, true, &[], false),
        (Hsts::Auto, false, &by_tls, false),
        (Hsts::Always, false, &[], true),
        (Hsts::Never, true, &by_tls, false),
    ];
    for (hsts, trusts, headers, told) in cases {
        let app = TestApp::start_with(|config| {
            config.hsts = hsts;
            if trusts {
                trusting(config);
            }
        })
        .await;
        for path in ["/api/docs", "/nowhere", "/api/v1/auth/me"] {
            let answer = app.nobody().send(Method::GET, path, None, headers).await;
            let said = header(&answer, "strict-transport-security");
            let expected = if told {
                "max-age=31536000; includeSubDomains"
            } else {
                ""
            };
            assert_eq!(said, expected, "{hsts:?}, trusted: {trusts}, {headers:?}");
        }
        app.stop().await;
    }
}

#[tokio::test]
async fn strangers_learn_only_whether_a_node_is_ready_and_their_questions_cost_no_transaction() {
    let app = TestApp::start().await;
    let nobody = app.nobody();
    let gets = || {
        let used = app.app.pool.state().statistics;
        used.get_direct + used.get_waited
    };
    let (before, began) = (gets(), std::time::Instant::now());
    for _ in 0..500 {
        let answer = nobody.send(Method::GET, "/readyz", None, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, json!({"status": "ready"})));
    }
    // The node's own tasks use the database a few times a second.
    let (used, seconds) = (gets() - before, began.elapsed().as_secs());
    assert!(used < 10 + 10 * seconds, "{used} transactions in {seconds} s");
    let (status, details) = app.readiness().await;
    assert_eq!(
        (status, &details["status"], &details["database"]),
        (200, &json!("ready"), &json!(true))
    );
    assert_eq!(details["sockets"], 0);
    app.stop().await;
}

#[tokio::test]
async fn a_node_is_not_ready_within_seconds_after_its_database_is_gone() {
    let direct = TestApp::start().await;
    let proxy = crate::harness::proxy::Cuttable::before_postgres(&direct.database).await;
    let app = TestApp::node(&proxy.url(&direct.database), |_| {}).await;
    assert_eq!(app.readiness().await.0, 200);
    proxy.silence(true);
    let began = std::time::Instant::now();
    until("it is not ready", async || {
        let answer = app.nobody().send(Method::GET, "/readyz", None, &[]).await;
        assert!(
            answer.status == 200 || answer.body == json!({"status": "not ready"}),
            "{answer:?}"
        );
        answer.status == 503
    })
    .await;
    assert!(
        began.elapsed() < std::time::Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(app.readiness().await.1["database"], false);
    proxy.silence(false);
    until("it is ready again", async || app.readiness().await.0 == 200).await;
    app.stop().await;
    direct.stop().await;
}

#[tokio::test]
async fn names_with_invisible_characters_are_refused_wherever_a_name_is_given() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let owner = app.person(gym, &[Role::Owner, Role::Nutritionist]).await;
    let food = json!({"name_en": "Rice", "per_100g": {}});
    let with = |field: &str, value: &str| {
        let mut body = food.clone();
        body[field] = value.into();
        body
    };
    for bad in ["Rice\u{202E}ecir", "Ri\u{200B}ce", "\u{FEFF}Rice", "Rice\u{2066}"] {
        owner.patch("/gym", &json!({"name": bad})).await.refused(422, "invalid");
        let plan = json!({"goal": "maintain", "name": bad, "duration_days": 1});
        let refused = owner.post("/plans", &plan).await;
        refused.refused(422, "invalid");
        assert_eq!(refused.body["field"], "name", "{}", refused.body);
        for field in ["name_en", "name_es", "brand"] {
            let refused = owner.post("/foods", &with(field, bad)).await;
            refused.refused(422, "invalid");
            assert_eq!(refused.body["field"], field, "{}", refused.body);
        }
        let portion = json!([{"name_en": bad, "name_es": "taza", "grams_milli": 1000}]);
        let mut body = food.clone();
        body["portions"] = portion;
        owner.post("/foods", &body).await.refused(422, "invalid");
    }
    owner.patch("/gym", &json!({"name": "Gimnasio Ñandú 🏋️‍♀️"})).await.ok();
    owner.post("/foods", &with("name_en", "Crème brûlée 🍮")).await.ok();
    app.stop().await;
}
