//! [`App`]: the one shared handle. It opens transactions: [`App::read`] for one snapshot, [`App::change`] for the only
//! way to write. Handlers get their [`Caller`] from it, by the token in `Authorization: Bearer`.

use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use chrono::NaiveDate;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::AsyncPgConnection;

use crate::auth::access::{self, AccessClaim};
use crate::auth::{Caller, Tokens};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{self, Mode, Pool, Scope, failure};
use crate::error::{Code, Error, Result};
use crate::events::Tx;
use crate::http::limits::Limits;
use crate::ids::{AccountId, GymId};
use crate::parts::{Part, Parts};
use liveplan_hub::Hub;

/// How often a change is tried where what failed may pass, such as a deadlock.
const ATTEMPTS: usize = 3;

/// The shared handle; cloning it is cheap.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// What [`App`] holds.
pub struct Inner {
    /// The configuration this node started with.
    pub config: Config,
    /// Connections to Postgres.
    pub pool: Pool,
    /// Time.
    pub clock: Clock,
    /// Signs and verifies access tokens.
    pub tokens: Tokens,
    /// Live sockets and their channels.
    pub hub: Hub,
    /// Attempts a key may make, such as logins of an account.
    pub limits: Limits,
    /// Answers that are ready to be sent.
    pub cache: Cache,
    /// What modules above keep.
    pub parts: Parts,
    /// Changes that have begun and not ended; shutdown waits for them.
    pub changes_in_flight: AtomicUsize,
    /// The last day up to which live events have partitions, as was last seen.
    pub partitions_until: Mutex<Option<NaiveDate>>,
}

/// For whom a transaction is opened: the gym that it sees, the actor of its events, and the access to check in it.
#[derive(Clone, Copy)]
pub struct For {
    scope: Scope,
    actor: Option<AccountId>,
    access: Option<AccessClaim>,
    mode: Mode,
}

impl For {
    /// The system, over all gyms.
    pub const SYSTEM: Self = Self {
        scope: Scope::System,
        actor: None,
        access: None,
        mode: Mode::Write,
    };

    /// The product itself, inside one gym (jobs, demo, the hub's own reads).
    #[must_use]
    pub fn gym(gym: GymId) -> Self {
        Self {
            scope: Scope::Gym(gym),
            actor: None,
            access: None,
            mode: Mode::Write,
        }
    }

    /// The product in one gym, on behalf of an account that was authenticated by other means than a token.
    #[must_use]
    pub fn account(gym: GymId, account: AccountId) -> Self {
        Self {
            scope: Scope::Gym(gym),
            actor: Some(account),
            access: None,
            mode: Mode::Write,
        }
    }

    /// The same, for a change whose statements are planned once: see [`Mode::Planned`].
    #[must_use]
    pub fn planned(self) -> Self {
        Self {
            mode: Mode::Planned,
            ..self
        }
    }
}

impl From<&Caller> for For {
    fn from(caller: &Caller) -> Self {
        Self {
            scope: Scope::Gym(caller.gym),
            actor: Some(caller.account),
            access: Some(caller.claim()),
            mode: Mode::Write,
        }
    }
}

