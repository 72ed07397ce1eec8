//! The queues of ticks. The first command of an idle gym starts a batch at once; commands that arrive while a batch is
//! being written are folded into the next one. So an idle gym adds no latency, and a busy one shares its COMMITs.
//!
//! Clients that just got an answer often send their next command at once. Without a linger, the first of these commands
//! would form a batch alone and the others the one after it, so that only every second COMMIT would be shared.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt;
use tokio::sync::oneshot;

use super::alone::{self, Lines};
use super::batch::Lock;
use super::crowd::{Crowds, Underway};
use super::fold::{self, Asked, Turn};
use super::planned::PlannedDays;
use crate::app::{App, For};
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::gather::{self, Gatherer, Running};
use crate::idempotency::Answer;
use crate::ids::GymId;
use crate::parts::Part;

/// Maximum unanswered commands per gym; further ones get a temporary error.
const WAITING: usize = 4_096;

/// After a batch, a gym lingers for 1/4 of the batch's duration, since clients answer later on a busy machine, which
/// has other work meanwhile. An idle gym does not linger.
const PART: u32 = 4;
/// Shortest and longest linger. Timers have a resolution of 1 ms.
const TOGETHER_WITHIN: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(8)];

/// A command that waits for its answer.
pub(super) struct Waiting {
    pub asked: Asked,
    pub reply: Reply,
}

/// The reply channel of a command. It holds the command's place until the answer is sent.
pub(super) struct Reply {
    answer: oneshot::Sender<Result<Answer>>,
    pub place: Underway,
}

impl Reply {
    pub(super) fn send(self, result: Result<Answer>) {
        // The request may have been cancelled.
        drop(self.answer.send(result));
    }
}

/// The waiting commands, and a cache of the plans' days that they need.
pub struct Queues {
    crowds: Arc<Crowds>,
    /// Commands for the next batch, by gym.
    batches: Arc<Gatherer<GymId, Waiting>>,
    /// Commands that run alone.
    pub(super) alone: Lines,
    planned: PlannedDays,
    /// See [`crate::config::BudgetLimits::changes_of_a_meal`].
    longest_history: u32,
}

impl Part for Queues {
    fn new(config: &Config) -> Self {
        Self {
            crowds: Crowds::new(WAITING, alone::of_a_gym(config)),
            batches: Gatherer::new(WAITING),
            alone: Lines::new(WAITING, alone::of_a_node(config)),
            planned: PlannedDays::default(),
            longest_history: config.budgets.changes_of_a_meal,
        }
    }
}

impl Queues {
    /// Number of a gym's commands that wait for the current batch to end.
    #[must_use]
    pub fn waiting(&self, gym: GymId) -> usize {
        self.batches.waiting(gym)
    }

    /// Number of waiting commands of all gyms: those that wait for the current batch of their gym, and those that wait
    /// behind a command that runs alone for the same member.
    #[must_use]
    pub fn waiting_in_all(&self) -> usize {
        self.batches.waiting_in_all() + self.alone.waiting_in_all()
    }
}

/// Queues a command and waits for its answer. An accepted command is finished even if its request is cancelled.
///
/// # Errors
/// The refusal of the command; [`Code::Unavailable`] if the gym has reached its bound; [`Code::OutcomeUnknown`] if the
/// connection broke during COMMIT.
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
        // Commands of a member with commands that run alone queue behind those, so that the member's order is kept.
        let (later, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(|w| queues.alone.has(&w.asked));
        for waiting in later {
            alone::put(&app, &queues, waiting);
        }
        if !batch.is_empty() {
            run(&app, &queues, gym, batch).await;
        }
        // Members of the last two batches may send their next command now.
        let crowd = members.union(&before).count().min(most);
        if crowd > 1 {
            let [least, most] = TOGETHER_WITHIN;
            running.linger(crowd, (began.elapsed() / PART).clamp(least, most)).await;
        }
        before = members;
    }
}

/// Takes commands for a batch, in order. At most one per member, so that each becomes its own change on the screens; at
/// most one per key, so that repeats find its stored answer.
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

/// Carries out a batch and answers its commands, or sets them aside.
async fn run(app: &App, queues: &Arc<Queues>, gym: GymId, batch: Vec<Waiting>) {
    let (asked, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.asked, w.reply)).unzip();
    let turns = match turns(app, queues, gym, asked.clone(), Lock::IfFree).await {
        Ok(turns) => turns,
        // The outcome of all is unknown, or a retry would fail in the same way.
        Err(error) if asked.len() == 1 || matches!(error.code, Code::OutcomeUnknown | Code::Unavailable) => {
            let code = error.code;
            error.log();
            asked.iter().map(|_| Turn::Done(Err(Error::new(code)))).collect()
        }
        // One bad command must not fail the others, so each runs alone.
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
        let turns = fold::carry_out(tx, &queues.planned, queues.longest_history, &asked, lock).await?;
        tx.more_soon = lock == Lock::IfFree && queues.waiting(gym) > 0;
        Ok(turns)
    })
    .await
}
