//! Links to set a new password: who may make them, what using one ends, and what makes one void.

use chrono::TimeDelta;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use liveplan::accounts;
use liveplan::auth::Role;
use liveplan::auth::link::Page;
use liveplan::error::Code;
use serde_json::{Value, json};

use super::{Place, newcomer, secret};
use crate::harness::{Answer, Client, PASSWORD, TestApp};

const FRESH: &str = "a fresh password";

async fn ask(maker: &Client, account: &Client) -> Answer {
    let path = format!("/memberships/{}/reset-link", account.account);
    maker.post(&path, &json!({})).await
}

async fn use_link(app: &TestApp, secret: &str) -> Answer {
    let body = json!({"secret": secret, "new_password": FRESH});
    app.nobody().post("/auth/reset", &body).await
}

#[tokio::test]
async fn a_link_sets_a_password_once_ends_all_sessions_and_is_shown_to_the_person() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    let ana = app.person(place.gym, &[Role::Member]).await;
    let session = ana.login(PASSWORD, None).await.ok();
    assert!(session.get("reset_link").is_none(), "{session}");
    let mut sockets = [ana.socket().await, ana.with(&session).socket().await];

    let made = ask(&place.manager, &ana).await;
    assert_eq!(made.status.as_u16(), 201);
    let made = made.ok();
    assert!(
        made["link"].as_str().expect("a link").starts_with("/app/reset#"),
        "{made}"
    );
    // The person sees the link before anybody uses it.
    let shown = ana.get("/auth/me").await.ok()["reset_link"].clone();
    assert_eq!(
        (&shown["made_by"], shown.get("used_at")),
        (&json!("Ana Prueba"), None),
        "{shown}"
    );
    assert_eq!(shown["gym"], json!(place.slug));
    let secret = secret(&made);
    let opened = app.nobody().post("/auth/reset/open", &json!({"secret": secret})).await;
    assert_eq!(opened.headers["cache-control"], "no-store");
    let opened = opened.ok();
    assert_eq!(
        (&opened["email"], &opened["gym"]["slug"]),
        (&json!(ana.email), &json!(place.slug))
    );
    let short = json!({"secret": secret, "new_password": "short"});
    app.nobody().post("/auth/reset", &short).await.refused(422, "invalid");

    assert_eq!(use_link(&app, &secret).await.status.as_u16(), 204);
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, 3503);
    }
    ana.get("/auth/me").await.refused(401, "session_ended");
    let refresh = json!({"refresh_token": session["refresh_token"]});
    ana.post("/auth/refresh", &refresh).await.refused(401, "session_ended");
    ana.login(PASSWORD, None).await.refused(401, "bad_credentials");
    let session = ana.login(FRESH, None).await.ok();
    assert!(session["reset_link"]["used_at"].is_string(), "{session}");
    use_link(&app, &secret).await.refused(410, "link_invalid");
    let opened = app.nobody().post("/auth/reset/open", &json!({"secret": secret})).await;
    opened.refused(410, "link_invalid");
    app.stop().await;
}

#[tokio::test]
async fn managers_reset_members_owners_reset_staff_and_nobody_resets_an_owner() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    for role in Role::ALL {
        let person = app.person(place.gym, &[role]).await;
        let (by_manager, by_owner) = (ask(&place.manager, &person).await, ask(&place.owner, &person).await);
        match role {
            Role::Member => drop((by_manager.ok(), by_owner.ok())),
            Role::Owner => {
                by_manager.refused(403, "forbidden");
                by_owner.refused(403, "operator_only");
            }
            _ => {
                by_manager.refused(403, "forbidden");
                by_owner.ok();
            }
        }
    }
    let mixed = app.person(place.gym, &[Role::Member, Role::Trainer]).await;
    ask(&place.manager, &mixed).await.refused(403, "forbidden");
    for who in [&place.owner, &place.manager] {
        assert_eq!(ask(who, who).await.status.as_u16(), 403);
    }
    let ended = app.person(place.gym, &[Role::Member]).await;
    let path = format!("/memberships/{}", ended.account);
    place.manager.patch(&path, &json!({"status": "ended"})).await.ok();
    ask(&place.owner, &ended).await.refused(403, "forbidden");
    app.stop().await;
}

/// The attack: an account is global, so a manager who resets a member gets into every other gym of that person, where
/// the person may even be an owner.
#[tokio::test]
async fn nobody_in_a_gym_resets_an_account_that_belongs_to_another_gym() {
    let app = TestApp::start().await;
    let (home, away) = (Place::make(&app).await, Place::make(&app).await);
    let ana = newcomer(&app, &home, "ana@test.example").await;
    // A link from before is void too, once the account joins another gym.
    let before = secret(&ask(&home.manager, &ana).await.ok());
    let invitation = away.invite("ana@test.example").await;
    let joined = ana
        .post("/invitations/accept", &json!({"secret": secret(&invitation)}))
        .await
        .ok();
    use_link(&app, &before).await.refused(410, "link_invalid");
    for maker in [&home.manager, &home.owner, &away.manager, &away.owner] {
        ask(maker, &ana).await.refused(403, "operator_only");
    }
    ana.with(&joined).get("/auth/me").await.ok();

    // The operator may, and it ends the sessions in both gyms.
    let here = ana.login(super::NEW_PASSWORD, Some(&home.slug)).await.ok();
    let mut sockets = [ana.with(&here).socket().await, ana.with(&joined).socket().await];
    let link = accounts::reset_by_operator(&app.app, &away.slug, "Ana@test.example").await;
    let link = link.expect("a link").link(Page::Reset);
    let shown = ana.with(&here).get("/auth/me").await.ok()["reset_link"].clone();
    assert_eq!(
        (shown.get("made_by"), &shown["gym"]),
        (None, &json!(away.slug)),
        "{shown}"
    );
    let link = link.split_once('#').expect("a fragment").1;
    assert_eq!(use_link(&app, link).await.status.as_u16(), 204);
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, 3503);
    }
    for gym in [&home.slug, &away.slug] {
        ana.login(FRESH, Some(gym)).await.ok();
    }
    app.stop().await;
}

