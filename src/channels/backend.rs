//! [`Product`]: the hub's backend. The nouns answer its questions from Postgres.

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use diesel_async::AsyncPgConnection;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{authorise, snapshot};
use crate::app::{App, For};
use crate::auth::access::{self, Standing as Claimed};
use crate::auth::{Caller, Role};
use crate::budget::{Class, Refused};
use crate::db::{self, Mode, Scope};
use crate::error::{Code, Error, Lang, Result};
use crate::events::log::{self, Head};
use crate::events::{Access, Channel, Committed, log_of, user_of};
use crate::ids::{AccountId, GymId};
use crate::{assignments, gyms, meals};
use liveplan_hub::backend::{
    Answer, Answers, Ask, Backend, Failure, Fault, Found, Identity, Kind, Language, Location, Notice, Offers,
    PresenceChange, Session, Standing, Unrecoverable, Want, WhoIsOnline,
};
use liveplan_hub::ids::{LogId, UserId};
use liveplan_hub::protocol::ErrorReply;

/// The product as the hub's backend.
pub struct Product {
    app: App,
}

impl Product {
    /// A backend over the shared handle.
    #[must_use]
    pub const fn new(app: App) -> Self {
        Self { app }
    }

    async fn read(&self, log: LogId, who: Option<&Session>, asks: &[Ask], online: &dyn WhoIsOnline) -> Result<Answers> {
        let (gym, now) = (GymId(log.0), self.app.clock.now());
        let caller = who.map(caller).transpose()?;
        self.app
            .read(For::gym(gym), async |conn| {
                let standing = match &caller {
                    Some(caller) => stands(access::standing(conn, &caller.claim(), now).await?),
                    None => Standing::Good,
                };
                let mut answers = Answers {
                    standing,
                    head: None,
                    answers: Vec::new(),
                };
                if standing != Standing::Good {
                    return Ok(answers);
                }
                let mut rights = Vec::with_capacity(asks.len());
                for ask in asks {
                    rights.push(match &caller {
                        Some(caller) => right(conn, caller, &ask.channel, now).await?,
                        None => Access::OPEN,
                    });
                }
                if asks.iter().any(|ask| !matches!(ask.want, Want::Right)) {
                    let head = log::head(conn, gym).await?;
                    answers.head = Some(head.ok_or_else(|| Error::not_found("gym"))?);
                }
                for (ask, right) in asks.iter().zip(rights) {
                    let Access::Granted { until } = right else {
                        answers.answers.push(Answer::Refused);
                        continue;
                    };
                    let found = match &answers.head {
                        Some(head) => self.find(conn, gym, ask, head, online).await?,
                        None => Found::Nothing,
                    };
                    let lasts = until.map(|until| (until - now).to_std().unwrap_or_default());
                    answers.answers.push(Answer::Granted { lasts, found });
                }
                Ok(answers)
            })
            .await
    }

    async fn find(
        &self,
        conn: &mut AsyncPgConnection,
        gym: GymId,
        ask: &Ask,
        head: &Head,
        online: &dyn WhoIsOnline,
    ) -> Result<Found> {
        let channel = &*ask.channel;
        Ok(match &ask.want {
            Want::Right => Found::Nothing,
            Want::State => Found::State(self.state(conn, gym, channel, online).await?),
            Want::Tail(limit) => Found::Tail(log::channel_tail(conn, gym, channel, *limit).await?),
            Want::Since {
                epoch,
                after,
                bounds,
                or_state,
            } => {
                let missed = if !epoch.is_empty() && **epoch != *head.epoch {
                    Err(Unrecoverable::Epoch)
                } else if *after > head.seq {
                    Err(Unrecoverable::Ahead)
                } else {
                    let missed = log::channel_since(conn, gym, channel, *after, head.seq, *bounds).await?;
                    missed.complete()
                };
                let state = match (&missed, or_state) {
                    (Err(_), true) => Some(self.state(conn, gym, channel, online).await?),
                    _ => None,
                };
                Found::Since { missed, state }
            }
        })
    }

    /// The snapshot of a channel; for a roster, with presence. A snapshot over the bound of a reply is replaced by the
    /// URL at which the client can fetch it.
    async fn state(
        &self,
        conn: &mut AsyncPgConnection,
        gym: GymId,
        name: &str,
        online: &dyn WhoIsOnline,
    ) -> Result<Bytes> {
        let channel: Channel = name.parse().map_err(|_| Error::not_found("channel"))?;
        let mut snapshot = snapshot(conn, gym, channel, self.app.clock.now()).await?;
        if let Channel::Roster(_) = channel {
            add_presence(conn, gym, online, &mut snapshot).await?;
        }
        let text = snapshot.to_string();
        if text.len() <= self.app.config.live.snapshot_bytes {
            return Ok(text.into());
        }
        let elsewhere = json!({"fetch": true, "url": format!("/api/v1/live/snapshots/{name}")});
        Ok(elsewhere.to_string().into())
    }
}

