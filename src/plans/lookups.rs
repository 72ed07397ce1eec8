//! Batched lookups of a plan's version and the caller's right to read it. A request of an idle gym is looked up at
//! once. Requests that arrive during a lookup form the next batch, and equal questions count once, so a busy gym shares
//! three round trips per batch.
//!
//! A request never joins a batch that has begun: its answer comes from a snapshot that began after the request, so a
//! revoked right is never used. Each request gets its own answer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use actix_web::rt;
use diesel_async::AsyncPgConnection;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use super::access;
use crate::app::{App, For};
use crate::auth::Caller;
use crate::auth::access::{Standing, standings};
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::gather::{self, Gatherer, Running};
use crate::ids::{GymId, PlanId};
use crate::parts::Part;

/// Maximum distinct questions per batch.
const BATCH: usize = 64;
/// Maximum waiting requests per gym; further ones get a temporary error.
const WAITING: usize = 4_096;

/// A caller, and the plan it asks for.
type Question = (Caller, PlanId);
type Answer = oneshot::Sender<Result<access::Seen>>;
/// The database's answer to a question.
type Found = (Standing, access::Version);

/// The waiting requests, by gym.
pub struct Lookups {
    gyms: Arc<Gatherer<GymId, (Question, Answer)>>,
    counts: Counts,
}

/// Counts of requests and of the batches that served them.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests.
    pub asked: Counter,
    /// Batches, each one read of the database.
    pub looks: Counter,
}

impl Part for Lookups {
    fn new(_: &Config) -> Self {
        Self {
            gyms: Gatherer::new(WAITING),
            counts: Counts::default(),
        }
    }
}

impl Lookups {
    /// Number of a gym's requests that wait for the current batch to end.
    #[must_use]
    pub fn waiting(&self, gym: GymId) -> usize {
        self.gyms.waiting(gym)
    }

    /// Whether a gym has no batch under way.
    #[must_use]
    pub fn is_at_rest(&self, gym: GymId) -> bool {
        self.gyms.is_at_rest(gym)
    }

