//! The seam between changes and screens. A change writes its rows and its live events in one transaction; the events take
//! the next number of the gym's log as the transaction's last act, and are handed to the hub right after COMMIT.
//!
//! - [`Tx`]: the transaction of a change; [`Tx::emit`] collects events.
//! - [`log`]: heads, events since a position, epoch. [`partitions`]: its days, made ahead and dropped.
//! - [`merge`]: RFC 7396, the algebra of snapshots and patches.

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

/// A gym's log, as the hub knows it.
#[must_use]
pub const fn log_of(gym: GymId) -> LogId {
    LogId(gym.0)
}

/// An account, as the hub knows it.
#[must_use]
pub const fn user_of(account: AccountId) -> UserId {
    UserId(account.0)
}

/// A channel of a gym, by name. The gym is never part of the name: a socket's gym comes from its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// `member:{account}`: a member's follow, completions and progress.
    Member(AccountId),
    /// `plan:{plan}`: a published plan's tree.
    Plan(PlanId),
    /// `roster:{account}`: a trainer's members.
    Roster(AccountId),
    /// Not a channel that anyone can subscribe to: the hub acts on it by authorising an account's sockets again.
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

/// A channel name that names no channel.
#[derive(Debug)]
pub struct UnknownChannel;

impl FromStr for Channel {
    type Err = UnknownChannel;

    /// Only the canonical spelling is a name, so that one channel has one name. `!access:` is not for clients.
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
    /// It may, until then where the right runs out by itself.
    Granted {
        /// When to ask again.
        until: Option<DateTime<Utc>>,
    },
    /// It may not.
    Refused,
}

impl Access {
    /// Granted without an end.
    pub const OPEN: Self = Self::Granted { until: None };

    /// Granted where `yes`.
    #[must_use]
    pub const fn when(yes: bool) -> Self {
        if yes { Self::OPEN } else { Self::Refused }
    }
}

/// An event that waits for the end of its transaction.
pub struct PendingEvent {
    /// Where it goes.
    pub channel: Channel,
    /// What happened, such as `meal.updated`.
    pub kind: &'static str,
    /// RFC 7396 merge patch on the channel's snapshot.
    pub patch: Value,
}

/// What will have one number in the log: at most one event a channel.
struct PendingChange {
    actor: Option<AccountId>,
    events: Vec<PendingEvent>,
}

/// What will have one number in the log, in its wire form.
pub(crate) struct Draft {
    pub actor: Option<AccountId>,
    pub events: Vec<(LoggedEvent, &'static str)>,
}

/// What keeps a change's last look at access true up to COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The head of the gym's log, which the change has locked: whatever ends access logs that it does.
    ByLog,
    /// Locks of the rows that are looked at, in a change that logs nothing.
    ByRows,
}

/// The transaction of a change. It dereferences to its connection, so that stores take it as it is.
pub struct Tx {
    pub(crate) conn: Pooled,
    /// The gym that the change is in.
    pub gym: GymId,
    /// Who makes the change; none for the system.
    pub actor: Option<AccountId>,
    /// The instant of the change.
    pub now: DateTime<Utc>,
    changes: Vec<PendingChange>,
    logged: Vec<Committed>,
    elsewhere: BTreeMap<GymId, BTreeSet<AccountId>>,
    access_held: bool,
    /// Another change of the gym waits for the end of this one.
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

    /// Begins another change in the same transaction, with an actor and a number in the log of its own: for commands that
    /// were folded. What is emitted from here on belongs to it.
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

    /// Adds an event to this change. Events of one change on one channel are joined into one: their patches are merged
    /// and the last kind names it.
    ///
    /// An entry of a collection in a patch names all its fields (absent ones as null), so that joining patches and
    /// applying them one after the other come to the same.
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

    /// Says that what `account` may see has changed, so that every node authorises its sockets again.
    pub fn access_changed(&mut self, account: AccountId) {
        self.emit(Channel::Access(account), "access.changed", json!({}));
    }

    /// Says the same in another gym, where it has changed with this change: sessions of all gyms end with a password.
    pub fn access_changed_in(&mut self, gym: GymId, account: AccountId) {
        self.elsewhere.entry(gym).or_default().insert(account);
    }

    /// Says that the access which the change stands on was looked at under locks, so that it needs no second look.
    pub(crate) fn access_is_held(&mut self) {
        self.access_held = true;
    }

    /// Writes the events into the gym's log as the last act before COMMIT, since that locks the gym's head. In the same round
    /// trip `writes` go ahead of them, and behind them `recheck` looks again at what must still hold.
    ///
    /// # Errors
    /// Those of `writes` before those of the log, and those of `recheck` last.
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
        // Not `try_join`: an error of the writes makes the others fail too, and the first is the one to tell.
        let (written, logged, checked) = tokio::join!(
            writes(conn),
            log::append(conn, self.gym, self.now, drafts),
            recheck(conn, kept)
        );
        written?;
        self.logged.extend(logged?);
        checked
    }

    /// Writes the events that are not in the gym's log yet, looks with `recheck` at what must still hold, and returns all
    /// events of the transaction. What is said in other gyms' logs goes in the order of the gyms, so that two such changes do
    /// not wait for each other.
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
    fn one_channel_has_one_name() {
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
