//! Requests that wait for the version of a plan and the right to see it. The first of a gym is looked up at once; those
//! that come while a look is under way are gathered into the next one, so that a gym at rest waits for nothing and a busy
//! one shares its round trips: three a look, however many ask, and who asks the same thing is one of them. A look that is
//! under way is never joined: each answer is of a snapshot that began after its request, so a right that has ended is
//! not used again. Everyone gets their own answer.

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

/// Different questions of one look at most.
const BATCH: usize = 64;
/// Requests of one gym that wait at most; more are refused, to be tried again.
const WAITING: usize = 4_096;

/// Who asks for which plan.
type Question = (Caller, PlanId);
type Answer = oneshot::Sender<Result<access::Seen>>;
/// What the database said to a question.
type Found = (Standing, access::Version);

/// The requests that wait, by gym.
pub struct Lookups {
    gyms: Arc<Gatherer<GymId, (Question, Answer)>>,
    counts: Counts,
}

/// How much was shared.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests that asked.
    pub asked: Counter,
    /// Looks into the database for them.
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
    /// How many requests of a gym wait for the look that is under way.
    #[must_use]
    pub fn waiting(&self, gym: GymId) -> usize {
        self.gyms.waiting(gym)
    }

    /// Whether no look is under way in a gym.
    #[must_use]
    pub fn is_at_rest(&self, gym: GymId) -> bool {
        self.gyms.is_at_rest(gym)
    }

    /// How much was shared.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// The version of a plan, for a caller whose session holds and who may read it.
///
/// # Errors
/// 401 where the session has ended, 404 where the caller's gym has no such plan, 403 where it is not for the caller.
pub(super) async fn version(app: &App, caller: &Caller, plan: PlanId) -> Result<access::Seen> {
    let lookups = app.part::<Lookups>();
    lookups.counts.asked.inc();
    let (answer, answered) = oneshot::channel();
    let question = ((*caller, plan), answer);
    let running = lookups.gyms.put(caller.gym, question);
    if let Some(running) = running.map_err(|_| Error::new(Code::Unavailable))? {
        // Whoever asks first may go before the others have their answers.
        rt::spawn(work(app.clone(), running));
    }
    gather::answer(answered).await
}

/// Looks for a gym, one look after the other.
async fn work(app: App, mut running: Running<GymId, (Question, Answer)>) {
    let gym = running.key();
    while let Some(batch) = running.next(take) {
        let (questions, answers) = batch.into_iter().unzip();
        run(&app, gym, questions, answers).await;
    }
}

/// Takes the questions of a look, each once, with all who wait for its answer.
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

/// Looks, and answers everyone. What goes wrong with one question is not told to others: they are asked one by one then.
async fn run(app: &App, gym: GymId, questions: Vec<Question>, answers: Vec<Vec<Answer>>) {
    match look(app, gym, &questions, answers).await {
        Ok(()) => {}
        // The next try would fail in the same way.
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

/// One snapshot for all questions. Their answers are sent before its end, which says nothing more; they come back with an
/// error that kept them from being sent.
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
                    // Whoever waited for it may have gone.
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

/// Asks for all of them in one round trip.
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
    fn a_look_takes_so_many_questions_and_all_who_ask_the_same() {
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
    fn other_roles_or_another_session_are_another_question() {
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
