//! Commands that run alone, each in its own transaction, in which they may wait for a lock without delaying their gym:
//! commands whose follow another transaction has locked, commands of a batch that failed as a whole, and all commands
//! if folding is off.
//!
//! Such a transaction holds a connection while it waits. Bounds per gym and per node therefore limit how many run at
//! once and leave most connections to others. A member's commands run one after the other, in their order of arrival.

use std::collections::VecDeque;
use std::sync::Arc;

use actix_web::rt;
use tokio::sync::{AcquireError, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::batch::Lock;
use super::fold::{Asked, Turn};
use super::queue::{self, Queues, Waiting};
use crate::app::App;
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::gather::{Gatherer, Running};
use crate::idempotency::Answer;
use crate::ids::{AccountId, GymId};

/// Maximum concurrent transactions of this kind per gym: a quarter of the pool.
pub(super) fn of_a_gym(config: &Config) -> usize {
    (config.database_pool as usize / 4).max(1)
}

/// Maximum concurrent transactions of this kind per node: half of the pool.
pub(super) fn of_a_node(config: &Config) -> usize {
    (config.database_pool as usize / 2).max(1)
}

/// The key of the queue: commands for the same member run in order.
type Member = (GymId, AccountId);

/// The commands that wait to run alone.
pub(super) struct Lines {
    members: Arc<Gatherer<Member, (Waiting, Instant)>>,
    permits: Semaphore,
}

impl Lines {
    pub(super) fn new(bound: usize, at_once: usize) -> Self {
        Self {
            members: Gatherer::new(bound),
            permits: Semaphore::new(at_once),
        }
    }

    /// Whether earlier commands for the same member still wait or run.
    pub(super) fn has(&self, asked: &Asked) -> bool {
        !self.members.is_at_rest(member(asked))
    }

    pub(super) fn waiting_in_all(&self) -> usize {
        self.members.waiting_in_all()
    }
}

fn member(asked: &Asked) -> Member {
    (asked.caller.gym, asked.command.member)
}

/// Queues a command behind the others for the same member.
pub(super) fn put(app: &App, queues: &Arc<Queues>, waiting: Waiting) {
    // The timeout of a transaction: clients have given up by then.
    let until = Instant::now() + app.pool.timeouts().transaction;
    match queues.alone.members.put(member(&waiting.asked), (waiting, until)) {
        Ok(None) => {}
        Ok(Some(running)) => drop(rt::spawn(work(app.clone(), queues.clone(), running))),
        Err((waiting, _)) => waiting.reply.send(Err(Error::new(Code::Unavailable))),
    }
}

async fn work(app: App, queues: Arc<Queues>, mut running: Running<Member, (Waiting, Instant)>) {
    let (gym, _) = running.key();
    while let Some(Some((Waiting { asked, reply }, until))) = running.next(VecDeque::pop_front) {
        // The gym's permit first, so that a command that waits for it holds none of the node's permits.
        let permits = async {
            let of_gym = reply.place.alone.acquire().await?;
            Ok::<_, AcquireError>((of_gym, queues.alone.permits.acquire().await?))
        };
        let result = match timeout_at(until, permits).await {
            // Permits may be free at once although the deadline passed in the queue.
            Ok(Ok(_permits)) if Instant::now() < until => carry_out(&app, &queues, gym, asked).await,
            _ => Err(Error::new(Code::Unavailable)),
        };
        reply.send(result);
    }
}

async fn carry_out(app: &App, queues: &Arc<Queues>, gym: GymId, asked: Asked) -> Result<Answer> {
    match queue::turns(app, queues, gym, vec![asked], Lock::Wait).await?.pop() {
        Some(Turn::Done(result)) => result,
        _ => Err(Error::new(Code::Internal)),
    }
}
