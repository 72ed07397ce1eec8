//! Budgets: how many requests and commands of each class an account may send per minute, over all nodes and all of its
//! devices. [`crate::quota`] limits single operations, in their transaction; a budget limits everything else, before
//! anything is read.
//!
//! The node itself decides, without asking anybody: it knows what the account has taken here (`account`), and what it
//! had taken on all nodes when Redis last said so (`shared`). Ten times a second the node tells Redis what accounts have
//! taken, many in one query. Only an account that takes a sixteenth of its budget between two such queries makes a
//! request wait for Redis, for 20 ms at most. Without Redis each node counts for itself.
//!
//! `gcra` is the rule. Expensive reads also need a permit, of which there are few.

mod account;
pub mod gcra;
mod shared;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use actix_web::HttpMessage as _;
use actix_web::HttpRequest;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{BudgetLimits, Config};
use crate::error::{Code, Error, Result};
use crate::http::rate::Rest;
use crate::ids::AccountId;
use account::Account;
use gcra::{Rate, SECOND};
use liveplan_hub::cluster::client::Servers;
use shared::{AT_ONCE, Shared};

/// Interval between two rounds in which the node tells Redis what accounts have taken.
const SETTLE_EVERY: Duration = Duration::from_millis(100);
/// The longest delay of a request by Redis.
const WAIT_FOR_REDIS: Duration = Duration::from_millis(20);
/// Accounts of which the node remembers what they took. Of more, it forgets those it saw least. An account takes about
/// 400 bytes.
const ACCOUNTS: usize = 32_768;
/// Requests that may wait for a permit for an expensive read.
const WAITING: usize = 64;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// A class of requests with a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Requests that change nothing.
    Read,
    /// Requests that may change something.
    Write,
    /// Lists, searches and histories; each counts as a read, too.
    Expensive,
    /// Commands on the socket.
    Command,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Expensive, Self::Command];

    /// Its name, in headers, metrics and Redis.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Expensive => "expensive_reads",
            Self::Command => "commands",
        }
    }
}

/// What happened to the budgets on this node.
#[derive(Default)]
pub struct Counts {
    refused: [Counter; Class::ALL.len()],
    /// Queries to Redis.
    pub trips: Counter,
    /// Requests and commands that waited for a query.
    pub waits: Counter,
    /// Queries that failed.
    pub failures: Counter,
    /// Expensive reads refused because too many ran or waited.
    pub crowded: Counter,
}

impl Counts {
    /// Requests and commands refused because their budget was used up.
    #[must_use]
    pub fn refused(&self, class: Class) -> u64 {
        self.refused[class as usize].get()
    }
}

/// A request or command over its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The used budget.
    pub rest: Rest,
    /// Seconds after which one more is allowed.
    pub seconds: u64,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::new(Code::TooMany).with("seconds", refused.seconds)
    }
}

/// What is left of a budget after a request; `None` without a limit.
pub type Taken = Result<Option<Rest>, Refused>;

/// The budgets of all accounts, on this node.
pub struct Budgets {
    rates: [Rate; Class::ALL.len()],
    accounts: quick_cache::sync::Cache<AccountId, Arc<Account>>,
    shared: Option<Shared>,
    /// Accounts that have taken something of which Redis does not know.
    unsettled: Mutex<Vec<Arc<Account>>>,
    began: Instant,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// What happened to them.
    pub counts: Counts,
}

impl Budgets {
    /// Budgets from the configuration. They are shared with other nodes through `redis`, if that is a single server.
    #[must_use]
    pub fn new(config: &Config, redis: Option<&Servers>) -> Arc<Self> {
        let BudgetLimits {
            reads,
            writes,
            expensive,
            commands,
            expensive_at_once,
            ..
        } = config.budgets;
        Arc::new(Self {
            rates: [reads, writes, expensive, commands].map(|per_minute| Rate { per_minute }),
            accounts: quick_cache::sync::Cache::new(ACCOUNTS),
            shared: redis.and_then(Shared::new),
            unsettled: Mutex::default(),
            began: Instant::now(),
            permits: Arc::new(Semaphore::new(expensive_at_once)),
            waiting: AtomicUsize::new(0),
            counts: Counts::default(),
        })
    }

