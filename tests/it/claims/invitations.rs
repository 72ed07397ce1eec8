//! Invitations: who may make them, whose account joins, and what they tell.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use liveplan::auth::Role;
use liveplan::auth::link::{Page, Secret};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{NEW_PASSWORD, Place, claim, device, invitation, newcomer, secret};
use crate::harness::{Client, PASSWORD, TestApp};

#[tokio::test]
async fn whoever_opens_an_invitation_joins_with_a_new_account_and_the_link_works_once() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    let answer = place
        .manager
        .post("/invitations", &invitation(" Nuria@Test.example", "trainer"))
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let made = answer.ok();
    assert!(
        made["link"].as_str().expect("a link").starts_with("/app/invitation#"),
        "{made}"
    );
    let secret = secret(&made);
    let opened = app.nobody().post("/invitations/open", &json!({"secret": secret})).await;
    assert_eq!(opened.headers["cache-control"], "no-store");
    let opened = opened.ok();
    assert_eq!(
        (
            &opened["gym"]["slug"],
            &opened["email"],
            &opened["roles"],
            &opened["locale"]
        ),
        (
            &json!(place.slug),
            &json!("nuria@test.example"),
            &json!(["trainer"]),
            &json!("es")
        )
    );
    // Until then the gym has no such member, and lists the invitation.
    let people = place.manager.get("/memberships").await.ok();
    assert_eq!(people["items"].as_array().map(Vec::len), Some(2));
    let open = place.manager.get("/invitations").await.ok();
    assert_eq!(
        (&open["items"][0]["id"], open["items"][0].get("link")),
        (&made["id"], None)
    );

    // The account may use another email than the invitation.
    let accepted = app
        .nobody()
        .post("/invitations/accept", &claim(&secret, "own@test.example"))
        .await;
    assert_eq!(accepted.headers["cache-control"], "no-store");
    let session = accepted.ok();
    assert_eq!(
        (&session["roles"], &session["account"]["locale"]),
        (&json!(["trainer"]), &json!("es"))
    );
    let nuria = device(&app, &session);
    nuria.login(NEW_PASSWORD, None).await.ok();
    let member = place.manager.get(&format!("/memberships/{}", nuria.account)).await.ok();
    assert_eq!(
        (&member["email"], &member["name"], &member["status"]),
        (&json!("own@test.example"), &json!("Nuria Nueva"), &json!("active"))
    );
    assert_eq!(place.manager.get("/invitations").await.ok()["items"], json!([]));
    for path in ["/invitations/open", "/invitations/accept"] {
        let mut body = claim(&secret, "other@test.example");
        if path.ends_with("open") {
            body.as_object_mut().expect("an object").remove("account");
        }
        app.nobody().post(path, &body).await.refused(410, "link_invalid");
    }
    app.stop().await;
}

#[tokio::test]
async fn an_account_that_somebody_has_joins_by_signing_in_or_as_the_signed_in_one() {
    let app = TestApp::start().await;
    let (home, away) = (Place::make(&app).await, Place::make(&app).await);
    // Signed out: the sign-in carries the secret. The invitation's email is another one.
    let ana = app.person(home.gym, &[Role::Member]).await;
    let made = away.invite("invited@test.example").await;
    let mut body = json!({"email": ana.email, "password": "not the one", "invitation": secret(&made)});
    ana.post("/auth/login", &body).await.refused(401, "bad_credentials");
    body["password"] = json!(PASSWORD);
    let session = ana.post("/auth/login", &body).await.ok();
    assert_eq!(
        (&session["gym"]["slug"], &session["account"]["id"]),
        (&json!(away.slug), &json!(ana.account))
    );
    ana.post("/auth/login", &body).await.refused(410, "link_invalid");

    // Signed in: the new session replaces the one that the person had.
    let eva = app.person(home.gym, &[Role::Member]).await;
    let made = away.invite("another@test.example").await;
    let mut socket = eva.socket().await;
    let body = json!({"secret": secret(&made)});
    app.nobody()
        .post("/invitations/accept", &body)
        .await
        .refused(422, "invalid");
    let stale = Client::new(app.address, eva.account, String::new(), Some("no token".into()));
    stale
        .post("/invitations/accept", &body)
        .await
        .refused(401, "unauthenticated");
    let session = eva.post("/invitations/accept", &body).await.ok();
    assert_eq!(
        (&session["gym"]["slug"], &session["account"]["id"]),
        (&json!(away.slug), &json!(eva.account))
    );
    assert_eq!(socket.closed().await, 3503);
    eva.get("/auth/me").await.refused(401, "session_ended");
    eva.with(&session).get("/auth/me").await.ok();
    let member = away.manager.get(&format!("/memberships/{}", eva.account)).await.ok();
    assert_eq!(
        (&member["status"], &member["roles"]),
        (&json!("active"), &json!(["member"]))
    );
    app.stop().await;
}

