//! Memberships of a gym, and the immediate effects of changing them.

use diesel::sql_types::{Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use liveplan::app::For;
use liveplan::auth::Role;
use liveplan::ids::AccountId;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Client, PASSWORD, TestApp, local};

fn at(person: &Client) -> String {
    format!("/memberships/{}", person.account)
}

#[tokio::test]
async fn a_change_of_roles_invalidates_old_tokens_at_once() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let manager = app.person(gym, &[Role::Manager]).await;
    let person = app.person(gym, &[Role::Member]).await;
    let session = person.login(PASSWORD, None).await.ok();
    let device = person.with(&session);
    let mut socket = device.socket().await;

    let changed = manager
        .patch(&at(&person), &json!({"roles": ["member", "trainer"]}))
        .await
        .ok();
    assert_eq!(changed["roles"], json!(["trainer", "member"]));
    device.get("/auth/me").await.refused(401, "session_ended");
    assert_eq!(socket.closed().await, 3014);
    let refreshed = device
        .post("/auth/refresh", &json!({"refresh_token": session["refresh_token"]}))
        .await
        .ok();
    assert_eq!(refreshed["roles"], json!(["trainer", "member"]));
    assert_eq!(refreshed["channels"].as_array().map(Vec::len), Some(2));
    let device = device.with(&refreshed);
    device.get("/auth/me").await.ok();
    // A patch that changes nothing leaves tokens valid.
    manager
        .patch(
            &at(&person),
            &json!({"roles": ["trainer", "member"], "status": "active"}),
        )
        .await
        .ok();
    device.get("/auth/me").await.ok();
    app.stop().await;
}

#[tokio::test]
async fn a_suspended_member_loses_access_at_once_and_can_be_reinstated() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let manager = app.person(gym, &[Role::Manager]).await;
    let person = app.person(gym, &[Role::Member]).await;
    let session = person.login(PASSWORD, None).await.ok();
    let mut socket = person.with(&session).socket().await;
    manager.patch(&at(&person), &json!({"status": "suspended"})).await.ok();
    person
        .with(&session)
        .get("/auth/me")
        .await
        .refused(401, "session_ended");
    assert_eq!(socket.closed().await, 3503);
    let refresh = json!({"refresh_token": session["refresh_token"]});
    person
        .post("/auth/refresh", &refresh)
        .await
        .refused(401, "session_ended");
    person.login(PASSWORD, None).await.refused(403, "no_membership");
    manager.patch(&at(&person), &json!({"status": "active"})).await.ok();
    person.login(PASSWORD, None).await.ok();
    app.stop().await;
}

#[tokio::test]
async fn the_last_owner_cannot_be_demoted_suspended_or_removed() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let owner = app.person(gym, &[Role::Owner]).await;
    // Nobody changes their own roles, and the status of the last owner stays.
    let own = owner.patch(&at(&owner), &json!({"roles": ["manager"]})).await;
    own.refused(403, "forbidden");
    for change in [json!({"status": "suspended"}), json!({"status": "ended"})] {
        owner.patch(&at(&owner), &change).await.refused(409, "last_owner");
    }
    let second = app.person(gym, &[Role::Owner]).await;
    let demote = json!({"roles": ["manager"]});
    let (at_one, at_two) = (at(&owner), at(&second));
    let (one, two) = tokio::join!(owner.patch(&at_two, &demote), second.patch(&at_one, &demote));
    let (won, lost) = if one.status == StatusCode::OK {
        (one, two)
    } else {
        (two, one)
    };
    won.ok();
    // By then the loser either had a stale token or was the last owner.
    assert!(matches!(lost.status.as_u16(), 401 | 409), "{}", lost.body);
    app.stop().await;
}

#[tokio::test]
async fn managers_cannot_change_owners() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let (first, second) = (
        app.person(gym, &[Role::Owner]).await,
        app.person(gym, &[Role::Owner]).await,
    );
    let manager = app.person(gym, &[Role::Manager]).await;
    for change in [
        json!({"roles": ["manager"]}),
        json!({"status": "suspended"}),
        json!({"status": "ended"}),
    ] {
        manager.patch(&at(&second), &change).await.refused(403, "forbidden");
    }
    manager
        .patch(&at(&manager), &json!({"roles": ["manager", "owner"]}))
        .await
        .refused(403, "forbidden");
    first.patch(&at(&second), &json!({"roles": ["manager"]})).await.ok();
    app.stop().await;
}

#[tokio::test]
async fn nobody_changes_their_own_roles_and_only_owners_grant_staff_roles() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let owner = app.person(gym, &[Role::Owner]).await;
    let manager = app.person(gym, &[Role::Manager]).await;
    let person = app.person(gym, &[Role::Member]).await;
    for who in [&owner, &manager] {
        for roles in [json!(["owner", "manager", "trainer"]), json!(["member"])] {
            let own = who.patch(&at(who), &json!({"roles": roles})).await;
            own.refused(403, "forbidden");
        }
    }
    for role in ["owner", "manager", "nutritionist", "auditor"] {
        let patch = json!({"roles": ["member", role]});
        manager.patch(&at(&person), &patch).await.refused(403, "forbidden");
        owner.patch(&at(&person), &patch).await.ok();
        owner.patch(&at(&person), &json!({"roles": ["member"]})).await.ok();
    }
    let trainer = json!({"roles": ["member", "trainer"]});
    assert_eq!(
        manager.patch(&at(&person), &trainer).await.ok()["roles"],
        json!(["trainer", "member"])
    );
    // A role in a suspended membership is granted when the membership is reinstated.
    let other = app.person(gym, &[Role::Manager]).await;
    manager.patch(&at(&other), &json!({"status": "suspended"})).await.ok();
    let active = json!({"status": "active"});
    manager.patch(&at(&other), &active).await.refused(403, "forbidden");
    owner.patch(&at(&other), &active).await.ok();
    app.stop().await;
}

