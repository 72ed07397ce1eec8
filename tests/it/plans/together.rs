//! Batched lookups of plans: requests that wait share one lookup, each gets its own answer according to its rights, and
//! every answer reflects a moment after its request arrived.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use liveplan::auth::Role;
use liveplan::ids::PlanId;
use liveplan::plans::Lookups;
use tokio::task::JoinHandle;

use super::kit::TestPlan;
use crate::follows::kit::Kit;
use crate::harness::client::Answer;
use crate::harness::proxy::Cuttable;
use crate::harness::{Client, TestApp, until};

/// A kit, and a node whose only database connection can be held.
struct Scene {
    kit: Kit,
    proxy: Cuttable,
    node: TestApp,
}

impl Scene {
    async fn set() -> Self {
        let kit = Kit::start().await;
        let proxy = Cuttable::before_postgres(&kit.app.database).await;
        let node = TestApp::node(&proxy.url(&kit.app.database), |config| {
            config.database_pool = 1;
            config.live.sweep_every = Duration::from_hours(1);
        })
        .await;
        Self { kit, proxy, node }
    }

    fn path(&self) -> String {
        format!("/plans/{}", self.kit.plan.id)
    }

    /// Starts to read a plan on the node.
    fn read(&self, who: &Client, path: &str) -> JoinHandle<Answer> {
        let (who, path) = (who.at(self.node.address), path.to_owned());
        tokio::spawn(async move { who.get(&path).await })
    }

    fn lookups(&self) -> Arc<Lookups> {
        self.node.app.part()
    }

    fn looks(&self) -> u64 {
        self.lookups().counts().looks.get()
    }

    /// Starts a lookup that cannot end, and returns once it is under way.
    async fn hold(&self) -> JoinHandle<Answer> {
        self.until_at_rest().await;
        let looks = self.looks();
        self.proxy.hold();
        let first = self.read(&self.kit.author, &self.path());
        until("a lookup has begun", async || self.looks() > looks).await;
        first
    }

    /// A lookup's last statement follows its answers, so wait for it too.
    async fn until_at_rest(&self) {
        let (lookups, gym) = (self.lookups(), self.kit.gym.id);
        until("the gym has no lookup under way", async || lookups.is_at_rest(gym)).await;
    }

    async fn until_waiting(&self, count: usize) {
        let (lookups, gym) = (self.lookups(), self.kit.gym.id);
        until("the requests wait in the gatherer", async || {
            lookups.waiting(gym) == count
        })
        .await;
    }

    async fn end(self) {
        self.node.stop().await;
        self.kit.app.stop().await;
    }
}

#[tokio::test]
async fn the_rights_of_each_request_in_a_shared_lookup_are_checked() {
    let scene = Scene::set().await;
    let kit = &scene.kit;
    let (path, nowhere) = (scene.path(), format!("/plans/{}", PlanId::new()));
    let follower = kit.app.person(kit.gym, &[Role::Member]).await;
    follower
        .post(&format!("{path}/follow"), &serde_json::json!({}))
        .await
        .ok();
    kit.sql("UPDATE plans SET visibility = 'assigned'").await;
    let of_follower = kit.app.person(kit.gym, &[Role::Trainer]).await;
    kit.app.assign(kit.gym, &of_follower, &follower).await;
    let owner = kit.app.person(kit.gym, &[Role::Owner]).await;
    let auditor = kit.app.person(kit.gym, &[Role::Auditor]).await;
    let gone = kit.app.person(kit.gym, &[Role::Owner]).await;
    kit.sql(&format!(
        "UPDATE sessions SET ended_at = now() WHERE account_id = '{}'",
        gone.account
    ))
    .await;
    let promoted = kit.app.person(kit.gym, &[Role::Owner]).await;
    kit.sql(&format!(
        "UPDATE memberships SET access_version = 2 WHERE account_id = '{}'",
        promoted.account
    ))
    .await;
    let elsewhere = kit.app.gym().await;
    let stranger = kit.app.person(elsewhere, &[Role::Owner]).await;

    let expected = [
        (&owner, &path, 200),
        (&kit.member, &path, 403),
        (&follower, &path, 200),
        (&kit.trainer, &path, 403),
        (&of_follower, &path, 200),
        (&auditor, &path, 403),
        (&gone, &path, 401),
        (&promoted, &path, 401),
        (&owner, &nowhere, 404),
        (&kit.member, &nowhere, 404),
    ];
    let first = scene.hold().await;
    let looks = scene.looks();
    let reads: Vec<_> = expected.iter().map(|(who, path, _)| scene.read(who, path)).collect();
    scene.until_waiting(expected.len()).await;
    let other_gym = scene.read(&stranger, &path);
    scene.proxy.release();
    assert_eq!(first.await.expect("an answer").status, 200);
    for (read, (who, path, status)) in reads.into_iter().zip(expected) {
        assert_eq!(read.await.expect("an answer").status, status, "{} {path}", who.email);
    }
    other_gym.await.expect("an answer").refused(404, "not_found");
    // One lookup for this gym's requests and one for the other gym's.
    assert_eq!(scene.looks() - looks, 2);
    scene.end().await;
}