/// The attack: whoever got an account with a person's email first (a manager of another gym, say) waits until a gym
/// invites that email, and signs in to the gym.
#[tokio::test]
async fn an_account_with_the_invited_email_gets_nothing_and_the_links_holder_joins() {
    let app = TestApp::start().await;
    let (home, away) = (Place::make(&app).await, Place::make(&app).await);
    let thief = newcomer(&app, &home, "ana@test.example").await;
    let made = away.invite("ana@test.example").await;
    thief
        .login(NEW_PASSWORD, Some(&away.slug))
        .await
        .refused(403, "no_membership");
    thief
        .post("/auth/switch", &json!({"gym": away.slug}))
        .await
        .refused(403, "no_membership");

    // Ana makes an account of her own, with the same email and another password.
    let mut body = claim(&secret(&made), "ana@test.example");
    body["account"]["password"] = json!("ana's own words");
    let session = app.nobody().post("/invitations/accept", &body).await.ok();
    assert_ne!(session["account"]["id"], json!(thief.account));
    let ana = device(&app, &session);
    let theirs = |password: &'static str, gym: Option<String>| {
        let ana = ana.clone();
        async move { ana.login(password, gym.as_deref()).await }
    };
    let hers = theirs("ana's own words", Some(away.slug.clone())).await.ok();
    assert_eq!(hers["account"]["id"], json!(ana.account));
    theirs(NEW_PASSWORD, Some(away.slug.clone()))
        .await
        .refused(401, "bad_credentials");
    theirs("ana's own words", Some(home.slug.clone()))
        .await
        .refused(401, "bad_credentials");
    assert_eq!(
        theirs(NEW_PASSWORD, Some(home.slug.clone())).await.ok()["account"]["id"],
        json!(thief.account)
    );
    app.stop().await;
}

