//! A gym's own fields, and the assignments of its trainers.

use chrono::TimeDelta;
use liveplan::auth::Role;
use liveplan::auth::link::{Page, Secret};
use liveplan::error::Code;
use liveplan::gyms::{self, NewGym};
use liveplan::rosters;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Client, Gym, TestApp, local};

fn new_gym(slug: &str, email: &str) -> NewGym {
    NewGym {
        slug: slug.into(),
        name: "Gimnasio Norte".into(),
        time_zone: "Atlantic/Canary".into(),
        locale: "es".into(),
        owner_email: email.into(),
        owner_name: "Olga".into(),
    }
}

#[tokio::test]
async fn a_gym_is_created_with_an_invitation_for_its_owner() {
    let app = TestApp::start().await;
    let (_, link) = gyms::create(&app.app, new_gym("norte", "Olga@Test.example"))
        .await
        .expect("a gym");
    let session = join(&app, &link, "olga@test.example", "correct horse").await;
    assert_eq!(session["roles"], json!(["owner"]));
    assert_eq!(session["gym"]["time_zone"], "Atlantic/Canary");
    let owner = app.nobody().with(&session);
    // The gym has a log: a change with events commits.
    let body = json!({"email": "ana@test.example", "name": "Ana", "roles": ["member"]});
    let made = owner.post("/invitations", &body).await.ok();
    let ana = app
        .nobody()
        .post(
            "/invitations/accept",
            &claim(&made["link"], "ana@test.example", "correct horse"),
        )
        .await
        .ok();
    let path = format!("/memberships/{}", ana["account"]["id"].as_str().expect("an id"));
    owner.patch(&path, &json!({"roles": ["member", "trainer"]})).await.ok();

    let again = gyms::create(&app.app, new_gym("norte", "otra@test.example")).await;
    assert_eq!(again.expect_err("taken").code, Code::Conflict);
    app.stop().await;
}

/// The attack: an account with an owner's email, whose password the manager of another gym knows, becomes the owner of
/// the gym that the operator creates for that email.
#[tokio::test]
async fn an_account_with_the_owners_email_gets_nothing_of_a_gym_that_is_created_for_it() {
    let app = TestApp::start().await;
    let (_, first) = gyms::create(&app.app, new_gym("sur", "jefa@test.example"))
        .await
        .expect("a gym");
    join(&app, &first, "olga@test.example", "known to another").await;
    let (_, link) = gyms::create(&app.app, new_gym("norte", "olga@test.example"))
        .await
        .expect("a gym");
    let login = |password: &str, gym: &str| {
        let body = json!({"email": "olga@test.example", "password": password, "gym": gym});
        let nobody = app.nobody();
        async move { nobody.post("/auth/login", &body).await }
    };
    login("known to another", "norte").await.refused(403, "no_membership");
    // The holder of the link makes an account of her own with the same email.
    join(&app, &link, "olga@test.example", "correct horse").await;
    let owner = login("correct horse", "norte").await.ok();
    assert_eq!(
        (&owner["gym"]["slug"], &owner["roles"]),
        (&json!("norte"), &json!(["owner"]))
    );
    login("known to another", "norte").await.refused(401, "bad_credentials");
    login("correct horse", "sur").await.refused(401, "bad_credentials");
    assert_eq!(login("known to another", "sur").await.ok()["gym"]["slug"], json!("sur"));
    app.stop().await;
}

#[tokio::test]
async fn the_operator_invites_another_owner_and_the_earlier_link_no_longer_works() {
    let app = TestApp::start().await;
    let (_, first) = gyms::create(&app.app, new_gym("norte", "olga@test.example"))
        .await
        .expect("a gym");
    let again = async |slug: &str| gyms::invite_owner(&app.app, slug, "Olga@test.example", "Olga", "es").await;
    let second = again("norte").await.expect("a link");
    assert_eq!(again("sur").await.expect_err("no gym").code, Code::NotFound);
    let first = first.link(Page::Invitation);
    app.nobody()
        .post(
            "/invitations/accept",
            &claim(&json!(first), "olga@test.example", "correct horse"),
        )
        .await
        .refused(410, "link_invalid");
    join(&app, &second, "olga@test.example", "correct horse").await;
    app.stop().await;
}

fn claim(link: &Value, email: &str, password: &str) -> Value {
    let secret = link.as_str().and_then(|link| link.split('#').nth(1)).expect("a link");
    json!({"secret": secret, "account": {"email": email, "name": "Olga", "password": password}})
}

/// Opens an invitation's link with a new account, and returns its session.
async fn join(app: &TestApp, link: &Secret, email: &str, password: &str) -> Value {
    let link = json!(link.link(Page::Invitation));
    app.nobody()
        .post("/invitations/accept", &claim(&link, email, password))
        .await
        .ok()
}

