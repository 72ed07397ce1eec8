//! Commands that are carried out in a transaction of their own, in which they may wait for a lock without holding up their
//! gym: those whose follow another transaction has locked, those of a batch that failed as a whole, and all of them where
//! nothing is folded.
//!
//! Each of these transactions has a connection for as long as it waits, so few run at once, of a gym and of a node, and most
//! connections are left to others. A member's commands are carried out one after the other, in the order they came.

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

/// Such transactions of one gym at a time: a quarter of the connections.
pub(super) fn of_a_gym(config: &Config) -> usize {
    (config.database_pool as usize / 4).max(1)
}

/// Such transactions of all gyms at a time: half of the connections.
pub(super) fn of_a_node(config: &Config) -> usize {
    (config.database_pool as usize / 2).max(1)
}

/// Whose commands wait for each other.
type Member = (GymId, AccountId);

/// The commands that wait to be carried out alone.
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

    /// Whether commands for the same member are still to be carried out.
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

/// Has a command carried out behind the others for the same member.
pub(super) fn put(app: &App, queues: &Arc<Queues>, waiting: Waiting) {
    // As long as a transaction may take: a client has given up by then.
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
        // The gym's first, so that one that waits for its own keeps none from others.
        let permits = async {
            let of_gym = reply.place.alone.acquire().await?;
            Ok::<_, AcquireError>((of_gym, queues.alone.permits.acquire().await?))
        };
        let result = match timeout_at(until, permits).await {
            // They may be free at once for one whose time went by in the line.
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