impl Backend for Product {
    fn authenticate<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<Option<Identity>, Failure>> {
        let identity = match token {
            "" => Ok(None),
            token => identity(&self.app, token).map(Some),
        };
        ready(identity.map_err(Failure::from)).boxed_local()
    }

    fn locate(&self, session: &Session, channel: &str) -> Option<Location> {
        channel.parse::<Channel>().ok()?;
        Some(Location {
            // The gym comes from the token, so a client cannot address another gym's channels.
            log: session.log,
            // Channels do not show their subscribers; rosters show who is online, to those with the right to know.
            offers: Offers::NOTHING,
        })
    }

    fn read<'a>(
        &'a self,
        log: LogId,
        who: Option<&'a Session>,
        asks: &'a [Ask],
        online: &'a dyn WhoIsOnline,
    ) -> LocalBoxFuture<'a, Result<Answers, Failure>> {
        async move { Ok(self.read(log, who, asks, online).await?) }.boxed_local()
    }

    fn heads<'a>(&'a self, logs: &'a [LogId]) -> BoxFuture<'a, Result<HashMap<LogId, Head>, Failure>> {
        async move {
            let gyms: Vec<GymId> = logs.iter().map(|log| GymId(log.0)).collect();
            let heads = heads(&self.app, &gyms).await?.into_iter();
            Ok(heads.map(|(gym, head)| (log_of(gym), head)).collect())
        }
        .boxed()
    }

    fn since(&self, log: LogId, after: u64, limit: u64) -> BoxFuture<'_, Result<(Vec<Committed>, Head), Failure>> {
        async move { Ok(since(&self.app, GymId(log.0), after, limit).await?) }.boxed()
    }

    fn seen<'a>(
        &'a self,
        log: LogId,
        seen: &'a [(UserId, DateTime<Utc>)],
        changes: &'a [PresenceChange],
    ) -> BoxFuture<'a, Result<Vec<Notice>, Failure>> {
        async move { Ok(record_seen(&self.app, GymId(log.0), seen, changes).await?) }.boxed()
    }

    fn admit<'a>(&'a self, session: &'a Session) -> Option<LocalBoxFuture<'a, Result<(), Failure>>> {
        let budgets = &self.app.budgets;
        let refused = |refused: Refused| Failure::from(Error::from(refused));
        let account = match caller(session) {
            Ok(caller) => caller.account,
            Err(error) => return Some(ready(Err(error.into())).boxed_local()),
        };
        match budgets.try_take(account, Class::Command) {
            Some(Ok(_)) => None,
            Some(Err(over)) => Some(ready(Err(refused(over))).boxed_local()),
            None => Some(
                async move {
                    let taken = budgets.take(account, Class::Command).await;
                    taken.map(drop).map_err(refused)
                }
                .boxed_local(),
            ),
        }
    }

    fn call<'a>(
        &'a self,
        session: &'a Session,
        method: &'a str,
        data: Value,
    ) -> Option<LocalBoxFuture<'a, Result<String, Failure>>> {
        let call = async move {
            let caller = caller(session)?;
            let done = match method {
                "meal.complete" => meals::rpc_complete(&self.app, &caller, data).await,
                "meal.undo" => meals::rpc_undo(&self.app, &caller, data).await,
                _ => Err(Error::new(Code::UnknownMethod).with("method", method)),
            };
            Ok(done?)
        };
        Some(call.boxed_local())
    }

    fn failure(&self, kind: Kind) -> Failure {
        failure(kind)
    }
}

/// The product's error for a failure that the hub detected.
#[must_use]
pub fn failure(kind: Kind) -> Failure {
    let code = match kind {
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::TokenExpired => Code::TokenExpired,
        Kind::SessionEnded => Code::SessionEnded,
        Kind::Denied => Code::Forbidden,
        Kind::Unavailable => Code::Unavailable,
        Kind::NotFound => return Error::not_found("gym").into(),
        Kind::Other => Code::Internal,
    };
    Error::new(code).into()
}

/// The identity behind an access token.
fn identity(app: &App, token: &str) -> Result<Identity> {
    let verified = app.verify(token)?;
    let left = (verified.expires_at - app.clock.now()).to_std().unwrap_or_default();
    let caller = verified.caller;
    let channels = if caller.roles.has(Role::Member) {
        vec![Channel::Member(caller.account).to_string().into()]
    } else {
        Vec::new()
    };
    Ok(Identity {
        session: Session {
            log: log_of(caller.gym),
            user: user_of(caller.account),
            name: caller.account.to_string().into(),
            id: caller.session.0,
            expires_at: Some(Instant::now() + left),
            claims: Arc::new(caller),
        },
        channels,
    })
}

/// The caller of a session. [`identity`] creates all sessions and stores the caller in them.
fn caller(session: &Session) -> Result<Caller> {
    let caller = session.claims.downcast_ref::<Caller>();
    caller.copied().ok_or_else(|| Error::new(Code::Internal))
}

const fn stands(claim: Claimed) -> Standing {
    match claim {
        Claimed::Good => Standing::Good,
        Claimed::RolesChanged => Standing::RolesChanged,
        Claimed::SessionEnded => Standing::SessionEnded,
        Claimed::NotActive => Standing::NotActive,
    }
}

