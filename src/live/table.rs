//! What the hub does not know itself: whose a token is, which channels there are, who may watch them and what they show.
//! It is chosen once, when the hub starts.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::Value;

use bytes::Bytes;

use super::connection::Session;
use crate::app::App;
use crate::auth::Caller;
use crate::auth::access::Standing;
use crate::error::Result;
use crate::events::{Access, Channel};
use crate::ids::{AccountId, GymId};

/// See [`Table::authenticate`].
pub type Authenticate = for<'a> fn(&'a App, &'a str) -> LocalBoxFuture<'a, Result<Option<Session>>>;
/// See [`Table::standing`].
pub type StandingOf =
    for<'a> fn(&'a mut AsyncPgConnection, &'a Caller, DateTime<Utc>) -> LocalBoxFuture<'a, Result<Standing>>;
/// See [`Table::place`].
pub type Place = for<'a> fn(&'a App, &'a Caller, &'a str) -> LocalBoxFuture<'a, Result<Option<GymId>>>;
/// See [`Table::authorise`].
pub type Authorise =
    for<'a> fn(&'a mut AsyncPgConnection, &'a Caller, &'a str, DateTime<Utc>) -> LocalBoxFuture<'a, Result<Access>>;
/// See [`Table::snapshot`].
pub type Snapshot =
    for<'a> fn(&'a mut AsyncPgConnection, GymId, &'a str, DateTime<Utc>) -> LocalBoxFuture<'a, Result<Option<Value>>>;
/// See [`Table::presence`].
pub type ShownIn = for<'a> fn(
    &'a mut AsyncPgConnection,
    GymId,
    &'a [AccountId],
    DateTime<Utc>,
) -> BoxFuture<'a, Result<HashMap<AccountId, Vec<Channel>>>>;
/// See [`Table::record_seen`].
pub type RecordSeen =
    for<'a> fn(&'a mut AsyncPgConnection, GymId, &'a [(AccountId, DateTime<Utc>)]) -> BoxFuture<'a, Result<()>>;
/// See [`Table::last_seen`].
pub type LastSeen = for<'a> fn(
    &'a mut AsyncPgConnection,
    GymId,
    &'a [AccountId],
) -> LocalBoxFuture<'a, Result<HashMap<AccountId, DateTime<Utc>>>>;
/// See [`Table::call`].
pub type Call = for<'a> fn(&'a App, &'a Caller, &'a str, Value) -> LocalBoxFuture<'a, Result<String>>;
/// See [`Table::publish`].
pub type Publish = for<'a> fn(&'a App, GymId, &'a str, Bytes) -> LocalBoxFuture<'a, Result<()>>;
/// See [`Table::subscription_token`].
pub type SubscriptionToken = fn(&App, &Session, &str, &str) -> Result<Option<DateTime<Utc>>>;

/// What a channel offers besides its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// Whether those who may watch it may ask who else does, and are told who joins and leaves.
    pub presence: bool,
    /// How many of its last publications can be read and recovered; 0 offers no reading, and recovery has the hub's bound.
    pub history: i64,
}

impl Offers {
    /// Neither.
    pub const NOTHING: Self = Self {
        presence: false,
        history: 0,
    };
}

/// What the nouns answer for: people, channels and commands.
#[derive(Clone, Copy)]
pub struct Table {
    /// Whose a token is; none where there is no token and one is needed.
    pub authenticate: Authenticate,
    /// Whether what a token said of its session and roles still holds. Its gym's transaction.
    pub standing: StandingOf,
    /// The channels that the server subscribes to at connect. Their events are in the caller's own gym.
    pub server_side: fn(&Session) -> Vec<String>,
    /// The gym whose log holds a channel's events; none for a name that names no channel.
    pub place: Place,
    /// Whether a caller may watch a channel.
    pub authorise: Authorise,
    /// What a channel shows, where it shows more than its events.
    pub snapshot: Snapshot,
    /// What a channel offers besides.
    pub offers: fn(&str) -> Offers,
    /// The channels that show whether each of these accounts is online.
    pub presence: ShownIn,
    /// Records when accounts last had a socket.
    pub record_seen: RecordSeen,
    /// When accounts last had a socket.
    pub last_seen: LastSeen,
    /// Runs a command; the answer is JSON. Without it there are no commands.
    pub call: Option<Call>,
    /// Publishes what a client sent, which is JSON. Without it clients may not publish.
    pub publish: Option<Publish>,
    /// Checks a token that grants a channel; returns when it runs out. Without it such tokens are not looked at.
    pub subscription_token: Option<SubscriptionToken>,
}