#[tokio::test]
async fn owners_and_managers_may_change_the_gym() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let manager = app.person(gym, &[Role::Manager]).await;
    let patch = json!({"name": " Centro ", "time_zone": "Europe/Lisbon", "locale": "en", "day_start": 240});
    let changed = manager.patch("/gym", &patch).await.ok();
    assert_eq!(
        (&changed["name"], &changed["day_start"]),
        (&json!("Centro"), &json!(240))
    );
    assert_eq!(manager.get("/gym").await.ok(), changed);
    assert_eq!(manager.patch("/gym", &json!({})).await.ok(), changed);
    for wrong in [
        json!({"time_zone": "Mars/Olympus"}),
        json!({"day_start": 721}),
        json!({"name": ""}),
    ] {
        manager.patch("/gym", &wrong).await.refused(422, "invalid");
    }
    manager
        .patch("/gym", &json!({"slug": "x"}))
        .await
        .refused(400, "malformed");
    for role in [Role::Nutritionist, Role::Trainer, Role::Member, Role::Auditor] {
        let person = app.person(gym, &[role]).await;
        person
            .patch("/gym", &json!({"day_start": 0}))
            .await
            .refused(403, "forbidden");
        person.get("/gym").await.ok();
    }
    app.stop().await;
}

struct Floor {
    app: TestApp,
    gym: Gym,
    manager: Client,
    trainer: Client,
    member: Client,
}

async fn floor() -> Floor {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    Floor {
        manager: app.person(gym, &[Role::Manager]).await,
        trainer: app.person(gym, &[Role::Trainer]).await,
        member: app.person(gym, &[Role::Member]).await,
        app,
        gym,
    }
}

impl Floor {
    fn pair(&self) -> Value {
        json!({"trainer_id": self.trainer.account, "member_id": self.member.account})
    }
}

#[tokio::test]
async fn an_assignment_adds_the_member_to_the_roster_and_opens_their_channel() {
    let floor = floor().await;
    let (roster, channel) = (
        format!("roster:{}", floor.trainer.account),
        format!("member:{}", floor.member.account),
    );
    let mut socket = floor.trainer.socket().await;
    let snapshot = socket.subscribe(&roster).await;
    assert_eq!(snapshot["subscribe"]["data"]["members"], json!({}), "{snapshot}");
    assert_eq!(socket.subscribe(&channel).await["error"]["code"], 103);

    let assignment = floor.manager.post("/assignments", &floor.pair()).await.ok();
    let (_, event) = socket.publication(&roster).await;
    assert_eq!(event["type"], "assignment.started");
    let entry = &event["patch"]["members"][floor.member.account.to_string()];
    assert_eq!(
        (&entry["name"], &entry["since"]),
        (&json!("Ana Prueba"), &assignment["since"])
    );
    let opened = socket.subscribe(&channel).await;
    assert!(opened.get("subscribe").is_some(), "{opened}");
    floor
        .trainer
        .get(&format!("/memberships/{}", floor.member.account))
        .await
        .ok();

    let path = format!("/assignments/{}", assignment["id"].as_str().expect("an id"));
    assert_eq!(floor.manager.delete(&path).await.status, StatusCode::NO_CONTENT);
    let (_, event) = socket.publication(&roster).await;
    assert_eq!(event["type"], "assignment.ended");
    assert_eq!(
        event["patch"],
        json!({"members": {floor.member.account.to_string(): null}})
    );
    assert_eq!(socket.unsubscribed(&channel).await, 2000);
    floor.manager.delete(&path).await.refused(404, "not_found");
    floor
        .trainer
        .get(&format!("/memberships/{}", floor.member.account))
        .await
        .refused(403, "forbidden");
    floor.app.stop().await;
}

#[tokio::test]
async fn a_member_is_assigned_to_a_trainer_only_once() {
    let floor = floor().await;
    let (one, two) = (floor.pair(), floor.pair());
    let (one, two) = tokio::join!(
        floor.manager.post("/assignments", &one),
        floor.manager.post("/assignments", &two)
    );
    let (first, second) = if one.status == StatusCode::CREATED {
        (one, two)
    } else {
        (two, one)
    };
    first.ok();
    second.refused(409, "already_assigned");
    let list = floor.trainer.get("/assignments").await.ok();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(floor.member.get("/assignments").await.ok(), list);
    floor.app.stop().await;
}

#[tokio::test]
async fn an_assignment_needs_an_active_trainer_and_member_of_the_gym() {
    let floor = floor().await;
    let elsewhere = floor.app.gym().await;
    let foreign = floor.app.person(elsewhere, &[Role::Trainer, Role::Member]).await;
    let both = floor.app.person(floor.gym, &[Role::Trainer, Role::Member]).await;
    for (trainer, member, field) in [
        (&floor.member, &floor.member, "member_id"),
        (&both, &both, "member_id"),
        (&floor.manager, &floor.member, "trainer_id"),
        (&floor.trainer, &floor.manager, "member_id"),
        (&foreign, &floor.member, "trainer_id"),
        (&floor.trainer, &foreign, "member_id"),
    ] {
        let body = json!({"trainer_id": trainer.account, "member_id": member.account});
        let answer = floor.manager.post("/assignments", &body).await;
        answer.refused(422, "invalid");
        assert_eq!(answer.body["field"], field);
    }
    let mut late = floor.pair();
    late["until"] = json!(floor.app.app.clock.now() - TimeDelta::seconds(1));
    floor.manager.post("/assignments", &late).await.refused(422, "invalid");
    floor.app.stop().await;
}