#[tokio::test]
async fn staff_list_all_members_and_trainers_list_their_own() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let manager = app.person(gym, &[Role::Manager]).await;
    let trainer = app.person(gym, &[Role::Trainer]).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(app.person(gym, &[Role::Member]).await);
    }
    app.assign(gym, &trainer, &members[1]).await;
    let ids = |page: &Value| -> Vec<Value> {
        page["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|m| m["account_id"].clone())
            .collect()
    };
    let all = manager.get("/memberships").await.ok();
    assert_eq!(ids(&all).len(), 5);
    let first = manager.get("/memberships?role=member&limit=2").await.ok();
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let rest = manager
        .get(&format!("/memberships?role=member&limit=2&cursor={cursor}"))
        .await
        .ok();
    assert_eq!((ids(&first).len(), ids(&rest).len()), (2, 1));
    assert!(rest.get("next_cursor").is_none());
    let theirs = trainer.get("/memberships").await.ok();
    assert_eq!(ids(&theirs), [json!(trainer.account), json!(members[1].account)]);
    manager.patch(&at(&members[0]), &json!({"status": "ended"})).await.ok();
    assert_eq!(ids(&manager.get("/memberships").await.ok()).len(), 4);
    manager.get("/memberships?limit=201").await.refused(422, "invalid");
    app.stop().await;
}

#[tokio::test]
async fn memberships_refuse_anonymous_callers_the_wrong_role_and_another_gym() {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let person = app.person(gym, &[Role::Member]).await;
    let nobody = app.nobody();
    nobody.get("/memberships").await.refused(401, "unauthenticated");
    nobody.get(&at(&person)).await.refused(401, "unauthenticated");
    nobody
        .patch(&at(&person), &json!({}))
        .await
        .refused(401, "unauthenticated");
    for role in [Role::Nutritionist, Role::Trainer, Role::Member, Role::Auditor] {
        let caller = app.person(gym, &[role]).await;
        caller
            .patch(&at(&person), &json!({"status": "ended"}))
            .await
            .refused(403, "forbidden");
        if role != Role::Nutritionist {
            caller.get(&at(&person)).await.refused(403, "forbidden");
        }
    }
    person.get("/memberships").await.refused(403, "forbidden");
    person.get(&at(&person)).await.ok();
    for role in [Role::Owner, Role::Manager, Role::Member] {
        let stranger = app.person(app.gym().await, &[role]).await;
        stranger.get(&at(&person)).await.refused(404, "not_found");
        if role != Role::Member {
            stranger
                .patch(&at(&person), &json!({"status": "ended"}))
                .await
                .refused(404, "not_found");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn a_change_gives_up_the_system_role_after_a_system_step() {
    use liveplan::db;
    let app = TestApp::start().await;
    let (here, there) = (app.gym().await, app.gym().await);
    let change = app.app.change(For::gym(here.id), async move |tx| {
        let refused = db::as_system(tx, async |_| Err::<(), _>(liveplan::error::Error::forbidden())).await;
        assert!(refused.is_err());
        let everywhere = db::as_system(tx, async |conn| Ok(gyms(conn).await)).await?;
        Ok((everywhere, gyms(tx).await))
    });
    let counted = local(change).await.expect("counted");
    assert_eq!(counted, (2, 1));
    assert_ne!(here.id, there.id);
    app.stop().await;
}

async fn gyms(conn: &mut diesel_async::AsyncPgConnection) -> i64 {
    use diesel::QueryDsl as _;
    use liveplan::db::schema::gyms;
    gyms::table.count().get_result(conn).await.expect("a count")
}

#[tokio::test]
async fn access_events_for_another_gym_are_written_to_that_gyms_log() {
    #[derive(diesel::QueryableByName)]
    struct Told {
        #[diesel(sql_type = Text)]
        channel: String,
    }
    let app = TestApp::start().await;
    let (here, there) = (app.gym().await, app.gym().await);
    let mut people = vec![AccountId::new(), AccountId::new()];
    people.sort_unstable();
    let accounts = people.clone();
    let change = app.app.change(For::gym(here.id), async move |tx| {
        for account in &accounts {
            tx.access_changed_in(there.id, *account);
        }
        Ok(())
    });
    local(change).await.expect("changed");
    let told: Vec<Told> = diesel::sql_query("SELECT channel FROM live_events WHERE gym_id = $1 ORDER BY channel")
        .bind::<SqlUuid, _>(there.id)
        .load(&mut app.owner().await)
        .await
        .expect("events");
    let told: Vec<_> = told.iter().map(|row| row.channel.as_str()).collect();
    let expected: Vec<_> = people.iter().map(|account| format!("!access:{account}")).collect();
    assert_eq!(told, expected);
    app.stop().await;
}
