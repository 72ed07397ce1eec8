//! Live events, from a change to the hub. A change writes its rows and its live events in one transaction. The
//! transaction's last statement takes the next number of the gym's log for the events, and `App::change` hands them to
//! the hub right after COMMIT.
//!
//! - [`Tx`]: the transaction of a change; [`Tx::emit`] collects events.
//! - [`log`]: heads, events since a position, epochs. [`partitions`]: the log's daily partitions.
//! - [`merge`]: RFC 7396 merge patches on snapshots.

pub mod log;
pub mod merge;
pub mod partitions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use serde_json::{Value, json};

use crate::db::{self, Pooled};
use crate::error::Result;
use crate::ids::{AccountId, EventId, GymId, PlanId};
use liveplan_hub::ids::{LogId, UserId};
use liveplan_hub::log::change::access_channel;
pub use liveplan_hub::log::change::{Committed, LoggedEvent};

/// The hub's id for a gym's log.
#[must_use]
pub const fn log_of(gym: GymId) -> LogId {
    LogId(gym.0)
}

/// The hub's id for an account.
#[must_use]
pub const fn user_of(account: AccountId) -> UserId {
    UserId(account.0)
}

/// A channel of a gym. Its name does not contain the gym, which a socket's access token determines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// `member:{account}`: a member's follow, completions and progress.
    Member(AccountId),
    /// `plan:{plan}`: a published plan's tree.
    Plan(PlanId),
    /// `roster:{account}`: a trainer's members.
    Roster(AccountId),
    /// `!access:{account}`: for access events. No client can subscribe to it; the hub re-authorises the account's
    /// sockets when an event arrives on it.
    Access(AccountId),
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(id) => write!(f, "member:{id}"),
            Self::Plan(id) => write!(f, "plan:{id}"),
            Self::Roster(id) => write!(f, "roster:{id}"),
            Self::Access(id) => f.write_str(&access_channel(user_of(*id))),
        }
    }
}

/// The name of no channel.
#[derive(Debug)]
pub struct UnknownChannel;

impl FromStr for Channel {
    type Err = UnknownChannel;

    /// Accepts the canonical spelling only, so that each channel has one name. Rejects `!access:`, which is not for
    /// clients.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (kind, id) = name.split_once(':').ok_or(UnknownChannel)?;
        let channel = match kind {
            "member" => Self::Member(id.parse().map_err(|_| UnknownChannel)?),
            "plan" => Self::Plan(id.parse().map_err(|_| UnknownChannel)?),
            "roster" => Self::Roster(id.parse().map_err(|_| UnknownChannel)?),
            _ => return Err(UnknownChannel),
        };
        if channel.to_string() == name {
            Ok(channel)
        } else {
            Err(UnknownChannel)
        }
    }
}

/// Whether an account may watch a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The account may watch it.
    Granted {
        /// When the right ends by itself and must be checked again; `None` if it has no end.
        until: Option<DateTime<Utc>>,
    },
    /// The account may not watch it.
    Refused,
}

impl Access {
    /// Access without an end.
    pub const OPEN: Self = Self::Granted { until: None };

    /// Access without an end if `yes`, else refusal.
    #[must_use]
    pub const fn when(yes: bool) -> Self {
        if yes { Self::OPEN } else { Self::Refused }
    }
}

/// An event that its transaction has not written to the log yet.
pub struct PendingEvent {
    /// The channel that publishes it.
    pub channel: Channel,
    /// What happened, such as `meal.updated`.
    pub kind: &'static str,
    /// An RFC 7396 merge patch on the channel's snapshot.
    pub patch: Value,
}

/// A change that has no number yet, with at most one event per channel.
struct PendingChange {
    actor: Option<AccountId>,
    events: Vec<PendingEvent>,
}

/// A change that has no number yet, with its events in their wire form and their kinds.
pub(crate) struct Draft {
    pub actor: Option<AccountId>,
    pub events: Vec<(LoggedEvent, &'static str)>,
}

/// The locks under which a change's last access check stays valid until COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The row lock on the head of the gym's log: every change that ends access appends to the log and needs it too.
    ByLog,
    /// Row locks on the rows that the check reads, in a change that appends nothing to the log.
    ByRows,
}

/// The transaction of a change. It dereferences to its connection, so that store functions accept it directly.
pub struct Tx {
    pub(crate) conn: Pooled,
    /// The gym in which the change happens.
    pub gym: GymId,
    /// The account that makes the change; `None` for the system.
    pub actor: Option<AccountId>,
    /// The instant of the change.
    pub now: DateTime<Utc>,
    changes: Vec<PendingChange>,
    logged: Vec<Committed>,
    elsewhere: BTreeMap<GymId, BTreeSet<AccountId>>,
    access_held: bool,
    /// Whether another change of the gym waits for this transaction to end.
    pub(crate) more_soon: bool,
}

impl Tx {
    pub(crate) fn new(conn: Pooled, gym: GymId, actor: Option<AccountId>, now: DateTime<Utc>) -> Self {
        Self {
            conn,
            gym,
            actor,
            now,
            changes: Vec::new(),
            logged: Vec::new(),
            elsewhere: BTreeMap::new(),
            access_held: false,
            more_soon: false,
        }
    }

    /// Begins another change in the same transaction, with its own actor and its own number in the log, as folded
    /// commands need. Events that are emitted from now on belong to it.
    pub fn next_change(&mut self, actor: Option<AccountId>) {
        self.changes.push(PendingChange {
            actor,
            events: Vec::new(),
        });
    }