    /// Tells Redis, from now on, what accounts take. Ends when the budgets are dropped.
    pub fn run(self: &Arc<Self>) {
        if self.shared.is_some() {
            tokio::spawn(settle(Arc::downgrade(self)));
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn account(&self, id: AccountId) -> Arc<Account> {
        let made = self
            .accounts
            .get_or_insert_with(&id, || Ok::<_, std::convert::Infallible>(Arc::new(Account::new(id))));
        match made {
            Ok(account) => account,
            Err(never) => match never {},
        }
    }

    /// Redis, unless it has just failed.
    fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref().filter(|shared| shared.is_up())
    }

    /// Takes one request of a class; `None` if Redis must be asked first, with [`Self::take`].
    pub fn try_take(&self, id: AccountId, class: Class) -> Option<Taken> {
        if self.rates[class as usize].per_minute == 0 {
            return Some(Ok(None));
        }
        self.take_of(&self.account(id), class, self.shared().is_some())
    }

    /// Takes one request of a class. Asks Redis first if this node has taken much since it last did. If Redis does not
    /// answer in time, the node decides by what it knows; the answer still counts when it comes.
    pub async fn take(self: &Arc<Self>, id: AccountId, class: Class) -> Taken {
        if let Some(taken) = self.try_take(id, class) {
            return taken;
        }
        let account = self.account(id);
        self.counts.waits.inc();
        let (budgets, asked) = (self.clone(), account.clone());
        let asking = tokio::spawn(async move {
            // Of concurrent requests one asks; the others find its answer, or that Redis has failed.
            let _asking = asked.asking.lock().await;
            if let Some(shared) = budgets.shared()
                && asked.budgets()[class as usize].must_ask(budgets.rates[class as usize])
            {
                budgets.tell(shared, std::slice::from_ref(&asked)).await;
            }
        });
        let _ = tokio::time::timeout(WAIT_FOR_REDIS, asking).await;
        self.take_of(&account, class, false).unwrap_or(Ok(None))
    }

    /// Takes one request of a class; `None` if `asks` and Redis must be asked first.
    fn take_of(&self, account: &Arc<Account>, class: Class, asks: bool) -> Option<Taken> {
        let (rate, now) = (self.rates[class as usize], self.now());
        let (taken, debt) = {
            let budget = &mut account.budgets()[class as usize];
            if asks && budget.must_ask(rate) {
                return None;
            }
            (budget.take(rate, now), budget.debt(now))
        };
        let rest = Rest {
            name: class.name(),
            times: rate.per_minute.into(),
            window: 60,
            left: i64::try_from(rate.left(debt)).unwrap_or(i64::MAX),
            seconds: i64::try_from(debt.div_ceil(SECOND)).unwrap_or(i64::MAX),
        };
        Some(match taken {
            Ok(()) => {
                if self.shared().is_some() && account.queue() {
                    let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
                    unsettled.push(account.clone());
                }
                Ok(Some(rest))
            }
            Err(wait) => {
                self.counts.refused[class as usize].inc();
                let seconds = wait.div_ceil(SECOND);
                Err(Refused { rest, seconds })
            }
        })
    }

    /// Tells Redis what these accounts have taken, and learns what they owe.
    async fn tell(&self, shared: &Shared, accounts: &[Arc<Account>]) {
        let mut sent = Vec::new();
        for account in accounts {
            account.unqueue();
            let (mut budgets, now) = (account.budgets(), self.now());
            for class in Class::ALL {
                let amount = budgets[class as usize].send(now);
                if amount > 0 {
                    sent.push((account, class, amount));
                }
            }
        }
        for sent in sent.chunks(AT_ONCE) {
            let amounts: Vec<_> = sent
                .iter()
                .map(|(account, class, amount)| (account.id, *class, *amount))
                .collect();
            self.counts.trips.inc();
            let debts = shared.add(&amounts).await;
            if debts.is_none() {
                self.counts.failures.inc();
            }
            let now = self.now();
            for (n, (account, class, amount)) in sent.iter().enumerate() {
                let budget = &mut account.budgets()[*class as usize];
                match debts.as_ref().and_then(|debts| debts.get(n)) {
                    Some(debt) => budget.settled(*amount, *debt, now),
                    None => budget.failed(*amount),
                }
            }
        }
    }

    /// Waits for a permit for an expensive read, which is free again when the permit is dropped.
    ///
    /// # Errors
    /// [`Code::Busy`] if too many wait, or no permit is free within two seconds.
    pub async fn permit(&self) -> Result<Permit> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(Permit(permit));
        }
        let busy = || {
            self.counts.crowded.inc();
            Error::new(Code::Busy).with("seconds", PATIENCE.as_secs())
        };
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING {
            return Err(busy());
        }
        let permit = tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned()).await;
        drop(waiting);
        permit
            .ok()
            .and_then(std::result::Result::ok)
            .map(Permit)
            .ok_or_else(busy)
    }
}

/// Counts a request that waits for a permit, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A permit for an expensive read.
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