#[tokio::test]
async fn an_expired_assignment_leaves_the_roster() {
    let floor = floor().await;
    let roster = format!("roster:{}", floor.trainer.account);
    let mut socket = floor.trainer.socket().await;
    socket.subscribe(&roster).await;
    let mut pair = floor.pair();
    pair["until"] = json!(floor.app.app.clock.now() + TimeDelta::minutes(5));
    floor.manager.post("/assignments", &pair).await.ok();
    assert_eq!(socket.publication(&roster).await.1["type"], "assignment.started");
    assert_eq!(local(rosters::close_due(&floor.app.app)).await.expect("closed"), 0);
    floor.app.app.clock.advance(TimeDelta::minutes(6));
    assert_eq!(local(rosters::close_due(&floor.app.app)).await.expect("closed"), 1);
    assert_eq!(local(rosters::close_due(&floor.app.app)).await.expect("closed"), 0);
    assert_eq!(socket.publication(&roster).await.1["type"], "assignment.ended");
    assert_eq!(floor.manager.get("/assignments").await.ok()["items"], json!([]));
    floor.app.stop().await;
}

#[tokio::test]
async fn an_assignment_ends_with_the_membership_it_needs() {
    let floor = floor().await;
    floor.manager.post("/assignments", &floor.pair()).await.ok();
    let mut socket = floor.trainer.socket().await;
    let roster = format!("roster:{}", floor.trainer.account);
    socket.subscribe(&roster).await;
    let path = format!("/memberships/{}", floor.member.account);
    floor.manager.patch(&path, &json!({"status": "suspended"})).await.ok();
    assert_eq!(
        floor.trainer.get("/assignments").await.ok()["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    floor.manager.patch(&path, &json!({"status": "ended"})).await.ok();
    assert_eq!(socket.publication(&roster).await.1["type"], "assignment.ended");
    assert_eq!(floor.trainer.get("/assignments").await.ok()["items"], json!([]));
    floor.app.stop().await;
}

#[tokio::test]
async fn a_retry_with_its_key_assigns_once() {
    let floor = floor().await;
    let send = |body: Value| {
        let manager = floor.manager.clone();
        async move {
            manager
                .send(
                    Method::POST,
                    "/api/v1/assignments",
                    Some(&body),
                    &[("Idempotency-Key", "k1")],
                )
                .await
        }
    };
    let first = send(floor.pair()).await.ok();
    let again = send(floor.pair()).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.ok(), first);
    let mut other = floor.pair();
    other["until"] = json!(floor.app.app.clock.now() + TimeDelta::days(1));
    send(other).await.refused(422, "key_reused");
    floor.app.stop().await;
}

#[tokio::test]
async fn assignments_refuse_anonymous_callers_the_wrong_role_and_another_gym() {
    let floor = floor().await;
    let made = floor.manager.post("/assignments", &floor.pair()).await.ok();
    let path = format!("/assignments/{}", made["id"].as_str().expect("an id"));
    let nobody = floor.app.nobody();
    nobody.get("/assignments").await.refused(401, "unauthenticated");
    nobody
        .post("/assignments", &floor.pair())
        .await
        .refused(401, "unauthenticated");
    nobody.delete(&path).await.refused(401, "unauthenticated");
    nobody.get("/gym").await.refused(401, "unauthenticated");
    nobody.patch("/gym", &json!({})).await.refused(401, "unauthenticated");
    for role in [Role::Nutritionist, Role::Trainer, Role::Member, Role::Auditor] {
        let person = floor.app.person(floor.gym, &[role]).await;
        person
            .post("/assignments", &floor.pair())
            .await
            .refused(403, "forbidden");
        person.delete(&path).await.refused(403, "forbidden");
    }
    let auditor = floor.app.person(floor.gym, &[Role::Auditor]).await;
    auditor.get("/assignments").await.refused(403, "forbidden");
    let other = format!("/assignments?member={}", floor.member.account);
    floor
        .app
        .person(floor.gym, &[Role::Member])
        .await
        .get(&other)
        .await
        .refused(403, "forbidden");
    let stranger = floor.app.person(floor.app.gym().await, &[Role::Owner]).await;
    stranger.delete(&path).await.refused(404, "not_found");
    assert_eq!(stranger.get("/assignments").await.ok()["items"], json!([]));
    floor.app.stop().await;
}
