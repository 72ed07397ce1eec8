//! The in-memory logs, one per channel.

use std::sync::Arc;

use liveplan::clock::Clock;
use liveplan::conformance::memory::Memory;
use liveplan_hub::Hub;
use liveplan_hub::backend::Backend;
use liveplan_hub::ids::LogId;
use liveplan_hub::limits::{LiveLimits, Recovery};
use serde_json::json;

use super::Subject;
use crate::conformance::token;

const CHANNEL: &str = "room";
/// The number of changes that a log keeps.
const KEPT: usize = 2000;

pub struct InMemory {
    memory: Arc<Memory>,
    log: LogId,
    appended: usize,
}

impl Subject for InMemory {
    async fn start() -> Self {
        let clock = Clock::default();
        let time = clock.clone();
        let time = Arc::new(move || time.now());
        let hub = Hub::new("test", LiveLimits::default(), Recovery::default(), time, None);
        let memory = Arc::new(Memory::new(hub, clock));
        let anybody = memory.authenticate("").await.expect("anybody").expect("somebody");
        let log = memory.locate(&anybody.session, CHANNEL).expect("a channel").log;
        Self {
            memory,
            log,
            appended: 0,
        }
    }

    fn shared(&self) -> Arc<dyn Backend> {
        self.memory.clone()
    }

    fn tokens(&self) -> (String, String) {
        (token(&json!({"sub": "ana"})), token(&json!({"sub": "ana", "exp": 1})))
    }

    fn channel(&self) -> String {
        CHANNEL.to_owned()
    }

    async fn append(&mut self, count: usize) {
        for _ in 0..count {
            self.appended += 1;
            let payload = json!({"n": self.appended}).to_string();
            self.memory.append(self.log, CHANNEL, payload.into());
            tokio::task::yield_now().await;
        }
    }

    async fn forget(&mut self) -> u64 {
        self.append(KEPT + 5).await;
        u64::try_from(self.appended - KEPT).expect("it fits")
    }

    async fn stop(self) {}
}
