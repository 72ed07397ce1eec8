//! Completions that wait. A gym's first command begins a batch at once; those that come while a batch is being written wait
//! for its end and are folded into the next one, so that a gym at rest waits for nothing and a busy one shares its COMMITs.
//!
//! Where several come at the same time, those who were answered often come again at once. Without a moment for them the first would
//! be a batch alone and the others the next, so that a crowd would share only every second COMMIT: see [`Running::gather`].

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use actix_web::rt;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::oneshot;

use super::batch::Lock;
use super::fold::{self, Asked, Turn};
use super::planned::PlannedDays;
use crate::app::{App, For};
use crate::error::{Code, Error, Result};
use crate::idempotency::Answer;
use crate::ids::GymId;

/// Commands of one gym that wait at most; more are refused, to be tried again.
const WAITING: usize = 4_096;

/// How long a gym waits for its crowd after a batch: a part of what the batch took, since a machine that is busy answers later and
/// has others to work for meanwhile. A gym that was at rest does not wait. Timers are exact to a millisecond.
const PART: u32 = 4;
/// The bounds of it.
const TOGETHER_WITHIN: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(8)];

/// A command that waits for its answer.
struct Waiting {
    asked: Asked,
    answer: oneshot::Sender<Result<Answer>>,
}

/// A gym's commands that wait.
struct Line {
    commands: VecDeque<Waiting>,
    /// How many are waited for, where they are, and who is told that so many are there.
    awaited: Option<(usize, oneshot::Sender<()>)>,
}

/// The commands that wait, by gym, and what they need of plans.
#[derive(Default)]
pub struct Queues {
    /// A gym has an entry exactly while a batch of it is being written, and for a moment after it.
    waiting: DashMap<GymId, Line>,
    planned: PlannedDays,
}

impl Queues {
    /// How many commands of a gym wait for the batch that is being written.
    #[must_use]
    pub fn waiting(&self, gym: GymId) -> usize {
        self.waiting.get(&gym).map_or(0, |line| line.commands.len())
    }

    /// How many commands of all gyms wait.
    #[must_use]
    pub fn waiting_in_all(&self) -> usize {
        self.waiting.iter().map(|line| line.commands.len()).sum()
    }
}

/// Has a command carried out. It is finished even when whoever waits for it has gone.
///
/// # Errors
/// What speaks against the command; [`Code::OutcomeUnknown`] where the connection broke during COMMIT.
pub(super) async fn carry_out(app: &App, asked: Asked) -> Result<Answer> {
    let gym = asked.caller.gym;
    let (answer, answered) = oneshot::channel();
    if app.config.fold_batch <= 1 {
        rt::spawn(alone(app.clone(), gym, asked, answer));
        return told(answered).await;
    }
    let waiting = Waiting { asked, answer };
    match app.completions.waiting.entry(gym) {
        Entry::Occupied(mut line) if line.get().commands.len() < WAITING => {
            let line = line.get_mut();
            line.commands.push_back(waiting);
            let enough = |(wanted, _): &mut (usize, _)| line.commands.len() >= *wanted;
            if let Some((_, told)) = line.awaited.take_if(enough) {
                // Who waits may just have given up.
                let _ = told.send(());
            }
        }
        Entry::Occupied(_) => return Err(Error::new(Code::Unavailable)),
        Entry::Vacant(line) => {
            line.insert(Line {
                commands: VecDeque::new(),
                awaited: None,
            });
            let running = Running { app: app.clone(), gym };
            rt::spawn(running.work(waiting));
        }
    }
    told(answered).await
}

async fn told(answered: oneshot::Receiver<Result<Answer>>) -> Result<Answer> {
    answered
        .await
        .unwrap_or_else(|_| Err(Error::new(Code::Internal).caused_by(anyhow::anyhow!("a batch came to nothing"))))
}

/// The task that writes a gym's batches, one after the other.
struct Running {
    app: App,
    gym: GymId,
}