#[tokio::test]
async fn equal_requests_are_looked_up_once_and_a_lookup_takes_three_round_trips_whatever_their_number() {
    let scene = Scene::set().await;
    let path = scene.path();
    let kit = &scene.kit;
    let mut people = vec![kit.author.clone(), kit.trainer.clone()];
    for _ in 0..10 {
        people.push(kit.app.person(kit.gym, &[Role::Member]).await);
    }
    let mut trips = [Vec::new(), Vec::new()];
    for round in 0..16 {
        let first = scene.hold().await;
        let (before, looks) = (scene.proxy.trips(), scene.looks());
        let count = [1, 40][round % 2];
        let reads: Vec<_> = people
            .iter()
            .cycle()
            .take(count)
            .map(|who| scene.read(who, &path))
            .collect();
        scene.until_waiting(count).await;
        scene.proxy.release();
        first.await.expect("an answer").ok();
        for read in reads {
            read.await.expect("an answer").ok();
        }
        assert_eq!(scene.looks() - looks, 1);
        trips[round % 2].push(scene.proxy.trips() - before);
    }
    // Two round trips remained of the held lookup, so five in all. The first rounds prepare their statements, and on a
    // busy machine one round trip may arrive in two parts; statement by statement there would be twelve more.
    let fewest = trips.each_ref().map(|trips| trips.iter().min().copied());
    assert!(fewest.iter().all(|trips| matches!(trips, Some(..=7))), "{trips:?}");
    scene.end().await;
}

#[tokio::test]
async fn an_uncached_plan_takes_the_same_round_trips_whatever_its_size() {
    let scene = Scene::set().await;
    let kit = &scene.kit;
    let mut trips = [Vec::new(), Vec::new()];
    for round in 0..12 {
        let (days, meals) = [(1, 1), (7, 3)][round % 2];
        let mut plan = TestPlan::draft(&kit.author, days).await;
        for day in 1..=days {
            for _ in 0..meals {
                plan.meal(day, "Lunch", kit.food).await;
            }
        }
        scene.until_at_rest().await;
        let before = scene.proxy.trips();
        scene.read(&kit.author, &plan.path("")).await.expect("an answer").ok();
        scene.until_at_rest().await;
        trips[round % 2].push(scene.proxy.trips() - before);
        // The quota of ten plans an hour is reset.
        kit.sql("DELETE FROM quota_windows").await;
    }
    let fewest = trips
        .each_ref()
        .map(|trips| trips.iter().min().copied().unwrap_or_default());
    // One round trip may arrive in two parts; one per day of the plan would be six more.
    assert!(fewest[0].abs_diff(fewest[1]) <= 2, "{trips:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_request_after_a_revocation_is_not_answered_by_an_earlier_lookup() {
    let kit = Kit::start().await;
    let path = format!("/plans/{}", kit.plan.id);
    let read = || {
        let (who, path) = (kit.member.clone(), path.clone());
        tokio::spawn(async move { who.get(&path).await })
    };
    read().await.expect("an answer").ok();
    let mut held = kit.app.owner().await;
    let lock = "BEGIN; LOCK TABLE plans IN ACCESS EXCLUSIVE MODE";
    held.batch_execute(lock).await.expect("held");
    let before = read();
    let blocked = "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    until("a lookup waits for the locked table", async || {
        kit.count(blocked).await == 1
    })
    .await;
    kit.sql(&format!(
        "UPDATE sessions SET ended_at = now() WHERE account_id = '{}'",
        kit.member.account
    ))
    .await;
    let after = read();
    until("the next request waits in the gatherer", async || {
        kit.app.app.part::<Lookups>().waiting(kit.gym.id) == 1
    })
    .await;
    held.batch_execute("COMMIT").await.expect("released");
    before.await.expect("an answer").ok();
    after.await.expect("an answer").refused(401, "session_ended");
    kit.app.stop().await;
}

#[tokio::test]
async fn a_failing_request_in_a_shared_lookup_fails_alone() {
    let scene = Scene::set().await;
    let kit = &scene.kit;
    let path = scene.path();
    let broken = kit
        .author
        .post(
            "/plans",
            &serde_json::json!({"goal": "maintain", "name": "Broken", "duration_days": 1}),
        )
        .await
        .ok();
    let broken = broken["id"].as_str().expect("an id");
    kit.sql(
        "CREATE FUNCTION refuse(id uuid, broken uuid) RETURNS bool LANGUAGE plpgsql AS
         $$ BEGIN IF id = broken THEN RAISE EXCEPTION 'no'; END IF; RETURN true; END $$",
    )
    .await;
    kit.sql(&format!(
        "CREATE POLICY refuse ON plans AS RESTRICTIVE FOR SELECT TO liveplan_app USING (refuse(id, '{broken}'))"
    ))
    .await;
    scene.read(&kit.author, &path).await.expect("an answer").ok();
    let first = scene.hold().await;
    let reads: Vec<_> = [&kit.author, &kit.member, &kit.trainer, &kit.author]
        .map(|who| scene.read(who, &path))
        .into();
    let refused = scene.read(&kit.author, &format!("/plans/{broken}"));
    scene.until_waiting(5).await;
    let looks = scene.looks();
    scene.proxy.release();
    first.await.expect("an answer").ok();
    for read in reads {
        read.await.expect("an answer").ok();
    }
    refused.await.expect("an answer").refused(500, "internal");
    // One shared lookup, then one for each of the four distinct requests.
    assert_eq!(scene.looks() - looks, 5);
    scene.read(&kit.author, &path).await.expect("an answer").ok();
    scene.end().await;
}