#[tokio::test]
async fn the_operator_resets_an_owner_by_gym_and_email() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    let reset = async |gym: &str, email: &str| accounts::reset_by_operator(&app.app, gym, email).await;
    let refused = |result: liveplan::error::Result<_>| {
        result
            .map(|_: liveplan::auth::link::Secret| ())
            .expect_err("refused")
            .code
    };
    assert_eq!(refused(reset("nowhere", &place.owner.email).await), Code::NotFound);
    assert_eq!(refused(reset(&place.slug, "nobody@test.example").await), Code::NotFound);
    let link = reset(&place.slug, &place.owner.email)
        .await
        .expect("a link")
        .link(Page::Reset);
    let secret = link.split_once('#').expect("a fragment").1;
    assert_eq!(use_link(&app, secret).await.status.as_u16(), 204);
    place.owner.login(FRESH, None).await.ok();
    app.stop().await;
}

#[tokio::test]
async fn a_link_is_void_after_a_newer_one_a_new_role_a_new_password_or_seven_days() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    let void = async |secret: &str| use_link(&app, secret).await.refused(410, "link_invalid");

    let ana = app.person(place.gym, &[Role::Member]).await;
    let first = secret(&ask(&place.manager, &ana).await.ok());
    let second = secret(&ask(&place.manager, &ana).await.ok());
    void(&first).await;
    // The attack: a manager makes a link for a member who is about to become an owner.
    let path = format!("/memberships/{}", ana.account);
    place
        .owner
        .patch(&path, &json!({"roles": ["member", "owner"]}))
        .await
        .ok();
    void(&second).await;

    let eva = app.person(place.gym, &[Role::Member]).await;
    let made = secret(&ask(&place.manager, &eva).await.ok());
    let body = json!({"current_password": PASSWORD, "new_password": "eva's own words"});
    assert_eq!(eva.post("/auth/password", &body).await.status.as_u16(), 200);
    void(&made).await;

    // The attack: a manager who expects to be dismissed keeps a link.
    let leo = app.person(place.gym, &[Role::Member]).await;
    let manager = app.person(place.gym, &[Role::Manager]).await;
    let made = secret(&ask(&manager, &leo).await.ok());
    let path = format!("/memberships/{}", manager.account);
    place.owner.patch(&path, &json!({"status": "ended"})).await.ok();
    void(&made).await;

    let made = secret(&ask(&place.manager, &leo).await.ok());
    app.app.clock.advance(TimeDelta::days(7));
    void(&made).await;
    app.stop().await;
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// The attack: the link is made in the instant in which the account joins another gym.
#[tokio::test]
async fn no_link_survives_that_is_made_while_the_account_joins_another_gym() {
    let app = TestApp::start().await;
    let (home, away) = (Place::make(&app).await, Place::make(&app).await);
    let (mut made_links, rounds) = (0, 12);
    for round in 0..rounds {
        let email = format!("r{round}@test.example");
        let ana = app.person(home.gym, &[Role::Member]).await;
        let invitation: Value = away.invite(&email).await;
        let body = json!({"secret": secret(&invitation)});
        let (made, joined) = tokio::join!(ask(&home.manager, &ana), ana.post("/invitations/accept", &body));
        joined.ok();
        if made.status.is_success() {
            made_links += 1;
            use_link(&app, &secret(&made.body)).await.refused(410, "link_invalid");
        } else {
            made.refused(403, "operator_only");
        }
        let open: Count = diesel::sql_query(
            "SELECT count(*) AS n FROM password_resets WHERE account_id = $1 AND used_at IS NULL AND revoked_at IS NULL",
        )
        .bind::<SqlUuid, _>(ana.account)
        .get_result(&mut app.owner().await)
        .await
        .expect("a count");
        assert_eq!(open.n, 0);
    }
    println!("{made_links} of {rounds} links came before the account joined");
    app.stop().await;
}

#[tokio::test]
async fn of_two_uses_of_a_link_at_once_one_sets_the_password() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    let ana = app.person(place.gym, &[Role::Member]).await;
    let made = secret(&ask(&place.manager, &ana).await.ok());
    let (one, two) = tokio::join!(use_link(&app, &made), use_link(&app, &made));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 410]);
    app.stop().await;
}
