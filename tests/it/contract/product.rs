//! The product as a backend: a trainer watches a plan of the gym.

use std::sync::Arc;

use chrono::TimeDelta;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use liveplan::auth::Role;
use liveplan::auth::refresh::FIRST;
use liveplan::events::{log, user_of};
use liveplan_hub::backend::{Backend, Standing};
use liveplan_hub::ids::{LogId, UserId};
use serde_json::json;

use super::Subject;
use crate::faults::Floor;
use crate::harness::proxy::Cuttable;
use crate::harness::{Client, TestApp, postgres};

pub struct Product {
    app: TestApp,
    proxy: Cuttable,
    owner: AsyncPgConnection,
    floor: Floor,
    stranger: Client,
    appended: u32,
}

impl Subject for Product {
    async fn start() -> Self {
        let database = postgres::fresh_database().await;
        let proxy = Cuttable::before_postgres(&database).await;
        let app = TestApp::node(&proxy.url(&database), |_| {}).await;
        let floor = Floor::make(&app, 1).await;
        let stranger = app.person(floor.gym, &[Role::Member]).await;
        // Not through the proxy, so that it works when the proxy is cut.
        let owner = liveplan::db::establish(&database).await.expect("a connection");
        Self {
            app,
            proxy,
            owner,
            floor,
            stranger,
            appended: 0,
        }
    }

    fn shared(&self) -> Arc<dyn Backend> {
        self.app.product.clone()
    }

    fn tokens(&self) -> (String, String) {
        let (tokens, now) = (&self.app.app.tokens, self.app.app.clock.now());
        let good = self.floor.trainer.token.clone().expect("signed in");
        let caller = tokens.verify(&good, now).expect("a good token").caller;
        let over = tokens
            .issue(&caller, FIRST, now - TimeDelta::hours(1))
            .expect("a token");
        (good, over)
    }

    fn channel(&self) -> String {
        format!("plan:{}", self.floor.plan.id)
    }

    async fn append(&mut self, count: usize) {
        for _ in 0..count {
            self.appended += 1;
            self.floor.rename(&format!("Meal {}", self.appended)).await;
        }
    }

    async fn forget(&mut self) -> u64 {
        self.append(5).await;
        let gym = self.floor.gym.id;
        let head = log::head(&mut self.owner, gym).await.expect("read").expect("a head");
        let gone = head.seq - 3;
        diesel::sql_query("DELETE FROM live_events WHERE gym_id = $1 AND seq <= $2")
            .bind::<SqlUuid, _>(gym)
            .bind::<BigInt, _>(i64::try_from(gone).expect("it fits"))
            .execute(&mut self.owner)
            .await
            .expect("deleted");
        gone
    }

    fn forbidden(&self) -> Option<String> {
        Some(format!("member:{}", self.stranger.account))
    }

    fn shown(&self) -> Option<(UserId, String)> {
        Some((user_of(self.floor.members[0].account), self.floor.roster()))
    }

    async fn suspend(&mut self) -> Option<Standing> {
        let manager = self.app.person(self.floor.gym, &[Role::Manager]).await;
        let path = format!("/memberships/{}", self.floor.trainer.account);
        manager.patch(&path, &json!({"status": "suspended"})).await.ok();
        Some(Standing::NotActive)
    }

    async fn take_away(&mut self) -> bool {
        self.proxy.cut();
        true
    }

    fn unknown(&self) -> Option<LogId> {
        Some(LogId::random())
    }

    async fn stop(self) {
        self.proxy.mend();
        self.app.stop().await;
    }
}
