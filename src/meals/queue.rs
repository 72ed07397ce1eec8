//! Completions that wait. A gym's first command begins a batch at once; those that come while a batch is being written are
//! folded into the next one, so that a gym at rest waits for nothing and a busy one shares its COMMITs.
//!
//! Where several come at the same time, those who were answered often come again at once. Without a moment for them the first would
//! be a batch alone and the others the next, so that a crowd would share only every second COMMIT: hence the linger.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt;
use tokio::sync::oneshot;

use super::alone::{self, Lines};
use super::batch::Lock;
use super::crowd::{Crowds, Place};
use super::fold::{self, Asked, Turn};
use super::planned::PlannedDays;
use crate::app::{App, For};
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::gather::{self, Gatherer, Running};
use crate::idempotency::Answer;
use crate::ids::GymId;
use crate::parts::Part;

/// Commands of one gym that are not answered at most; more are refused, to be tried again.
const WAITING: usize = 4_096;

/// How long a gym lingers for its crowd after a batch: a part of what the batch took, since a machine that is busy answers later and
/// has others to work for meanwhile. A gym that was at rest does not wait. Timers are exact to a millisecond.
const PART: u32 = 4;
/// The bounds of it.
const TOGETHER_WITHIN: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(8)];

/// A command that waits for its answer.
pub(super) struct Waiting {
    pub asked: Asked,
    pub reply: Reply,
}

/// Where an answer goes. The command has its place in the gym's crowd until it is sent.
pub(super) struct Reply {
    answer: oneshot::Sender<Result<Answer>>,
    pub place: Place,
}

impl Reply {
    pub(super) fn send(self, result: Result<Answer>) {
        // Whoever waited for it may have gone.
        drop(self.answer.send(result));
    }
}

/// The commands that wait, and what they need of plans.
pub struct Queues {
    crowds: Arc<Crowds>,
    /// Those for the next batch, by gym.
    batches: Arc<Gatherer<GymId, Waiting>>,
    /// Those that are carried out alone.
    pub(super) alone: Lines,
    planned: PlannedDays,
}

impl Part for Queues {
    fn new(config: &Config) -> Self {
        Self {
            crowds: Crowds::new(WAITING, alone::of_a_gym(config)),
            batches: Gatherer::new(WAITING),
            alone: Lines::new(WAITING, alone::of_a_node(config)),
            planned: PlannedDays::default(),
        }
    }
}

impl Queues {
    /// How many commands of a gym wait for the batch that is being written.
    #[must_use]
    pub fn waiting(&self, gym: GymId) -> usize {
        self.batches.waiting(gym)
    }

    /// How many commands of all gyms wait: for the batch before theirs, or for one of the same member that is carried out
    /// alone.
    #[must_use]
    pub fn waiting_in_all(&self) -> usize {
        self.batches.waiting_in_all() + self.alone.waiting_in_all()
    }
}

/// Has a command carried out. It is finished even when whoever waits for it has gone.
///
/// # Errors
/// What speaks against the command; [`Code::OutcomeUnknown`] where the connection broke during COMMIT.
pub(super) async fn carry_out(app: &App, asked: Asked) -> Result<Answer> {
    let queues = app.part::<Queues>();
    let gym = asked.caller.gym;
    let full = || Error::new(Code::Unavailable);
    let (answer, answered) = oneshot::channel();
    let place = queues.crowds.enter(gym).ok_or_else(full)?;
    let waiting = Waiting {
        asked,
        reply: Reply { answer, place },
    };
    if app.config.fold_batch <= 1 {
        alone::put(app, &queues, waiting);
    } else if let Some(running) = queues.batches.put(gym, waiting).map_err(|_| full())? {
        rt::spawn(work(app.clone(), queues, running));
    }
    gather::answer(answered).await
}

/// Writes a gym's batches, one after the other.
async fn work(app: App, queues: Arc<Queues>, mut running: Running<GymId, Waiting>) {
    let (gym, most) = (running.key(), app.config.fold_batch);
    let mut before = HashSet::new();
    while let Some(batch) = running.next(|queue| take(queue, most)) {
        let members: HashSet<_> = batch.iter().map(|waiting| waiting.asked.command.member).collect();
        let began = Instant::now();
        // Behind the member's commands that are still to be carried out alone, so that the last word stays the last.
        let (later, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(|w| queues.alone.has(&w.asked));
        for waiting in later {
            alone::put(&app, &queues, waiting);
        }
        if !batch.is_empty() {
            run(&app, &queues, gym, batch).await;
        }
        // Who was in one of the last two may come again.
        let crowd = members.union(&before).count().min(most);
        if crowd > 1 {
            let [least, most] = TOGETHER_WITHIN;
            running.linger(crowd, (began.elapsed() / PART).clamp(least, most)).await;
        }
        before = members;
    }
}

/// Takes commands for a batch, in order: one of each member, so that each is a change of its own on the screens, and one of
/// each key, whose answer the others then get.
fn take(queue: &mut VecDeque<Waiting>, most: usize) -> Vec<Waiting> {
    let (mut members, mut keys) = (HashSet::new(), HashSet::new());
    let (mut batch, mut later) = (Vec::new(), VecDeque::new());
    while let Some(waiting) = queue.pop_front() {
        let first = members.insert(waiting.asked.command.member);
        let key = waiting.asked.key().map(|(account, key)| (account, key.to_owned()));
        if batch.len() < most && first && key.is_none_or(|key| keys.insert(key)) {
            batch.push(waiting);
        } else {
            later.push_back(waiting);
        }
    }
    *queue = later;
    batch
}

/// Carries out a batch and answers everyone in it.
async fn run(app: &App, queues: &Arc<Queues>, gym: GymId, batch: Vec<Waiting>) {
    let (asked, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.asked, w.reply)).unzip();
    let turns = match turns(app, queues, gym, asked.clone(), Lock::IfFree).await {
        Ok(turns) => turns,
        // Nothing can be said of any of them, or the next try would fail in the same way.
        Err(error) if asked.len() == 1 || matches!(error.code, Code::OutcomeUnknown | Code::Unavailable) => {
            let code = error.code;
            error.log();
            asked.iter().map(|_| Turn::Done(Err(Error::new(code)))).collect()
        }
        // What is wrong with one is not told to others.
        Err(error) => {
            error.log();
            asked.iter().map(|_| Turn::Aside).collect()
        }
    };
    for ((asked, reply), turn) in asked.into_iter().zip(replies).zip(turns) {
        match turn {
            Turn::Done(result) => reply.send(result),
            Turn::Aside => alone::put(app, queues, Waiting { asked, reply }),
        }
    }
}

/// Carries out commands in one transaction.
pub(super) async fn turns(
    app: &App,
    queues: &Arc<Queues>,
    gym: GymId,
    asked: Vec<Asked>,
    lock: Lock,
) -> Result<Vec<Turn>> {
    let queues = queues.clone();
    app.change(For::gym(gym).planned(), async move |tx| {
        let turns = fold::carry_out(tx, &queues.planned, &asked, lock).await?;
        tx.more_soon = lock == Lock::IfFree && queues.waiting(gym) > 0;
        Ok(turns)
    })
    .await
}
