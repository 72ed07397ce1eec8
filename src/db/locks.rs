//! The keys of all advisory locks. A database has one key space for them, so all keys are in one enum, in which the
//! compiler refuses duplicates.

use diesel::sql_types::{BigInt, Bool};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

/// An advisory lock, named for what it guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum AdvisoryLock {
    /// Migrations, so that nodes that start together run them in turn.
    Migrations = 7_310_540,
    /// Creating the cluster's roles, which several databases of one cluster may do at once. The first migration takes
    /// it.
    Roles = 7_310_541,
    /// Creating partitions of `live_events`. The SQL function `make_live_event_partitions` takes it.
    MakePartitions = 7_310_542,
    /// Loading the signing keys, so that only one of the nodes that start together creates the first key.
    SigningKeys = 7_310_543,
    /// Loading the starter foods.
    StarterFoods = 7_310_544,
    /// Detaching and dropping partitions of `live_events`, by one node at a time. Held for minutes; other nodes skip
    /// the job.
    RetirePartitions = 7_310_545,
    /// Loading the shared secrets, so that only one of the nodes that start together creates the first one.
    SealedSecrets = 7_310_546,
}

#[derive(QueryableByName)]
struct Taken {
    #[diesel(sql_type = Bool)]
    taken: bool,
}

impl AdvisoryLock {
    /// The lock's key in Postgres.
    #[must_use]
    pub const fn key(self) -> i64 {
        self as i64
    }

    /// Waits for the lock and holds it until the transaction ends.
    pub async fn take_for_transaction(self, conn: &mut AsyncPgConnection) -> QueryResult<()> {
        let take = diesel::sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(self.key());
        take.execute(conn).await.map(drop)
    }

    /// Takes the lock for the session unless another session holds it. Returns whether it was taken.
    pub async fn try_take(self, conn: &mut AsyncPgConnection) -> QueryResult<bool> {
        let take = diesel::sql_query("SELECT pg_try_advisory_lock($1) AS taken").bind::<BigInt, _>(self.key());
        take.get_result(conn).await.map(|Taken { taken }| taken)
    }

    /// Releases a lock that the session holds.
    pub async fn give_back(self, conn: &mut AsyncPgConnection) -> QueryResult<()> {
        let give_back = diesel::sql_query("SELECT pg_advisory_unlock($1)").bind::<BigInt, _>(self.key());
        give_back.execute(conn).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const ALL: [AdvisoryLock; 7] = [
        AdvisoryLock::Migrations,
        AdvisoryLock::Roles,
        AdvisoryLock::MakePartitions,
        AdvisoryLock::SigningKeys,
        AdvisoryLock::StarterFoods,
        AdvisoryLock::RetirePartitions,
        AdvisoryLock::SealedSecrets,
    ];

    /// The contents of all files under `folder` with this extension.
    fn texts(folder: &Path, extension: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                found.extend(texts(&path, extension));
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(std::fs::read_to_string(&path).expect("a text"));
            }
        }
        found
    }

    /// The first argument of each call of an advisory lock function of Postgres.
    fn arguments(text: &str) -> Vec<String> {
        let calls = text.split("advisory_").skip(1);
        let rest = calls.filter_map(|call| call.split_once("lock").map(|(_, rest)| rest));
        let rest = rest.map(|rest| rest.trim_start_matches("_shared"));
        let argument = |rest: &str| rest.strip_prefix('(')?.split([')', ',']).next().map(str::to_owned);
        rest.filter_map(argument).collect()
    }

    #[test]
    fn every_advisory_lock_has_its_own_key() {
        let keys: BTreeSet<i64> = ALL.iter().map(|lock| lock.key()).collect();
        assert_eq!(keys.len(), ALL.len());
    }

    #[test]
    fn code_and_migrations_take_only_locks_of_the_enum() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let in_sql: Vec<_> = texts(&root.join("migrations"), "sql")
            .iter()
            .flat_map(|t| arguments(t))
            .collect();
        assert!(in_sql.len() >= 5, "{in_sql:?}");
        for argument in in_sql {
            let known = ALL.iter().any(|lock| lock.key().to_string() == argument);
            assert!(known, "a migration locks {argument}");
        }
        for text in texts(&root.join("src"), "rs") {
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            for argument in arguments(product) {
                // Only this enum's methods bind or format a key; no code contains one as a literal.
                assert!(["$1", "{lock}"].contains(&argument.as_str()), "code locks {argument}");
            }
        }
    }
}
