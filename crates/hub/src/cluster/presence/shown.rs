//! The presence of one log's users, as last sent to subscribers. Pure: sockets, leases and the time are inputs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::backend::PresenceChange;
use crate::ids::UserId;

/// How long the users of other nodes count as online while Redis cannot be read: an outage of Redis closes no sockets,
/// so those users are probably still connected.
const REMEMBER: Duration = Duration::from_mins(1);

/// One moment on the monotonic clock and on the wall clock.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub instant: Instant,
    pub time: DateTime<Utc>,
}

/// The presence of one log's users.
#[derive(Default)]
pub(crate) struct Shown {
    /// Users that subscribers were last told are online.
    pub online: HashSet<UserId>,
    /// Users whose last socket has closed but whose departure is not published yet, with the time of leaving on both
    /// clocks.
    away: HashMap<UserId, (Instant, DateTime<Utc>)>,
    /// Users with a socket on this node.
    here: HashSet<UserId>,
    /// Users on other nodes.
    elsewhere: HashSet<UserId>,
    /// When the users on other nodes were last read from Redis.
    heard: Option<Instant>,
    /// When users were last seen; not yet recorded by the backend.
    pub seen: HashMap<UserId, DateTime<Utc>>,
}

impl Shown {
    /// Sets the users on other nodes; returns true if they have changed.
    pub fn hear(&mut self, elsewhere: HashSet<UserId>, now: Instant) -> bool {
        self.heard = Some(now);
        let new = self.elsewhere != elsewhere;
        self.elsewhere = elsewhere;
        new
    }

    /// Sets the users on this node and returns the changes to publish: arrivals at once, departures after `debounce`.
    pub fn step(&mut self, here: HashSet<UserId>, now: Now, debounce: Duration) -> Vec<PresenceChange> {
        if self
            .heard
            .is_some_and(|heard| now.instant.duration_since(heard) > REMEMBER)
        {
            self.elsewhere.clear();
        }
        for user in here.symmetric_difference(&self.here) {
            self.seen.insert(*user, now.time);
        }
        self.here = here;
        let present: HashSet<UserId> = self.here.union(&self.elsewhere).copied().collect();
        self.away.retain(|user, _| !present.contains(user));
        let mut changes = Vec::new();
        for user in self.online.difference(&present) {
            let (since, time) = *self.away.entry(*user).or_insert((now.instant, now.time));
            if now.instant.duration_since(since) >= debounce {
                changes.push(PresenceChange {
                    user: *user,
                    away_since: Some(time),
                });
            }
        }
        for user in present.difference(&self.online) {
            changes.push(PresenceChange {
                user: *user,
                away_since: None,
            });
        }
        for change in &changes {
            match change.away_since {
                None => {
                    self.online.insert(change.user);
                }
                Some(time) => {
                    self.online.remove(&change.user);
                    self.away.remove(&change.user);
                    // The user's node may have died before it recorded the time.
                    self.seen.entry(change.user).or_insert(time);
                }
            }
        }
        changes
    }

    /// Reverts changes that could not be published; the next step finds them again.
    pub fn untold(&mut self, changes: &[PresenceChange]) {
        for change in changes {
            match change.away_since {
                None => self.online.remove(&change.user),
                Some(_) => self.online.insert(change.user),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBOUNCE: Duration = Duration::from_secs(4);

    struct Clock(Instant, DateTime<Utc>);

    impl Clock {
        fn at(&self, seconds: u64) -> Now {
            let after = Duration::from_secs(seconds);
            Now {
                instant: self.0 + after,
                time: self.1 + after,
            }
        }
    }

    fn clock() -> Clock {
        Clock(Instant::now(), DateTime::UNIX_EPOCH)
    }

    fn came(user: UserId) -> PresenceChange {
        PresenceChange { user, away_since: None }
    }

    #[test]
    fn a_user_who_returns_within_the_debounce_stays_online() {
        let (clock, a, mut shown) = (clock(), UserId::random(), Shown::default());
        assert_eq!(shown.step([a].into(), clock.at(0), DEBOUNCE), [came(a)]);
        assert_eq!(shown.step([].into(), clock.at(1), DEBOUNCE), []);
        assert_eq!(shown.step([].into(), clock.at(4), DEBOUNCE), []);
        assert_eq!(shown.step([a].into(), clock.at(6), DEBOUNCE), []);
        assert_eq!(shown.step([].into(), clock.at(7), DEBOUNCE), []);
        assert!(shown.online.contains(&a));
        let gone = PresenceChange {
            user: a,
            away_since: Some(clock.at(7).time),
        };
        assert_eq!(shown.step([].into(), clock.at(11), DEBOUNCE), [gone]);
        assert!(shown.online.is_empty());
        assert_eq!(shown.seen[&a], clock.at(7).time);
    }

    #[test]
    fn a_user_who_moves_to_another_node_stays_online() {
        let (clock, a, mut shown) = (clock(), UserId::random(), Shown::default());
        shown.step([a].into(), clock.at(0), DEBOUNCE);
        assert!(shown.hear([a].into(), clock.at(1).instant));
        assert!(!shown.hear([a].into(), clock.at(2).instant));
        assert_eq!(shown.step([].into(), clock.at(9), DEBOUNCE), []);
        assert_eq!(shown.step([].into(), clock.at(20), DEBOUNCE), []);
    }

    #[test]
    fn users_of_unreachable_nodes_stay_online_for_one_minute() {
        let (clock, a, mut shown) = (clock(), UserId::random(), Shown::default());
        shown.hear([a].into(), clock.at(0).instant);
        assert_eq!(shown.step([].into(), clock.at(0), DEBOUNCE), [came(a)]);
        assert_eq!(shown.step([].into(), clock.at(59), DEBOUNCE), []);
        assert_eq!(shown.step([].into(), clock.at(61), DEBOUNCE), []);
        assert_eq!(shown.step([].into(), clock.at(66), DEBOUNCE).len(), 1);
    }

    #[test]
    fn unpublished_changes_are_found_again_by_the_next_step() {
        let (clock, a, mut shown) = (clock(), UserId::random(), Shown::default());
        let changes = shown.step([a].into(), clock.at(0), DEBOUNCE);
        shown.untold(&changes);
        assert_eq!(shown.step([a].into(), clock.at(1), DEBOUNCE), changes);
        shown.step([].into(), clock.at(2), DEBOUNCE);
        let changes = shown.step([].into(), clock.at(6), DEBOUNCE);
        assert_eq!(changes.len(), 1);
        shown.untold(&changes);
        assert_eq!(shown.step([].into(), clock.at(7), DEBOUNCE), []);
        assert_eq!(shown.step([].into(), clock.at(11), DEBOUNCE).len(), 1);
    }
}
