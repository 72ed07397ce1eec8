//! Writes name the version that they are based on, and reads are answered 304 if the client has the same
//! representation.

use liveplan::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{TestPlan, kitchen};
use crate::harness::{Client, TestApp};

#[tokio::test]
async fn a_write_needs_the_current_version() {
    let app = TestApp::start().await;
    let (gym, author, food) = kitchen(&app).await;
    let mut plan = TestPlan::published(&author, 1, food).await;
    let stale = plan.version;
    let meal = plan.meal(1, "Dinner", food).await;
    let path = |below: &str| format!("/api/v1{}", plan.path(below));
    let body = json!({"title": "x"});
    for (method, below) in [
        (Method::PATCH, String::new()),
        (Method::DELETE, String::new()),
        (Method::POST, "/publish".into()),
        (Method::POST, "/archive".into()),
        (Method::PATCH, "/days/1".into()),
        (Method::POST, "/days/1/meals".into()),
        (Method::PATCH, meal.clone()),
        (Method::DELETE, meal.clone()),
        (Method::POST, format!("{meal}/items")),
    ] {
        let body = match (method.as_str(), below.as_str()) {
            ("PATCH", "") => json!({"name": "x"}),
            ("POST", "/days/1/meals") => json!({"slot": "lunch", "title": "x"}),
            ("POST", _) => json!({"food_id": food, "grams_milli": 1}),
            _ => body.clone(),
        };
        author
            .send(method.clone(), &path(&below), Some(&body), &[])
            .await
            .refused(428, "version_required");
        let old = author
            .write(method.clone(), &plan.path(&below), Some(&body), stale)
            .await;
        old.refused(412, "version_stale");
        assert_eq!(old.etag, Some(format!("\"{}\"", plan.version)));
        // A stranger learns nothing about the version.
        let stranger = app.person(app.gym().await, &[Role::Manager]).await;
        stranger
            .send(method, &path(&below), Some(&body), &[])
            .await
            .refused(404, "not_found");
    }
    let etag = author
        .send(Method::GET, &path(""), None, &[])
        .await
        .etag
        .expect("a tag");
    let outsider = app.person(gym, &[Role::Auditor]).await;
    outsider
        .send(Method::GET, &path(""), None, &[("If-None-Match", &etag)])
        .await
        .refused(403, "forbidden");
    app.stop().await;
}

/// The ETag of the same version in another release's representation.
fn of_another_release(tag: &str) -> String {
    let (version, _) = tag.split_once('.').expect("a version and a representation");
    format!("{version}.0123456789abcdef\"")
}

#[tokio::test]
async fn a_read_is_answered_304_only_if_the_client_has_the_same_bytes() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let mut plan = TestPlan::published(&author, 1, food).await;
    let path = format!("/api/v1{}", plan.path(""));
    let get = async |given: Option<&str>, accepts: &str| {
        let given = given.map(|tag| ("If-None-Match", tag));
        let headers: Vec<_> = given.into_iter().chain([("Accept-Encoding", accepts)]).collect();
        author.send(Method::GET, &path, None, &headers).await
    };
    let plain = get(None, "identity").await.etag.expect("a tag");
    let gzip = get(None, "gzip").await.etag.expect("a tag");
    let deflate = get(None, "deflate").await.etag.expect("a tag");
    assert!(
        plain != gzip && gzip != deflate && deflate != plain,
        "{plain} {gzip} {deflate}"
    );
    for (tag, accepts) in [(&plain, "identity"), (&gzip, "gzip"), (&deflate, "deflate")] {
        assert!(!tag.starts_with("W/"), "a write needs a strong ETag, not {tag}");
        for given in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
            let same = get(Some(&given), accepts).await;
            assert_eq!(
                (same.status.as_u16(), same.etag.as_deref(), &same.body),
                (304, Some(tag.as_str()), &json!("")),
                "{given} {accepts}"
            );
            let field = |name: &str| same.headers[name].to_str().expect("text").to_owned();
            assert!(field("vary").contains("accept-encoding"), "{given}: {:?}", same.headers);
            assert_eq!(field("cache-control"), "private, no-cache", "{given}");
        }
    }
    let bare = format!("\"{}\"", plan.version);
    for (given, accepts) in [
        (plain.as_str(), "gzip"),
        (&gzip, "identity"),
        (&deflate, "gzip"),
        (&of_another_release(&plain), "identity"),
        (&bare, "identity"),
        ("\"1\"", "identity"),
    ] {
        assert_eq!(get(Some(given), accepts).await.status, 200, "{given} {accepts}");
    }
    plan.write(Method::PATCH, "", Some(&json!({"name": "Renamed"}))).await;
    assert_eq!(get(Some(&plain), "identity").await.status, 200);
    app.stop().await;
}

