//! The authenticated connections on this node. Each entry has a [`ConnectionGuard`], and only the guard's `Drop`
//! removes the entry. No lock of a map is held across an await.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dashmap::DashMap;

use crate::ids::{LogId, UserId};

/// Connections by log and user.
pub struct ConnectionTable<C> {
    users: DashMap<(LogId, UserId), Vec<Arc<C>>>,
    /// Number of connections per log.
    logs: DashMap<LogId, usize>,
}

/// A connection's entry in the table; dropping it removes the entry.
pub struct ConnectionGuard<C> {
    table: Arc<ConnectionTable<C>>,
    log: LogId,
    user: UserId,
    connection: Arc<C>,
}

impl<C> Default for ConnectionTable<C> {
    fn default() -> Self {
        Self {
            users: DashMap::new(),
            logs: DashMap::new(),
        }
    }
}

impl<C> ConnectionTable<C> {
    /// Adds an authenticated connection; returns `None` if its log has `bound` connections already.
    #[must_use]
    pub fn enter(
        self: &Arc<Self>,
        log: LogId,
        user: UserId,
        connection: Arc<C>,
        bound: usize,
    ) -> Option<ConnectionGuard<C>> {
        {
            let mut connections = self.logs.entry(log).or_default();
            if *connections >= bound {
                return None;
            }
            *connections += 1;
        }
        self.users.entry((log, user)).or_default().push(connection.clone());
        Some(ConnectionGuard {
            table: self.clone(),
            log,
            user,
            connection,
        })
    }

    /// The connections of a user, oldest first.
    #[must_use]
    pub fn of_user(&self, log: LogId, user: UserId) -> Vec<Arc<C>> {
        self.users.get(&(log, user)).map(|c| c.clone()).unwrap_or_default()
    }

    /// The connections of a log.
    #[must_use]
    pub fn of_log(&self, log: LogId) -> Vec<Arc<C>> {
        self.users
            .iter()
            .filter(|e| e.key().0 == log)
            .flat_map(|e| e.value().clone())
            .collect()
    }

    /// All authenticated connections.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<C>> {
        self.users.iter().flat_map(|e| e.value().clone()).collect()
    }

    /// The users with a connection on this node, by log.
    #[must_use]
    pub fn users(&self) -> HashMap<LogId, HashSet<UserId>> {
        let mut users: HashMap<LogId, HashSet<UserId>> = HashMap::new();
        for entry in &self.users {
            let (log, user) = *entry.key();
            users.entry(log).or_default().insert(user);
        }
        users
    }

    /// The number of connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.iter().map(|e| e.len()).sum()
    }

    /// True if there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

impl<C> Drop for ConnectionGuard<C> {
    fn drop(&mut self) {
        let key = (self.log, self.user);
        if let Some(mut there) = self.table.users.get_mut(&key) {
            there.retain(|c| !Arc::ptr_eq(c, &self.connection));
        }
        // A separate statement, because the map's lock above must be released first.
        self.table.users.remove_if(&key, |_, there| there.is_empty());
        if let Some(mut connections) = self.table.logs.get_mut(&self.log) {
            *connections -= 1;
        }
        self.table.logs.remove_if(&self.log, |_, connections| *connections == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_found_by_log_and_user_until_their_guards_are_dropped() {
        let table = Arc::<ConnectionTable<u8>>::default();
        let (log, other, ana, ben) = (LogId::random(), LogId::random(), UserId::random(), UserId::random());
        let enter = |log, user, number| table.enter(log, user, Arc::new(number), 3).expect("room");
        let first = enter(log, ana, 1);
        let rest = [enter(log, ana, 2), enter(log, ben, 3), enter(other, ana, 4)];
        assert!(table.enter(log, ben, Arc::new(5), 3).is_none(), "the log is full");
        let numbers = |found: Vec<Arc<u8>>| found.iter().map(|c| **c).collect::<Vec<_>>();
        assert_eq!(numbers(table.of_user(log, ana)), [1, 2]);
        assert_eq!((table.of_log(log).len(), table.all().len(), table.len()), (3, 4, 4));
        assert_eq!(table.users(), [(log, [ana, ben].into()), (other, [ana].into())].into());
        drop(first);
        assert_eq!(numbers(table.of_user(log, ana)), [2]);
        assert!(table.enter(log, ben, Arc::new(5), 3).is_some(), "there is room again");
        drop(rest);
        assert!(table.is_empty() && table.logs.is_empty());
    }
}