#[tokio::test]
async fn nothing_tells_the_inviter_whether_an_email_has_an_account() {
    let app = TestApp::start().await;
    let (home, away) = (Place::make(&app).await, Place::make(&app).await);
    let known = app.person(home.gym, &[Role::Member]).await.email;
    let gone = newcomer(&app, &away, "gone@test.example").await;
    let ended = json!({"status": "ended"});
    let path = format!("/memberships/{}", gone.account);
    home.manager.patch(&path, &ended).await.refused(404, "not_found");
    away.manager.patch(&path, &ended).await.ok();

    let mut seen = Vec::new();
    for email in ["nobody@test.example", &known, &gone.email] {
        let created = away.manager.post("/invitations", &invitation(email, "member")).await;
        let again = away.manager.post("/invitations", &invitation(email, "member")).await;
        let id = created.body["id"].as_str().expect("an id").to_owned();
        let renewed = away.manager.post(&format!("/invitations/{id}/renew"), &json!({})).await;
        let opened = json!({"secret": secret(&renewed.body)});
        let opened = app.nobody().post("/invitations/open", &opened).await;
        let listed = away.manager.get("/invitations").await;
        let people = away.manager.get("/memberships").await;
        let answers = [created, again, renewed, opened, listed, people];
        let shown = answers.map(|answer| {
            let headers: BTreeSet<_> = answer.headers.keys().map(ToString::to_string).collect();
            (answer.status, headers, without_chance(answer.body, email))
        });
        // No row of the account is visible to the gym either.
        let mut conn = app.owner().await;
        conn.batch_execute(&format!(
            "BEGIN; SET LOCAL ROLE liveplan_app; SET LOCAL app.gym = '{}'",
            away.gym.id
        ))
        .await
        .expect("the gym's role");
        let count: Count = diesel::sql_query(format!("SELECT count(*) AS n FROM accounts WHERE email = '{known}'"))
            .get_result(&mut conn)
            .await
            .expect("a count");
        assert_eq!(count.n, 0);
        let revoked = away.manager.delete(&format!("/invitations/{id}")).await;
        seen.push((shown, revoked.status));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    app.stop().await;
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Replaces what differs between any two invitations.
fn without_chance(mut value: Value, email: &str) -> Value {
    fn walk(value: &mut Value, email: &str) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match name.as_str() {
                        "id" | "link" | "created_at" | "expires_at" => *field = json!(name),
                        _ => walk(field, email),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, email)),
            Value::String(text) if *text == email => *text = "the email".into(),
            _ => {}
        }
    }
    walk(&mut value, email);
    value
}

#[tokio::test]
async fn a_link_that_was_renewed_or_revoked_or_has_expired_no_longer_works() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    let refused = async |secret: &str| {
        let answer = app
            .nobody()
            .post("/invitations/accept", &claim(secret, "n@test.example"))
            .await;
        answer.refused(410, "link_invalid");
        let answer = app.nobody().post("/invitations/open", &json!({"secret": secret})).await;
        answer.refused(410, "link_invalid");
    };
    let made = place.invite("n@test.example").await;
    let path = format!("/invitations/{}", made["id"].as_str().expect("an id"));
    let renewed = place.owner.post(&format!("{path}/renew"), &json!({})).await.ok();
    assert_eq!(renewed["invited_by"], json!(place.owner.account));
    refused(&secret(&made)).await;

    app.app.clock.advance(TimeDelta::days(7));
    refused(&secret(&renewed)).await;
    // An expired invitation stays in the list and can be renewed. The callers' tokens have expired too.
    let owner = place.owner.with(&place.owner.login(PASSWORD, None).await.ok());
    assert_eq!(owner.get("/invitations").await.ok()["items"][0]["id"], made["id"]);
    let renewed = owner.post(&format!("{path}/renew"), &json!({})).await.ok();
    assert_eq!(owner.delete(&path).await.status, StatusCode::NO_CONTENT);
    refused(&secret(&renewed)).await;
    owner.delete(&path).await.refused(404, "not_found");
    owner
        .post(&format!("{path}/renew"), &json!({}))
        .await
        .refused(404, "not_found");
    for other in ["", "abc", &"A".repeat(43)] {
        refused(other).await;
    }
    app.stop().await;
}

#[tokio::test]
async fn of_two_people_who_open_one_link_at_once_one_joins() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    for round in 0..6 {
        let made = place.invite(&format!("r{round}@test.example")).await;
        let accept = |who: usize| {
            let body = claim(&secret(&made), &format!("r{round}-{who}@test.example"));
            let nobody = app.nobody();
            async move { nobody.post("/invitations/accept", &body).await }
        };
        let (one, two, three) = tokio::join!(accept(1), accept(2), accept(3));
        let mut statuses = [one, two, three].map(|answer| answer.status.as_u16());
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 410, 410]);
    }
    let people = place.manager.get("/memberships").await.ok();
    assert_eq!(people["items"].as_array().map(Vec::len), Some(8));
    app.stop().await;
}