async fn settle(budgets: Weak<Budgets>) {
    let mut round = tokio::time::interval(SETTLE_EVERY);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        round.tick().await;
        let Some(budgets) = budgets.upgrade() else { return };
        let accounts = std::mem::take(&mut *budgets.unsettled.lock().unwrap_or_else(PoisonError::into_inner));
        match budgets.shared() {
            Some(shared) => budgets.tell(shared, &accounts).await,
            // They are queued again by what they take once Redis is up.
            None => accounts.iter().for_each(|account| account.unqueue()),
        }
    }
}

/// The budgets that a request has used, in its extensions.
#[derive(Default)]
struct Told(Vec<Rest>);

/// Notes what a request has taken, for its response's headers.
///
/// # Errors
/// [`Code::TooMany`] with the seconds to wait, if the budget is used up.
pub fn note(request: &HttpRequest, taken: Taken) -> Result<()> {
    let rest = match &taken {
        Ok(rest) => *rest,
        Err(refused) => Some(refused.rest),
    };
    if let Some(rest) = rest {
        let mut extensions = request.extensions_mut();
        match extensions.get_mut::<Told>() {
            Some(Told(rests)) => rests.push(rest),
            None => drop(extensions.insert(Told(vec![rest]))),
        }
    }
    taken.map(drop).map_err(Error::from)
}

/// Middleware. Adds the headers of the used budgets to the response. It must wrap the middleware that replaces
/// responses.
///
/// # Errors
/// Those of the wrapped service.
pub async fn tell<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> std::result::Result<ServiceResponse<B>, actix_web::Error> {
    let mut response = next.call(request).await?;
    let told = response.request().extensions_mut().remove::<Told>();
    for rest in told.into_iter().flat_map(|told| told.0) {
        rest.tell(response.headers_mut());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    fn budgets(reads: &str, at_once: &str) -> Arc<Budgets> {
        let flags = [
            "liveplan",
            "--budget-reads-per-minute",
            reads,
            "--expensive-reads-at-once",
            at_once,
        ];
        Budgets::new(&Cli::parse_from(flags).config, None)
    }

    #[tokio::test]
    async fn each_account_and_class_has_its_own_budget() {
        let (budgets, one, two) = (budgets("3", "1"), AccountId::new(), AccountId::new());
        let left: Vec<_> = (0..3)
            .map(|_| {
                budgets
                    .try_take(one, Class::Read)
                    .expect("without Redis")
                    .expect("in the budget")
            })
            .map(|rest| rest.map(|rest| (rest.left, rest.seconds)))
            .collect();
        assert_eq!(left, [Some((2, 20)), Some((1, 40)), Some((0, 60))]);
        let refused = budgets.take(one, Class::Read).await.expect_err("over the budget");
        assert_eq!((refused.seconds, refused.rest.left), (20, 0));
        assert!(budgets.take(one, Class::Write).await.is_ok() && budgets.take(two, Class::Read).await.is_ok());
        assert_eq!(
            (
                budgets.counts.refused(Class::Read),
                budgets.counts.refused(Class::Write)
            ),
            (1, 0)
        );
    }

    #[tokio::test]
    async fn a_budget_of_zero_has_no_limit() {
        let (budgets, account) = (budgets("0", "1"), AccountId::new());
        for _ in 0..10_000 {
            assert_eq!(budgets.try_take(account, Class::Read), Some(Ok(None)));
        }
    }

    #[tokio::test]
    async fn the_node_remembers_a_bounded_number_of_accounts() {
        let budgets = budgets("3", "1");
        for _ in 0..2 * ACCOUNTS {
            assert!(budgets.take(AccountId::new(), Class::Read).await.is_ok());
        }
        assert!(budgets.accounts.len() <= ACCOUNTS, "{}", budgets.accounts.len());
    }

    #[tokio::test]
    async fn expensive_reads_wait_for_a_permit_for_a_bounded_time_and_in_a_bounded_number() {
        let budgets = budgets("3", "1");
        let first = budgets.permit().await.expect("a permit");
        let refused = budgets.permit().await.err().expect("refused");
        assert_eq!(refused.code, Code::Busy);
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let budgets = budgets.clone();
                tokio::spawn(async move { budgets.permit().await.is_ok() })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let began = tokio::time::Instant::now();
        assert!(
            budgets.permit().await.is_err() && began.elapsed() < PATIENCE,
            "too many wait"
        );
        drop(first);
        for waiting in waiting {
            assert!(waiting.await.expect("no panic"));
        }
        assert_eq!(budgets.waiting.load(Ordering::SeqCst), 0);
    }
}