async fn right(conn: &mut AsyncPgConnection, caller: &Caller, channel: &str, now: DateTime<Utc>) -> Result<Access> {
    match channel.parse() {
        Ok(channel) => authorise(conn, caller, channel, now).await,
        Err(_) => Ok(Access::Refused),
    }
}

/// Adds presence to the snapshot of a roster: `online` members, and `last_seen` of the others.
async fn add_presence(
    conn: &mut AsyncPgConnection,
    gym: GymId,
    online: &dyn WhoIsOnline,
    snapshot: &mut Value,
) -> Result<()> {
    let Some(members) = snapshot.get("members").and_then(Value::as_object) else {
        return Ok(());
    };
    let everybody: HashSet<UserId> = online.online(log_of(gym));
    let (here, away): (Vec<AccountId>, Vec<_>) = members
        .keys()
        .filter_map(|account| account.parse::<AccountId>().ok())
        .partition(|account| everybody.contains(&user_of(*account)));
    let last_seen = gyms::store::last_seen(conn, gym, &away).await?;
    if let Some(snapshot) = snapshot.as_object_mut() {
        let online = here.into_iter().map(|a| (a.to_string(), Value::Bool(true)));
        let seen = last_seen.into_iter().map(|(a, at)| (a.to_string(), json!(at)));
        snapshot.insert("online".into(), online.collect::<Map<_, _>>().into());
        snapshot.insert("last_seen".into(), seen.collect::<Map<_, _>>().into());
    }
    Ok(())
}

/// Reads heads of logs. The deadline is the time after which the hub gives up on the database and lets subscriptions
/// go.
async fn heads(app: &App, gyms: &[GymId]) -> Result<HashMap<GymId, Head>> {
    db::within(app.config.live.insufficient_after, async {
        let mut conn = db::open(&app.pool, Scope::System, Mode::Snapshot).await?;
        let heads = log::heads(&mut conn, gyms).await.map_err(Error::from);
        db::end(&mut conn, heads).await
    })
    .await
}

async fn since(app: &App, gym: GymId, after: u64, limit: u64) -> Result<(Vec<Committed>, Head)> {
    db::within(app.config.live.insufficient_after, async {
        let mut conn = db::open(&app.pool, Scope::Gym(gym), Mode::Snapshot).await?;
        let missed = async {
            let head = log::head(&mut conn, gym).await?;
            let head = head.ok_or_else(|| Error::not_found("gym"))?;
            let changes = log::since(&mut conn, gym, &head.epoch, after, head.seq, limit).await?;
            Ok((changes, head))
        };
        let missed = missed.await;
        db::end(&mut conn, missed).await
    })
    .await
}

/// Records when accounts were last seen. Returns notices of presence changes for the rosters that list these accounts.
async fn record_seen(
    app: &App,
    gym: GymId,
    seen: &[(UserId, DateTime<Utc>)],
    changes: &[PresenceChange],
) -> Result<Vec<Notice>> {
    let seen: Vec<_> = seen.iter().map(|(user, at)| (AccountId(user.0), *at)).collect();
    let accounts: Vec<_> = changes.iter().map(|change| AccountId(change.user.0)).collect();
    let trainers = db::within(app.pool.timeouts().transaction, async {
        let mut conn = db::open(&app.pool, Scope::Gym(gym), Mode::Write).await?;
        let recorded = async {
            gyms::store::record_seen(&mut conn, gym, &seen).await?;
            Ok::<_, Error>(assignments::trainers_of(&conn, gym, &accounts, app.clock.now()).await?)
        };
        let trainers = recorded.await;
        db::end(&mut conn, trainers).await
    })
    .await?;
    let mut notices = Vec::new();
    for change in changes {
        let account = AccountId(change.user.0);
        let name = account.to_string();
        let patch = json!({
            "online": {&name: change.away_since.is_none().then_some(true)},
            "last_seen": {&name: change.away_since},
        });
        let payload = Bytes::from(json!({"v": 1, "type": "presence.changed", "patch": patch}).to_string());
        for trainer in trainers.get(&account).into_iter().flatten() {
            notices.push(Notice {
                channel: Channel::Roster(*trainer).to_string().into(),
                payload: payload.clone(),
            });
        }
    }
    Ok(notices)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match error.code {
            Code::Unauthenticated => Kind::Unauthenticated,
            Code::TokenExpired => Kind::TokenExpired,
            Code::SessionEnded => Kind::SessionEnded,
            Code::Forbidden => Kind::Denied,
            Code::NotFound => Kind::NotFound,
            Code::Unavailable => Kind::Unavailable,
            _ => Kind::Other,
        };
        Self::new(kind, error)
    }
}

impl Fault for Error {
    fn reply(&self, language: Language) -> ErrorReply {
        let message = format!(
            "{}: {}",
            self.code.name(),
            self.detail(Lang::accepted(Some(language.0)))
        );
        ErrorReply {
            code: self.code.number(),
            message,
            temporary: self.temporary(),
        }
    }

    fn log(&self) {
        Self::log(self);
    }
}