    fn change(&mut self) -> &mut PendingChange {
        if self.changes.is_empty() {
            self.next_change(self.actor);
        }
        let last = self.changes.len() - 1;
        &mut self.changes[last]
    }

    /// Adds an event to the current change. Events of one change on one channel are joined into one: their patches are
    /// merged, and the last kind is kept.
    ///
    /// An entry of a collection in a patch must name all its fields (absent ones as null), so that a joined patch has
    /// the same effect as the patches in turn.
    pub fn emit(&mut self, channel: Channel, kind: &'static str, patch: Value) {
        let events = &mut self.change().events;
        match events.iter_mut().find(|e| e.channel == channel) {
            Some(event) => {
                event.kind = kind;
                merge::join(&mut event.patch, patch);
            }
            None => events.push(PendingEvent { channel, kind, patch }),
        }
    }

    /// Emits an access event: the account's rights have changed, and every node must re-authorise its sockets.
    pub fn access_changed(&mut self, account: AccountId) {
        self.emit(Channel::Access(account), "access.changed", json!({}));
    }

    /// Emits an access event in another gym's log, as a new password needs: it ends the account's sessions in all gyms.
    pub fn access_changed_in(&mut self, gym: GymId, account: AccountId) {
        self.elsewhere.entry(gym).or_default().insert(account);
    }

    /// Records that the body checked the caller's access under row locks, so that [`Self::close`] skips the second
    /// check.
    pub(crate) fn access_is_held(&mut self) {
        self.access_held = true;
    }

    /// Appends the events to the gym's log. This locks the log's head, so it belongs right before COMMIT. The same
    /// round trip carries the statements of `writes` before the append and those of `recheck` after it.
    ///
    /// # Errors
    /// The first error in this order: `writes`, the append, `recheck`.
    pub async fn log_after(
        &mut self,
        writes: impl AsyncFnOnce(&AsyncPgConnection) -> Result<()>,
        recheck: impl AsyncFnOnce(&AsyncPgConnection, Kept) -> Result<()>,
    ) -> Result<()> {
        let drafts = self.drafts();
        let kept = if drafts.is_empty() && self.logged.is_empty() {
            Kept::ByRows
        } else {
            Kept::ByLog
        };
        let conn: &AsyncPgConnection = &self.conn;
        // Not `try_join`: after an error of the writes the other statements fail too, and the first error is the cause.
        let (written, logged, checked) = tokio::join!(
            writes(conn),
            log::append(conn, self.gym, self.now, drafts),
            recheck(conn, kept)
        );
        written?;
        self.logged.extend(logged?);
        checked
    }

    /// Appends the events that are not in a log yet, runs `recheck` unless access is held, and returns all changes of
    /// the transaction. Several gyms' logs are locked in the order of the gyms' ids, so that two such changes cannot
    /// deadlock.
    pub(crate) async fn close(
        &mut self,
        recheck: impl AsyncFnOnce(&AsyncPgConnection, Kept) -> Result<()>,
    ) -> Result<Vec<Committed>> {
        let held = self.access_held;
        let recheck = async move |conn: &AsyncPgConnection, kept| if held { Ok(()) } else { recheck(conn, kept).await };
        if self.elsewhere.is_empty() {
            self.log_after(async |_| Ok(()), recheck).await?;
        } else {
            let mut logs = BTreeMap::from([(self.gym, self.drafts())]);
            for (gym, accounts) in std::mem::take(&mut self.elsewhere) {
                for account in accounts {
                    self.access_changed(account);
                }
                logs.entry(gym).or_default().extend(self.drafts());
            }
            let now = self.now;
            let logged = db::as_system(self, async move |conn| {
                let mut logged = Vec::new();
                for (gym, drafts) in logs {
                    logged.extend(log::append(conn, gym, now, drafts).await?);
                }
                Ok(logged)
            })
            .await?;
            self.logged.extend(logged);
            recheck(&self.conn, Kept::ByLog).await?;
        }
        Ok(std::mem::take(&mut self.logged))
    }

    /// The changes that have events, in their wire form.
    fn drafts(&mut self) -> Vec<Draft> {
        let at = self.now;
        let draft = |change: PendingChange| Draft {
            actor: change.actor,
            events: change
                .events
                .into_iter()
                .map(|event| (event.log(change.actor, at), event.kind))
                .collect(),
        };
        let changes = std::mem::take(&mut self.changes).into_iter();
        changes.map(draft).filter(|draft| !draft.events.is_empty()).collect()
    }
}

impl PendingEvent {
    fn log(&self, actor: Option<AccountId>, at: DateTime<Utc>) -> LoggedEvent {
        let payload = json!({
            "v": 1, "type": self.kind, "id": EventId::new(), "at": at, "actor": actor, "patch": self.patch,
        });
        LoggedEvent {
            channel: self.channel.to_string().into(),
            payload: payload.to_string().into(),
        }
    }
}

impl Deref for Tx {
    type Target = AsyncPgConnection;
    fn deref(&self) -> &AsyncPgConnection {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.conn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_one_name() {
        let id = AccountId::new();
        assert_eq!(
            format!("member:{id}").parse::<Channel>().expect("a channel"),
            Channel::Member(id)
        );
        for name in [
            format!("member:{id}").to_uppercase(),
            format!("member:{{{id}}}"),
            format!("!access:{id}"),
        ] {
            assert!(name.parse::<Channel>().is_err(), "{name}");
        }
    }
}
