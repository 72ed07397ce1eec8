//! The rate rule: GCRA, the generic cell rate algorithm. A caller owes time: each request adds the time in which the
//! rate would allow one, and the debt shrinks as time passes. A request is refused if the debt would exceed the window.
//! So a caller may use a whole window's requests at once and then goes on at the rate. Pure; times are in microseconds.

/// Microseconds in a second.
pub const SECOND: u64 = 1_000_000;
/// The window of every rate: a minute.
pub const WINDOW: u64 = 60 * SECOND;

/// A rate: a number of requests per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per minute, and in a burst; 0 means without limit.
    pub per_minute: u32,
}

impl Rate {
    /// The debt that one request adds; 0 without limit.
    #[must_use]
    pub fn cost(self) -> u64 {
        WINDOW.checked_div(u64::from(self.per_minute)).unwrap_or(0)
    }

    /// The debt that may be added before a node must ask what other nodes have added: a sixteenth of the window, and at
    /// least one request.
    #[must_use]
    pub fn share(self) -> u64 {
        (WINDOW / 16).max(self.cost())
    }

    /// The requests that are left beside a debt.
    #[must_use]
    pub fn left(self, debt: u64) -> u64 {
        WINDOW.saturating_sub(debt).checked_div(self.cost()).unwrap_or(0)
    }

    /// The debt after one more request.
    ///
    /// # Errors
    /// The time after which the request would be allowed.
    pub fn take(self, debt: u64) -> Result<u64, u64> {
        let after = debt.saturating_add(self.cost());
        if after <= WINDOW {
            Ok(after)
        } else {
            Err(after - WINDOW)
        }
    }
}

/// A debt at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    amount: u64,
    at: u64,
}

impl Debt {
    /// A debt of at most a window.
    #[must_use]
    pub fn new(amount: u64, at: u64) -> Self {
        Self {
            amount: amount.min(WINDOW),
            at,
        }
    }

    /// What is left of it later.
    #[must_use]
    pub fn left(self, now: u64) -> u64 {
        self.amount.saturating_sub(now.saturating_sub(self.at))
    }

    /// Adds to what is left of it; at most a window.
    #[must_use]
    pub fn plus(self, amount: u64, now: u64) -> Self {
        Self::new(self.left(now).saturating_add(amount), now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minutes_requests_may_come_at_once_and_then_one_at_a_time() {
        let rate = Rate { per_minute: 60 };
        let mut debt = Debt::default();
        for n in 0..60 {
            debt = Debt::new(rate.take(debt.left(0)).expect("within the burst"), 0);
            assert_eq!(rate.left(debt.left(0)), 59 - n);
        }
        assert_eq!(rate.take(debt.left(0)), Err(SECOND));
        assert_eq!(rate.take(debt.left(SECOND / 2)), Err(SECOND / 2));
        debt = Debt::new(rate.take(debt.left(SECOND)).expect("one more"), SECOND);
        assert!(rate.take(debt.left(SECOND)).is_err());
        assert_eq!(debt.left(SECOND + WINDOW), 0);
    }

    #[test]
    fn a_rate_of_zero_limits_nothing() {
        let rate = Rate { per_minute: 0 };
        assert_eq!((rate.cost(), rate.take(0), rate.left(0)), (0, Ok(0), 0));
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_twice_its_requests_and_waiting_as_told_is_enough(
            per_minute in 1_u32..10_000,
            pauses in prop::collection::vec(0_u64..WINDOW / 4, 1..400),
        ) {
            let rate = Rate { per_minute };
            let (mut debt, mut now) = (Debt::default(), 0_u64);
            let mut taken: Vec<u64> = Vec::new();
            for pause in pauses {
                now += pause / u64::from(per_minute);
                match rate.take(debt.left(now)) {
                    Ok(after) => {
                        debt = Debt::new(after, now);
                        taken.push(now);
                    }
                    Err(wait) => {
                        prop_assert!(wait > 0 && wait <= rate.cost());
                        prop_assert!(rate.take(debt.left(now + wait)).is_ok());
                        prop_assert!(rate.take(debt.left(now + wait - 1)).is_err());
                    }
                }
                let recent = taken.iter().filter(|at| now - **at < WINDOW).count();
                prop_assert!(recent <= 2 * usize::try_from(per_minute).unwrap_or(usize::MAX));
            }
        }

        #[test]
        fn debts_only_shrink_with_time_and_never_exceed_a_window(amount: u64, more: u64, at: u64, later: u64, latest: u64) {
            let debt = Debt::new(amount, at);
            let (one, two) = (later.min(latest), later.max(latest));
            prop_assert!(debt.left(one) >= debt.left(two));
            prop_assert!(debt.plus(more, one).left(one) <= WINDOW);
        }
    }
}