#[tokio::test]
async fn a_gym_has_one_account_for_an_email_even_if_two_join_at_once() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    for round in 0..6 {
        let mut links = Vec::new();
        for n in 0..3 {
            links.push(secret(&place.invite(&format!("i{round}-{n}@test.example")).await));
        }
        let email = format!("r{round}@test.example");
        let accept = |secret: &str| {
            let (body, nobody) = (claim(secret, &email), app.nobody());
            async move { nobody.post("/invitations/accept", &body).await }
        };
        let (one, two, three) = tokio::join!(accept(&links[0]), accept(&links[1]), accept(&links[2]));
        let mut codes = [one, two, three].map(|answer| answer.body["code"].as_str().unwrap_or("").to_owned());
        codes.sort_unstable();
        assert_eq!(codes, ["", "email_in_use", "email_in_use"]);
        // A refused link still works.
        let left = links.iter().map(|secret| json!({"secret": secret}));
        let mut works = 0;
        for body in left {
            works += usize::from(app.nobody().post("/invitations/open", &body).await.status.is_success());
        }
        assert_eq!(works, 2);
    }
    app.stop().await;
}

#[tokio::test]
async fn an_ended_member_comes_back_with_their_account_and_a_suspended_one_does_not() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    let ana = newcomer(&app, &place, "ana@test.example").await;
    let path = format!("/memberships/{}", ana.account);
    place
        .manager
        .post("/invitations", &invitation("ana@test.example", "member"))
        .await
        .refused(409, "already_member");
    let other = place.invite("other@test.example").await;
    ana.post("/invitations/accept", &json!({"secret": secret(&other)}))
        .await
        .refused(409, "already_member");
    place.manager.patch(&path, &json!({"status": "suspended"})).await.ok();
    let login = json!({"email": ana.email, "password": NEW_PASSWORD, "invitation": secret(&other)});
    ana.post("/auth/login", &login).await.refused(409, "already_member");

    place.manager.patch(&path, &json!({"status": "ended"})).await.ok();
    ana.login(NEW_PASSWORD, None).await.refused(403, "no_membership");
    let made = place
        .manager
        .post("/invitations", &invitation("ana@test.example", "trainer"))
        .await
        .ok();
    let login = json!({"email": ana.email, "password": NEW_PASSWORD, "invitation": secret(&made)});
    let session = ana.post("/auth/login", &login).await.ok();
    assert_eq!(
        (&session["account"]["id"], &session["roles"]),
        (&json!(ana.account), &json!(["trainer"]))
    );
    app.stop().await;
}

#[tokio::test]
async fn managers_invite_trainers_and_members_and_manage_only_such_invitations() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    for role in Role::ALL {
        let body = invitation(&format!("{}@test.example", role.name()), role.name());
        let answer = place.manager.post("/invitations", &body).await;
        if matches!(role, Role::Trainer | Role::Member) {
            answer.ok();
            continue;
        }
        answer.refused(403, "forbidden");
        let made = place.owner.post("/invitations", &body).await.ok();
        let path = format!("/invitations/{}", made["id"].as_str().expect("an id"));
        place.manager.delete(&path).await.refused(403, "forbidden");
        let renew = place.manager.post(&format!("{path}/renew"), &json!({})).await;
        renew.refused(403, "forbidden");
    }
    let mut wrong = invitation("x@test.example", "member");
    wrong["roles"] = json!([]);
    place.owner.post("/invitations", &wrong).await.refused(422, "invalid");
    for (field, value) in [("email", "x"), ("name", " ")] {
        let mut wrong = invitation("x@test.example", "member");
        wrong[field] = json!(value);
        let answer = place.manager.post("/invitations", &wrong).await;
        answer.refused(422, "invalid");
        assert_eq!(answer.body["field"], field);
    }
    let made = place.invite("y@test.example").await;
    for (field, value) in [("email", "x"), ("name", " "), ("password", "short")] {
        let mut wrong = claim(&secret(&made), "y@test.example");
        wrong["account"][field] = json!(value);
        let answer = app.nobody().post("/invitations/accept", &wrong).await;
        answer.refused(422, "invalid");
        assert_eq!(answer.body["field"], field);
    }
    app.stop().await;
}

