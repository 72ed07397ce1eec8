//! Folds the commands of many callers into one transaction. Each command is checked separately and gets its own answer;
//! their changes are written together. Between BEGIN and COMMIT are three round trips, whatever the number of commands.

use std::collections::HashMap;

use super::batch::{Batch, Lock};
use super::planned::PlannedDays;
use super::{Command, Kind, apply, tell};
use crate::assignments;
use crate::auth::Caller;
use crate::auth::access::{self, Standing};
use crate::error::{Code, Error, Result};
use crate::events::Tx;
use crate::idempotency::{self, Answer, NewAnswer, Stored};
use crate::ids::AccountId;

/// A command with its caller.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The caller.
    pub caller: Caller,
    /// The command.
    pub command: Command,
}

impl Asked {
    /// Its idempotency key, with the account that sent it.
    pub(super) fn key(&self) -> Option<(AccountId, &str)> {
        self.command.key.as_deref().map(|key| (self.caller.account, key))
    }

    /// The fingerprint of the command under its idempotency key.
    fn fingerprint(&self) -> Result<Vec<u8>> {
        let operation = match self.command.kind {
            Kind::Complete { .. } => "meal.complete",
            Kind::Undo => "meal.undo",
        };
        idempotency::fingerprint(operation, &self.command)
    }
}

/// The result of a command in a batch.
#[derive(Debug)]
pub(super) enum Turn {
    /// The command was carried out or refused.
    Done(Result<Answer>),
    /// The command was set aside, to run alone: the member has no running follow that could be locked without waiting.
    Aside,
}

/// Carries out commands of one gym. No two of them may have the same member or the same key.
///
/// # Errors
/// Errors of the database and of [`write`] fail the batch as a whole; the caller must roll back.
pub(super) async fn carry_out(
    tx: &mut Tx,
    planned: &PlannedDays,
    longest_history: u32,
    asked: &[Asked],
    lock: Lock,
) -> Result<Vec<Turn>> {
    let (gym, now) = (tx.gym, tx.now);
    let claims: Vec<_> = asked.iter().map(|a| a.caller.claim()).collect();
    let members = asked.iter().map(|a| a.command.member).collect();
    let (standings, batch) = tokio::join!(
        access::standings(tx, &claims, now),
        Batch::lock(tx, gym, now, members, lock)
    );
    let (standings, mut batch) = (standings?, batch?);

    // After the locks, because a transaction that revokes a right or uses the same key holds them until its COMMIT.
    let keys: Vec<_> = asked.iter().filter_map(Asked::key).collect();
    let pairs: Vec<_> = asked.iter().map(|a| (a.caller, a.command.member)).collect();
    let commands: Vec<_> = asked.iter().map(|a| &a.command).collect();
    let (stored, rights, days) = tokio::join!(
        idempotency::stored(tx, gym, &keys),
        assignments::rights_to_act(tx, gym, &pairs, now),
        batch.read_days(tx, planned, &commands, longest_history),
    );
    let (stored, rights) = (stored?, rights?);
    days?;

    let mut turns: Vec<Option<Turn>> = Vec::with_capacity(asked.len());
    for ((asked, standing), right) in asked.iter().zip(standings).zip(rights) {
        let aside = lock == Lock::IfFree && !batch.has(asked.command.member);
        turns.push(match admit(asked, standing, right, &stored) {
            Err(error) => Some(Turn::Done(Err(error))),
            Ok(Some(answer)) => Some(Turn::Done(Ok(answer))),
            Ok(None) if aside => Some(Turn::Aside),
            Ok(None) => None,
        });
    }
    let open: Vec<_> = asked
        .iter()
        .zip(&turns)
        .filter(|(_, t)| t.is_none())
        .map(|(a, _)| a)
        .collect();
    let answers = write(tx, &mut batch, &open).await?;
    let mut answers = answers.into_iter();
    let turn = |turn: Option<Turn>| {
        turn.or_else(|| answers.next().map(Turn::Done))
            .unwrap_or_else(|| Turn::Done(Err(Error::new(Code::Internal))))
    };
    Ok(turns.into_iter().map(turn).collect())
}

/// Checks a command. Returns the stored answer if it was carried out before, `None` if it is to be carried out now.
fn admit(
    asked: &Asked,
    standing: Standing,
    right: Result<()>,
    stored: &HashMap<(AccountId, String), Stored>,
) -> Result<Option<Answer>> {
    if standing != Standing::Good {
        return Err(Error::new(Code::SessionEnded));
    }
    right?;
    let first = asked
        .key()
        .and_then(|(account, key)| stored.get(&(account, key.to_owned())));
    first.map(|first| first.again(&asked.fingerprint()?)).transpose()
}

/// Applies the commands and writes their changes, answers and events. Behind them, it checks the access of all callers
/// again.
///
/// # Errors
/// [`Code::SessionEnded`] if the access of one caller has ended since the first check. The queue then runs each command
/// alone, so that the others can succeed.
async fn write(tx: &mut Tx, batch: &mut Batch, asked: &[&Asked]) -> Result<Vec<Result<Answer>>> {
    let commands: Vec<_> = asked.iter().map(|a| &a.command).collect();
    let outcomes = apply(tx, batch, &commands).await?;
    let answers: Vec<Result<Answer>> = outcomes
        .into_iter()
        .map(|outcome| {
            Ok(Answer {
                status: 200,
                body: idempotency::to_json(&outcome?)?,
                replayed: false,
            })
        })
        .collect();
    let mut kept = Vec::new();
    for (asked, answer) in asked.iter().zip(&answers) {
        if let (Some((account, key)), Ok(answer)) = (asked.key(), answer) {
            kept.push((account, key, asked.fingerprint()?, answer.body.as_str()));
        }
    }
    let kept: Vec<_> = kept
        .iter()
        .map(|(account, key, fingerprint, body)| NewAnswer {
            account: *account,
            key,
            fingerprint,
            body,
        })
        .collect();
    if batch.is_unchanged() && kept.is_empty() {
        return Ok(answers);
    }
    tell(tx, batch);
    let (gym, now) = (tx.gym, tx.now);
    let claims: Vec<_> = asked.iter().map(|a| a.caller.claim()).collect();
    tx.log_after(
        async |conn| {
            let (written, stored) = tokio::join!(batch.write(conn), idempotency::store(conn, gym, now, &kept));
            written?;
            Ok(stored?)
        },
        async |conn, kept| access::recheck(conn, &claims, now, kept).await,
    )
    .await?;
    Ok(answers)
}