    /// Counts of requests and batches.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// The version of a plan, for a caller with valid access and the right to read it.
///
/// # Errors
/// 401 if the session has ended, 404 if the caller's gym has no such plan, 403 if the caller may not read it.
pub(super) async fn version(app: &App, caller: &Caller, plan: PlanId) -> Result<access::Seen> {
    let lookups = app.part::<Lookups>();
    lookups.counts.asked.inc();
    let (answer, answered) = oneshot::channel();
    let question = ((*caller, plan), answer);
    let running = lookups.gyms.put(caller.gym, question);
    if let Some(running) = running.map_err(|_| Error::new(Code::Unavailable))? {
        // A separate task, since this request may be cancelled before the others have their answers.
        rt::spawn(work(app.clone(), running));
    }
    gather::answer(answered).await
}

/// Runs a gym's batches, one after the other.
async fn work(app: App, mut running: Running<GymId, (Question, Answer)>) {
    let gym = running.key();
    while let Some(batch) = running.next(take) {
        let (questions, answers) = batch.into_iter().unzip();
        run(&app, gym, questions, answers).await;
    }
}

/// Takes a batch of distinct questions, each with all requests that wait for its answer.
fn take<A>(queue: &mut VecDeque<(Question, A)>) -> HashMap<Question, Vec<A>> {
    let (mut batch, mut later) = (HashMap::<_, Vec<_>>::new(), VecDeque::new());
    while let Some((question, answer)) = queue.pop_front() {
        if batch.len() < BATCH || batch.contains_key(&question) {
            batch.entry(question).or_default().push(answer);
        } else {
            later.push_back((question, answer));
        }
    }
    *queue = later;
    batch
}

/// Runs a batch and answers all its requests. If the batch fails as a whole, asks each question alone, so that a
/// question that fails does not affect the others.
async fn run(app: &App, gym: GymId, questions: Vec<Question>, answers: Vec<Vec<Answer>>) {
    match look(app, gym, &questions, answers).await {
        Ok(()) => {}
        // A retry would fail in the same way.
        Err((error, answers)) if questions.len() == 1 || error.code == Code::Unavailable => refuse(&error, answers),
        Err((error, answers)) => {
            error.log();
            let app = app.clone();
            rt::spawn(async move {
                for (question, answers) in questions.into_iter().zip(answers) {
                    if let Err((error, answers)) = look(&app, gym, &[question], vec![answers]).await {
                        refuse(&error, answers);
                    }
                }
            });
        }
    }
}

fn refuse(error: &Error, answers: Vec<Vec<Answer>>) {
    error.log();
    for answer in answers.into_iter().flatten() {
        drop(answer.send(Err(Error::new(error.code))));
    }
}

/// Looks up all questions in one snapshot. Sends the answers before the transaction ends, since its end cannot change
/// them. Returns the reply channels with an error that occurred before that.
async fn look(
    app: &App,
    gym: GymId,
    questions: &[Question],
    answers: Vec<Vec<Answer>>,
) -> Result<(), (Error, Vec<Vec<Answer>>)> {
    app.part::<Lookups>().counts.looks.inc();
    let mut unanswered = Some(answers);
    let looked = app
        .read(For::gym(gym), async |conn| {
            let found = find(app, conn, questions).await?;
            let answers = unanswered.take().into_iter().flatten();
            for (found, answers) in found.into_iter().zip(answers) {
                for answer in answers {
                    // The request may have been cancelled.
                    drop(answer.send(told(found)));
                }
            }
            Ok(())
        })
        .await;
    match (looked, unanswered) {
        (Err(error), Some(answers)) => Err((error, answers)),
        (Err(error), None) => {
            error.log();
            Ok(())
        }
        (Ok(()), _) => Ok(()),
    }
}

/// Sends the queries for all questions in one round trip.
async fn find(app: &App, conn: &AsyncPgConnection, questions: &[Question]) -> Result<Vec<Found>> {
    let now = app.clock.now();
    let claims: Vec<_> = questions.iter().map(|(caller, _)| caller.claim()).collect();
    let (standings, versions) = tokio::join!(
        standings(conn, &claims, now),
        access::find_versions(conn, questions, now)
    );
    Ok(standings?.into_iter().zip(versions?).collect())
}

fn told((standing, version): Found) -> Result<access::Seen> {
    if standing != Standing::Good {
        return Err(Error::new(Code::SessionEnded));
    }
    access::readable_version(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Roles;
    use crate::ids::{AccountId, SessionId};

    fn caller() -> Caller {
        Caller {
            account: AccountId::new(),
            gym: GymId::new(),
            roles: Roles::default(),
            session: SessionId::new(),
            access_version: 1,
        }
    }

    #[test]
    fn a_batch_takes_a_bounded_number_of_distinct_questions_with_all_their_requests() {
        let (first, plan) = (caller(), PlanId::new());
        let mut queue = VecDeque::from([((first, plan), 0)]);
        queue.extend((1..100).map(|n| ((caller(), plan), n)));
        queue.extend([((first, plan), 100), ((first, PlanId::new()), 101)]);
        let batch = take(&mut queue);
        assert_eq!((batch.len(), &batch[&(first, plan)]), (BATCH, &vec![0, 100]));
        let waiting: Vec<_> = queue.iter().map(|(_, n)| *n).collect();
        assert_eq!(waiting, (64..100).chain([101]).collect::<Vec<_>>());
    }

    #[test]
    fn other_roles_or_another_session_make_another_question() {
        let (one, plan) = (caller(), PlanId::new());
        let other = Caller {
            session: SessionId::new(),
            ..one
        };
        let promoted = Caller {
            access_version: 2,
            ..one
        };
        let mut queue = VecDeque::from([one, other, promoted, one].map(|who| ((who, plan), ())));
        assert_eq!(take(&mut queue).len(), 3);
    }
}
