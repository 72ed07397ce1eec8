//! The debts of all nodes, in Redis. Its timeout is short, and a failure is no error: each node then counts for itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Class;
use super::gcra::WINDOW;
use crate::ids::AccountId;
use liveplan_hub::cluster::client::{Link, Servers};

/// Timeout of a query. Longer than any request waits: a query that was sent but not answered is sent again, and then
/// counts twice.
const PATIENCE: Duration = Duration::from_millis(250);
/// Pause without queries after a failure of Redis.
const REST: Duration = Duration::from_secs(1);
/// Debts in one query. Redis does nothing else meanwhile, for about 0.4 ms.
pub(super) const AT_ONCE: usize = 128;

/// Adds amounts to debts and returns the debts. Redis's clock counts, so the clocks of nodes may differ. A key holds the
/// instant at which its debt is paid, in microseconds, and expires then.
const SCRIPT: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local window = tonumber(ARGV[1])
    local debts = {}
    for n, key in ipairs(KEYS) do
        local paid = tonumber(redis.call('GET', key) or now) or now
        if paid ~= paid then paid = now end
        paid = math.min(math.max(paid, now) + tonumber(ARGV[n + 1]), now + window)
        if paid > now then
            redis.call('SET', key, string.format('%.0f', paid), 'PX', math.ceil((paid - now) / 1000))
        end
        debts[n] = paid - now
    end
    return debts";

/// An amount to add to an account's debt.
pub(super) type Amount = (AccountId, Class, u64);

/// The debts on one Redis server.
pub(super) struct Shared {
    link: Link,
    /// The name under which the server keeps the script.
    script: Mutex<Option<String>>,
    began: Instant,
    /// End of the pause after a failure, in milliseconds since `began`.
    rests_until: AtomicU64,
}

impl Shared {
    /// The debts on the server that all nodes use; `None` for a cluster. Connects on first use.
    pub fn new(servers: &Servers) -> Option<Self> {
        let Servers::One(info) = servers else {
            return None;
        };
        Some(Self {
            link: Link::new((**info).clone(), PATIENCE),
            script: Mutex::default(),
            began: Instant::now(),
            rests_until: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether Redis has not just failed.
    pub fn is_up(&self) -> bool {
        self.now() >= self.rests_until.load(Ordering::Relaxed)
    }

    /// Adds at most [`AT_ONCE`] amounts, and returns the debts in the same order; `None` if Redis fails.
    pub async fn add(&self, amounts: &[Amount]) -> Option<Vec<u64>> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(amounts)).await.ok().flatten();
        if answer.is_none() {
            let rest = u64::try_from(REST.as_millis()).unwrap_or(u64::MAX);
            self.rests_until
                .store(self.now().saturating_add(rest), Ordering::Relaxed);
        }
        answer
    }

    async fn ask(&self, amounts: &[Amount]) -> Option<Vec<u64>> {
        let known = || self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let script = known().clone();
        let script = if let Some(script) = script {
            script
        } else {
            let mut load = redis::pipe();
            load.cmd("SCRIPT").arg("LOAD").arg(SCRIPT);
            let (script,): (String,) = self.link.query(&load).await.ok()?;
            *known() = Some(script.clone());
            script
        };
        let mut run = redis::pipe();
        let command = run.cmd("EVALSHA").arg(script).arg(amounts.len());
        for (account, class, _) in amounts {
            command.arg(format!("liveplan:budget:{account}:{}", class.name()));
        }
        command.arg(WINDOW);
        for (.., amount) in amounts {
            command.arg(*amount);
        }
        let answer = self.link.query::<(Vec<u64>,)>(&run).await;
        if answer.is_err() {
            // A server that has restarted does not know the script.
            *known() = None;
        }
        answer
            .ok()
            .map(|(debts,)| debts)
            .filter(|debts| debts.len() == amounts.len())
    }
}