#[tokio::test]
async fn a_write_accepts_the_etag_of_any_representation_of_the_current_version() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let plan = TestPlan::published(&author, 1, food).await;
    let path = format!("/api/v1{}", plan.path(""));
    let send = async |method: Method, header: (&str, &str), body: Option<&Value>| {
        author.send(method, &path, body, &[header]).await
    };
    let mut stale: Vec<String> = Vec::new();
    for form in 0..6 {
        let plain = send(Method::GET, ("Accept-Encoding", "identity"), None)
            .await
            .etag
            .expect("a tag");
        let gzip = send(Method::GET, ("Accept-Encoding", "gzip"), None)
            .await
            .etag
            .expect("a tag");
        let bare = format!("{}\"", plain.split('.').next().expect("a version"));
        let given = [
            plain.clone(),
            gzip.clone(),
            bare.clone(),
            of_another_release(&plain),
            format!("\"0\", {gzip}"),
            "*".into(),
        ][form]
            .clone();
        for old in &stale {
            let refused = send(Method::PATCH, ("If-Match", old), Some(&json!({"name": "x"}))).await;
            refused.refused(412, "version_stale");
            assert_eq!(refused.etag.as_ref(), Some(&bare), "{old}");
        }
        for weak in [format!("W/{plain}"), format!("W/{bare}")] {
            send(Method::PATCH, ("If-Match", &weak), Some(&json!({"name": "x"})))
                .await
                .refused(412, "version_stale");
        }
        let body = json!({"name": format!("Form {form}")});
        let written = send(Method::PATCH, ("If-Match", &given), Some(&body)).await;
        assert_eq!(written.status, 200, "{given}: {}", written.body);
        stale = vec![plain, gzip, bare];
    }
    app.stop().await;
}

#[tokio::test]
async fn of_concurrent_edits_of_one_version_one_succeeds() {
    let app = TestApp::start().await;
    let (_, author, food) = kitchen(&app).await;
    let plan = TestPlan::published(&author, 1, food).await;
    let bodies: Vec<Value> = (0..6)
        .map(|n| json!({"slot": "snack", "title": format!("{n}")}))
        .collect();
    let edits = bodies
        .iter()
        .map(|body| plan.attempt(Method::POST, "/days/1/meals", Some(body)));
    let mut answers: Vec<u16> = futures_util::future::join_all(edits)
        .await
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    answers.sort_unstable();
    assert_eq!(answers, [201, 412, 412, 412, 412, 412]);
    let read = plan.read().await;
    assert_eq!(
        (&read["version"], &read["revision"]),
        (&json!(plan.version + 1), &json!(2))
    );
    assert_eq!(read["days"][0]["meals"].as_array().map(Vec::len), Some(2));
    app.stop().await;
}

#[tokio::test]
async fn a_list_of_plans_is_answered_304_while_it_is_unchanged() {
    let app = TestApp::start().await;
    let (gym, author, food) = kitchen(&app).await;
    let mut plan = TestPlan::published(&author, 1, food).await;
    let list = |who: &Client, path: &str, tag: Option<&str>| {
        let (who, path) = (who.clone(), format!("/api/v1{path}"));
        let tag = tag.map(|tag| ("If-None-Match", tag.to_owned()));
        async move {
            let headers: Vec<_> = tag.iter().map(|(name, tag)| (*name, tag.as_str())).collect();
            who.send(Method::GET, &path, None, &headers).await
        }
    };
    let first = list(&author, "/plans", None).await;
    let tag = first.etag.clone().expect("a tag");
    assert_eq!(first.ok()["items"][0]["version"], json!(plan.version));
    let same = list(&author, "/plans", Some(&tag)).await;
    assert_eq!(
        (same.status.as_u16(), same.etag.as_deref(), &same.body),
        (304, Some(tag.as_str()), &json!(""))
    );
    // Another list has another ETag, and an account that may not list gets 403 even with a matching one.
    assert_eq!(list(&author, "/plans?status=draft", Some(&tag)).await.status, 200);
    let auditor = app.person(gym, &[Role::Auditor]).await;
    list(&auditor, "/plans", Some(&tag)).await.refused(403, "forbidden");

    plan.write(Method::PATCH, "", Some(&json!({"name": "Renamed"}))).await;
    let changed = list(&author, "/plans", Some(&tag)).await;
    assert_ne!(changed.etag.as_deref(), Some(tag.as_str()));
    assert_eq!(changed.ok()["items"][0]["name"], json!("Renamed"));
    app.stop().await;
}