impl Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Wraps what the server built.
    #[must_use]
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The part of this type: see [`Parts`].
    #[must_use]
    pub fn part<T: Part>(&self) -> Arc<T> {
        self.parts.get(&self.config)
    }

    /// Reads in one snapshot, with the caller's access checked in it.
    pub async fn read<T>(
        &self,
        who: impl Into<For>,
        body: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T>,
    ) -> Result<T> {
        let who = who.into();
        let now = self.clock.now();
        db::run(&self.pool, who.scope, Mode::Snapshot, async |conn| {
            if let Some(claim) = who.access {
                access::check(conn, &claim, now).await?;
            }
            body(conn).await
        })
        .await
    }

    /// Reads and writes as the system, over all gyms, without events: sign-in, sessions, keys. What screens see changes
    /// by [`App::change`] only.
    pub async fn system<T>(&self, body: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T>) -> Result<T> {
        db::run(&self.pool, Scope::System, Mode::Write, body).await
    }

    /// Makes a change: runs `body` in a transaction, writes the events it emitted as the last act, with another look at the
    /// caller's access behind them, commits, and hands them to the hub at once. It runs in a task of its own that outlives the request, since a COMMIT that was sent must
    /// be followed by its publication even when the client has gone. `body` runs again after what may pass: a deadlock, or
    /// another failure of the database that does not say what it is.
    ///
    /// # Errors
    /// What `body` returned, with nothing kept; [`Code::Unavailable`] where the deadline struck before COMMIT;
    /// [`Code::OutcomeUnknown`] where it struck or the connection broke during COMMIT.
    pub async fn change<T: 'static>(
        &self,
        who: impl Into<For>,
        body: impl AsyncFn(&mut Tx) -> Result<T> + 'static,
    ) -> Result<T> {
        let (app, who) = (self.clone(), who.into());
        app.changes_in_flight.fetch_add(1, Ordering::AcqRel);
        let work = async move {
            let _guard = InFlight(app.clone());
            let (began, mut attempt) = (Instant::now(), 1);
            loop {
                match app.attempt(who, &body).await {
                    Err(error) if attempt < ATTEMPTS && app.may_pass(&error, began) => attempt += 1,
                    result => return result,
                }
            }
        };
        match actix_web::rt::spawn(work).await {
            Ok(result) => result,
            Err(panic) => Err(Error::new(Code::Internal).caused_by(panic)),
        }
    }

    /// Whether another attempt may succeed; also where another change has taken an idempotency key between this one's look
    /// for it and its end.
    fn may_pass(&self, error: &Error, began: Instant) -> bool {
        match error.cause::<DieselError>() {
            Some(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info)) => {
                info.constraint_name() == Some("idempotency_keys_pkey")
            }
            _ => failure::may_pass(error, began.elapsed(), self.pool.timeouts().statement),
        }
    }

    async fn attempt<T>(&self, who: For, body: &impl AsyncFn(&mut Tx) -> Result<T>) -> Result<T> {
        let Scope::Gym(gym) = who.scope else {
            return Err(anyhow::anyhow!("a change needs a gym").into());
        };
        let deadline = self.pool.timeouts().transaction;
        let done = db::within(deadline, async {
            let conn = db::open(&self.pool, who.scope, who.mode).await?;
            let mut tx = Tx::new(conn, gym, who.actor, self.clock.now());
            let done = async {
                let now = tx.now;
                if let Some(claim) = who.access {
                    access::check(&mut tx, &claim, now).await?;
                }
                let value = body(&mut tx).await?;
                let changes = tx
                    .close(async |conn, kept| match who.access {
                        Some(claim) => access::recheck(conn, &[claim], now, kept).await,
                        None => Ok(()),
                    })
                    .await?;
                Ok::<_, Error>((value, changes))
            };
            match done.await {
                Ok((value, changes)) => Ok((tx, value, changes)),
                Err(error) => Err(failure::undo(&mut tx, error).await),
            }
        });
        let (mut tx, value, changes) = done.await?;
        let committed = db::within(deadline, async { db::commit(&mut tx).await.map_err(Uncommitted::Said) });
        match committed.await {
            Ok(()) => {
                let now = Instant::now();
                let mut changes = changes.into_iter().peekable();
                while let Some(mut change) = changes.next() {
                    change.committed_at = Some(now);
                    // In its own gym: the next of this COMMIT, or what waits for its end.
                    change.more_soon = match changes.peek() {
                        Some(next) => next.log == change.log,
                        None => tx.more_soon,
                    };
                    self.hub.committed(change);
                }
                Ok(value)
            }
            // Postgres said no: nothing was kept. Anything else leaves the outcome open, silence too.
            Err(Uncommitted::Said(error @ DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _))) => {
                Err(error.into())
            }
            Err(error) => {
                self.hub.sweep_soon();
                Err(Error::new(Code::OutcomeUnknown).caused_by(error))
            }
        }
    }
}

/// Why a COMMIT was not confirmed.
#[derive(Debug, thiserror::Error)]
enum Uncommitted {
    /// Postgres refused, or the connection broke.
    #[error(transparent)]
    Said(DieselError),
    /// Nobody answered.
    #[error(transparent)]
    Silent(#[from] db::timeouts::Overdue),
}

struct InFlight(App);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.changes_in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Extraction verifies the token only; that its session still holds is checked in the transaction that the handler opens.
impl FromRequest for Caller {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(from_header(request))
    }
}

fn from_header(request: &HttpRequest) -> Result<Caller> {
    let app = request
        .app_data::<web::Data<App>>()
        .ok_or_else(|| Error::new(Code::Internal))?;
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| Error::new(Code::Unauthenticated))?;
    app.tokens
        .verify(token, app.clock.now())
        .map(|verified| verified.caller)
}