impl Running {
    async fn work(self, first: Waiting) {
        let mut batch = vec![first];
        let mut before = HashSet::new();
        while !batch.is_empty() {
            let members: HashSet<_> = batch.iter().map(|waiting| waiting.asked.command.member).collect();
            let began = Instant::now();
            run(&self.app, self.gym, batch).await;
            // Who was in one of the last two may come again.
            let crowd = members.union(&before).count().min(self.app.config.fold_batch);
            if crowd > 1 {
                let [least, most] = TOGETHER_WITHIN;
                self.gather(crowd, (began.elapsed() / PART).clamp(least, most)).await;
            }
            before = members;
            batch = self.next();
        }
    }

    /// Waits a moment for so many commands.
    async fn gather(&self, wanted: usize, within: Duration) {
        let (told, come) = oneshot::channel();
        match self.app.completions.waiting.get_mut(&self.gym) {
            Some(mut line) if line.commands.len() < wanted => line.awaited = Some((wanted, told)),
            _ => return,
        }
        // What came is taken either way.
        let _ = tokio::time::timeout(within, come).await;
        if let Some(mut line) = self.app.completions.waiting.get_mut(&self.gym) {
            line.awaited = None;
        }
    }

    /// The commands of the next batch; where none waits, the gym is at rest again.
    fn next(&self) -> Vec<Waiting> {
        let Entry::Occupied(mut line) = self.app.completions.waiting.entry(self.gym) else {
            return Vec::new();
        };
        let batch = take(&mut line.get_mut().commands, self.app.config.fold_batch);
        if batch.is_empty() {
            line.remove();
        }
        batch
    }
}

impl Drop for Running {
    /// After a panic too the gym must not stay busy for ever; those who wait are told by their channels.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.app.completions.waiting.remove(&self.gym);
        }
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
async fn run(app: &App, gym: GymId, batch: Vec<Waiting>) {
    let (asked, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|w| (w.asked, w.answer)).unzip();
    let turns = match turns(app, gym, asked.clone(), Lock::IfFree).await {
        Ok(turns) => turns,
        // Nothing can be said of any of them, or the next try would fail in the same way.
        Err(error) if asked.len() == 1 || matches!(error.code, Code::OutcomeUnknown | Code::Unavailable) => {
            let code = error.code;
            error.log();
            asked.iter().map(|_| Turn::Done(Err(Error::new(code)))).collect()
        }
        Err(error) => {
            error.log();
            let (app, one_by_one) = (app.clone(), asked.into_iter().zip(answers));
            rt::spawn(async move {
                for (asked, answer) in one_by_one {
                    alone(app.clone(), gym, asked, answer).await;
                }
            });
            return;
        }
    };
    for ((asked, answer), turn) in asked.into_iter().zip(answers).zip(turns) {
        match turn {
            // Whoever waited for it may have gone.
            Turn::Done(result) => drop(answer.send(result)),
            Turn::Aside => {
                rt::spawn(alone(app.clone(), gym, asked, answer));
            }
        }
    }
}

/// Carries out a command in a transaction of its own, in which it may wait for another without holding up its gym.
async fn alone(app: App, gym: GymId, asked: Asked, answer: oneshot::Sender<Result<Answer>>) {
    let turn = turns(&app, gym, vec![asked], Lock::Wait)
        .await
        .map(|mut turns| turns.pop());
    let result = match turn {
        Ok(Some(Turn::Done(result))) => result,
        Ok(_) => Err(Error::new(Code::Internal)),
        Err(error) => Err(error),
    };
    drop(answer.send(result));
}

async fn turns(app: &App, gym: GymId, asked: Vec<Asked>, lock: Lock) -> Result<Vec<Turn>> {
    let shared = app.clone();
    app.change(For::gym(gym).planned(), async move |tx| {
        let turns = fold::carry_out(tx, &shared.completions.planned, &asked, lock).await?;
        tx.more_soon = lock == Lock::IfFree && shared.completions.waiting(gym) > 0;
        Ok(turns)
    })
    .await
}