/// The attack: a manager who expects to be dismissed keeps an invitation.
#[tokio::test]
async fn invitations_of_a_manager_who_loses_the_role_no_longer_work() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    for change in [
        json!({"roles": ["trainer"]}),
        json!({"status": "suspended"}),
        json!({"status": "ended"}),
    ] {
        let manager = app.person(place.gym, &[Role::Manager]).await;
        let made = manager
            .post("/invitations", &invitation("back@test.example", "trainer"))
            .await
            .ok();
        let path = format!("/memberships/{}", manager.account);
        place.owner.patch(&path, &change).await.ok();
        app.nobody()
            .post("/invitations/accept", &claim(&secret(&made), "back@test.example"))
            .await
            .refused(410, "link_invalid");
    }
    // An owner who becomes a manager keeps the invitations that a manager may make.
    let owner = app.person(place.gym, &[Role::Owner]).await;
    let kept = owner
        .post("/invitations", &invitation("kept@test.example", "member"))
        .await
        .ok();
    let gone = owner
        .post("/invitations", &invitation("gone@test.example", "auditor"))
        .await
        .ok();
    let path = format!("/memberships/{}", owner.account);
    place.owner.patch(&path, &json!({"roles": ["manager"]})).await.ok();
    let opened = async |made: &Value| {
        let body = json!({"secret": secret(made)});
        app.nobody().post("/invitations/open", &body).await.status.as_u16()
    };
    assert_eq!((opened(&kept).await, opened(&gone).await), (200, 410));
    app.stop().await;
}

#[tokio::test]
async fn a_link_bears_a_bounded_number_of_attempts() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    newcomer(&app, &place, "ana@test.example").await;
    let made = place.invite("x@test.example").await;
    let probe = claim(&secret(&made), "ana@test.example");
    for _ in 0..20 {
        app.nobody()
            .post("/invitations/accept", &probe)
            .await
            .refused(409, "email_in_use");
    }
    let refused = app.nobody().post("/invitations/accept", &probe).await;
    refused.refused(429, "too_many_requests");
    assert!(refused.headers.contains_key("retry-after"));
    app.app.clock.advance(TimeDelta::minutes(15));
    let body = claim(&secret(&made), "x@test.example");
    app.nobody().post("/invitations/accept", &body).await.ok();
    app.stop().await;
}

#[tokio::test]
async fn a_sign_in_with_an_invitation_counts_as_a_look_at_a_link() {
    let app = TestApp::start().await;
    let link = Secret::random().link(Page::Invitation);
    let invented = link.split_once('#').expect("a fragment").1;
    let nobody = app.nobody();
    for _ in 0..300 {
        let look = nobody.post("/invitations/open", &json!({"secret": invented})).await;
        look.refused(410, "link_invalid");
    }
    let body = json!({"email": "ana@test.example", "password": NEW_PASSWORD, "invitation": invented});
    nobody
        .post("/auth/login", &body)
        .await
        .refused(429, "too_many_requests");
    app.stop().await;
}

#[tokio::test]
async fn there_is_no_way_to_add_a_person_with_a_password_of_somebody_elses_choice() {
    let app = TestApp::start().await;
    let place = Place::make(&app).await;
    let body = json!({"email": "x@test.example", "name": "x", "password": NEW_PASSWORD, "roles": ["member"]});
    let answer = place.owner.post("/memberships", &body).await;
    assert!(matches!(answer.status.as_u16(), 404 | 405), "{}", answer.status);
    place.owner.post("/invitations", &body).await.refused(400, "malformed");
    let patch = json!({"password": NEW_PASSWORD});
    let path = format!("/api/v1/memberships/{}", place.manager.account);
    let answer = place.owner.send(Method::PATCH, &path, Some(&patch), &[]).await;
    answer.refused(400, "malformed");
    app.stop().await;
}
