//! One account's budgets on this node. Pure but for its locks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Class;
use super::gcra::{Debt, Rate, WINDOW};
use crate::ids::AccountId;

/// The state of one budget. The account owes the larger of two debts: what it took on this node, and what Redis said
/// that it took on all nodes. So a Redis that lies or forgets gives nobody more than one node allows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    own: Debt,
    all: Debt,
    /// The part of `own` that Redis has not acknowledged.
    unsettled: u64,
    /// The part of `unsettled` that is on the way to Redis.
    sent: u64,
}

impl Budget {
    /// What the account owes.
    pub fn debt(&self, now: u64) -> u64 {
        self.own.left(now).max(self.all.left(now))
    }

    /// Takes one request.
    ///
    /// # Errors
    /// The time after which the request would be allowed.
    pub fn take(&mut self, rate: Rate, now: u64) -> Result<(), u64> {
        rate.take(self.debt(now))?;
        self.own = self.own.plus(rate.cost(), now);
        self.all = self.all.plus(rate.cost(), now);
        self.unsettled = (self.unsettled + rate.cost()).min(WINDOW);
        Ok(())
    }

    /// Whether this node has taken so much that it must learn of the other nodes before it takes one more.
    pub fn must_ask(&self, rate: Rate) -> bool {
        self.unsettled > 0 && self.unsettled + rate.cost() > rate.share()
    }

    /// The amount to send to Redis now. What has become too old to owe is forgotten.
    pub fn send(&mut self, now: u64) -> u64 {
        let amount = (self.unsettled - self.sent).min(self.own.left(now));
        self.unsettled = self.sent + amount;
        self.sent += amount;
        amount
    }

    /// Redis has added an amount; `debt` is what the account now owes on all nodes.
    pub fn settled(&mut self, amount: u64, debt: u64, now: u64) {
        self.unsettled -= amount;
        self.sent -= amount;
        self.all = Debt::new(debt.saturating_add(self.unsettled), now);
    }

    /// An amount did not reach Redis.
    pub fn failed(&mut self, amount: u64) {
        self.sent -= amount;
    }
}

/// An account with its budgets.
pub(super) struct Account {
    /// The account.
    pub id: AccountId,
    budgets: Mutex<[Budget; Class::ALL.len()]>,
    /// Held while one of its requests asks Redis; the others wait for that answer.
    pub asking: tokio::sync::Mutex<()>,
    queued: AtomicBool,
}

impl Account {
    pub fn new(id: AccountId) -> Self {
        Self {
            id,
            budgets: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            queued: AtomicBool::new(false),
        }
    }

    /// Its budgets, in the order of [`Class::ALL`].
    pub fn budgets(&self) -> MutexGuard<'_, [Budget; Class::ALL.len()]> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks it as waiting to be settled; returns whether it did not wait before.
    pub fn queue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    /// Marks it as no longer waiting. What it takes from now on is settled the next time.
    pub fn unqueue(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { per_minute: 160 };

    fn take(budget: &mut Budget, times: usize) -> usize {
        (0..times).filter(|_| budget.take(RATE, 0).is_ok()).count()
    }

    #[test]
    fn a_node_takes_its_share_and_then_asks() {
        let mut budget = Budget::default();
        assert!(!budget.must_ask(RATE));
        assert_eq!(take(&mut budget, 10), 10);
        assert!(budget.must_ask(RATE), "a sixteenth of 160");
        let amount = budget.send(0);
        assert!(budget.must_ask(RATE), "the answer is not here");
        // Other nodes have taken 90.
        budget.settled(amount, 100 * RATE.cost(), 0);
        assert!(!budget.must_ask(RATE));
        assert_eq!(take(&mut budget, 1000), 60);
    }

    #[test]
    fn a_redis_that_forgets_gives_no_more_than_one_node_allows() {
        let mut budget = Budget::default();
        let mut taken = 0;
        for _ in 0..1000 {
            taken += take(&mut budget, 1);
            let amount = budget.send(0);
            budget.settled(amount, 0, 0);
        }
        assert_eq!(taken, 160);
    }

    #[test]
    fn what_did_not_arrive_is_sent_again_unless_it_is_too_old_to_owe() {
        let mut budget = Budget::default();
        take(&mut budget, 8);
        let amount = budget.send(0);
        assert_eq!((amount, budget.send(0)), (8 * RATE.cost(), 0));
        budget.failed(amount);
        let later = 6 * RATE.cost();
        assert_eq!(budget.send(later), 2 * RATE.cost());
        assert_eq!(budget.send(later), 0);
    }

    proptest! {
        /// Two nodes and a Redis: whatever the order of events, the account never gets more than the rate and one share
        /// for each node.
        #[test]
        fn nodes_together_exceed_the_rate_by_at_most_a_share_each(
            steps in prop::collection::vec((0..3_usize, 0..4_u8), 1..600),
        ) {
            let mut nodes = [Budget::default(); 3];
            let mut owed = 0_u64;
            let mut taken = 0_u64;
            for (node, step) in steps {
                let budget = &mut nodes[node];
                if step == 0 || budget.must_ask(RATE) {
                    let amount = budget.send(0);
                    owed = (owed + amount).min(WINDOW);
                    budget.settled(amount, owed, 0);
                } else if budget.take(RATE, 0).is_ok() {
                    taken += 1;
                }
            }
            let most = u64::from(RATE.per_minute) + 3 * RATE.share() / RATE.cost();
            prop_assert!(taken <= most, "{taken} of {most}");
        }
    }
}
