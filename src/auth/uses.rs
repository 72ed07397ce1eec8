//! Records that a client has used an access token of its session's current generation. The client then has the answer
//! of the refresh that issued it, so the refresh token before is void from then on: see [`super::refresh`].
//!
//! Uses go through a bounded queue to one task, which writes all that have gathered in one statement. If the queue is
//! full or the statement fails, the use is forgotten, and the next request of the session reports it again.

use std::sync::Arc;

use diesel::sql_types::{Array, BigInt, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use quick_cache::sync::Cache;
use tokio::sync::mpsc;

use super::refresh::FIRST;
use crate::db::{self, Mode, Pool, Scope};
use crate::ids::SessionId;

/// Maximum sessions whose last reported generation is remembered. A forgotten one costs a row of a statement.
const REMEMBERED: usize = 8_192;
/// Maximum uses that wait for the task.
const WAITING: usize = 4_096;
/// Maximum uses that one statement writes.
const BATCH: usize = 512;

/// A use of a session's generation.
type Use = (SessionId, i64);

/// Reports uses of generations.
pub struct Uses {
    reported: Arc<Cache<SessionId, i64>>,
    queue: mpsc::Sender<Use>,
}

impl Uses {
    /// Starts the task that writes them. It ends when this value is dropped.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let reported = Arc::new(Cache::new(REMEMBERED));
        tokio::spawn(write(pool, reported.clone(), waiting));
        Self { reported, queue }
    }

    /// Reports that a client has sent an access token of this generation. Cheap after the first time.
    pub fn report(&self, session: SessionId, generation: i64) {
        // The first generation has no predecessor to void.
        if generation <= FIRST || self.reported.get(&session).is_some_and(|last| last >= generation) {
            return;
        }
        self.reported.insert(session, generation);
        if self.queue.try_send((session, generation)).is_err() {
            self.reported.remove(&session);
        }
    }
}

async fn write(pool: Pool, reported: Arc<Cache<SessionId, i64>>, mut waiting: mpsc::Receiver<Use>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let uses = std::mem::take(&mut batch);
        let written = db::run(&pool, Scope::System, Mode::Write, async |conn| {
            Ok(void_predecessors(conn, &uses).await?)
        });
        let missed = match written.await {
            Ok(locked) => locked,
            Err(error) => {
                tracing::warn!(error.cause = ?error, uses = uses.len(), "cannot record the use of refreshed sessions; trying again at their next requests");
                uses.into_iter().map(|(session, _)| session).collect()
            }
        };
        for session in missed {
            reported.remove(&session);
        }
    }
}

/// Voids the predecessors of the generations that were used and are current. Returns the sessions whose rows are locked:
/// one of them must not hold up the others. Needs the system role.
async fn void_predecessors(conn: &mut AsyncPgConnection, uses: &[Use]) -> QueryResult<Vec<SessionId>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        id: SessionId,
    }
    let (sessions, generations): (Vec<_>, Vec<_>) = uses.iter().copied().unzip();
    diesel::sql_query(
        "WITH used AS (SELECT unnest($1) AS id, unnest($2) AS generation),
         held AS (SELECT s.id FROM sessions s JOIN used USING (id, generation)
                  WHERE s.predecessor_until IS NOT NULL FOR NO KEY UPDATE OF s SKIP LOCKED)
         UPDATE sessions s SET predecessor_until = NULL FROM held WHERE s.id = held.id",
    )
    .bind::<Array<SqlUuid>, _>(&sessions)
    .bind::<Array<BigInt>, _>(&generations)
    .execute(conn)
    .await?;
    let locked: Vec<Row> = diesel::sql_query(
        "SELECT s.id FROM sessions s JOIN (SELECT unnest($1) AS id, unnest($2) AS generation) used USING (id, generation)
         WHERE s.predecessor_until IS NOT NULL",
    )
    .bind::<Array<SqlUuid>, _>(&sessions)
    .bind::<Array<BigInt>, _>(&generations)
    .load(conn)
    .await?;
    Ok(locked.into_iter().map(|row| row.id).collect())
}
