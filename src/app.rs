//! [`App`]: the handle that everything shares. It opens transactions: [`App::read`] reads in one snapshot, and
//! [`App::change`] is the only way to write what clients see. The extractor of [`Caller`] verifies the access token in
//! `Authorization: Bearer` with it.

use std::future::{Ready, ready};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use chrono::NaiveDate;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::AsyncPgConnection;
use futures_util::future::{Either, FutureExt as _, LocalBoxFuture};

use crate::auth::access::{self, AccessClaim};
use crate::auth::guesses::Guesses;
use crate::auth::keyring::Keyring;
use crate::auth::refresh::RefreshTokens;
use crate::auth::uses::Uses;
use crate::auth::{Caller, Tokens, Verified};
use crate::budget::{self, Budgets, Class, Permit};
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

/// Maximum attempts at a change that fails for a transient reason, such as a deadlock.
const ATTEMPTS: usize = 3;

/// The shared handle, cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// The state behind [`App`].
pub struct Inner {
    /// The configuration of this node.
    pub config: Config,
    /// Connections to Postgres.
    pub pool: Pool,
    /// The source of the current time.
    pub clock: Clock,
    /// Signs and verifies access tokens.
    pub tokens: Tokens,
    /// Issues and recognises refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// Records which generations of sessions are in use.
    pub uses: Uses,
    /// Sockets, channels and logs.
    pub hub: Hub,
    /// Limits on attempts per key, such as uses of a link.
    pub limits: Limits,
    /// What accounts may still ask for in this minute.
    pub budgets: Arc<Budgets>,
    /// Counts of wrong passwords.
    pub guesses: Guesses,
    /// Keys of what guards a sign-in: secrets of known devices, and keys of counts.
    pub sign_in_keys: Keyring,
    /// Plans as JSON.
    pub cache: Cache,
    /// State of modules above this one.
    pub parts: Parts,
    /// Number of changes that have begun and not ended; shutdown waits for them.
    pub changes_in_flight: AtomicUsize,
    /// The last day with a partition for live events, as of the last hourly check.
    pub partitions_until: Mutex<Option<NaiveDate>>,
}

/// On whose behalf a transaction runs: the gym it sees, the actor of its events, and the access to check in it.
#[derive(Clone, Copy)]
pub struct For {
    scope: Scope,
    actor: Option<AccountId>,
    access: Option<AccessClaim>,
    mode: Mode,
}

impl For {
    /// The system, across all gyms.
    pub const SYSTEM: Self = Self {
        scope: Scope::System,
        actor: None,
        access: None,
        mode: Mode::Write,
    };

    /// The product itself in one gym, for jobs, the demo and the hub's reads.
    #[must_use]
    pub fn gym(gym: GymId) -> Self {
        Self {
            scope: Scope::Gym(gym),
            actor: None,
            access: None,
            mode: Mode::Write,
        }
    }

    /// An account in one gym, authenticated by other means than an access token.
    #[must_use]
    pub fn account(gym: GymId, account: AccountId) -> Self {
        Self {
            scope: Scope::Gym(gym),
            actor: Some(account),
            access: None,
            mode: Mode::Write,
        }
    }

    /// The same, with generic plans for the change's statements: see [`Mode::Planned`].
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
    /// Wraps the state that the server built.
    #[must_use]
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The node's instance of `T`: see [`Parts`].
    #[must_use]
    pub fn part<T: Part>(&self) -> Arc<T> {
        self.parts.get(&self.config)
    }

    /// Verifies an access token, and reports its use: see [`crate::auth::uses`].
    ///
    /// # Errors
    /// As [`Tokens::verify`].
    pub fn verify(&self, token: &str) -> Result<Verified> {
        let verified = self.tokens.verify(token, self.clock.now())?;
        self.uses.report(verified.caller.session, verified.generation);
        Ok(verified)
    }

    /// Reads in one snapshot, and checks the caller's access in it first.
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

    /// Reads and writes as the system, across all gyms, without events: for sign-in, sessions and signing keys. Data
    /// that screens show must be written with [`App::change`].
    pub async fn system<T>(&self, body: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T>) -> Result<T> {
        db::run(&self.pool, Scope::System, Mode::Write, body).await
    }

    /// Makes a change, in these steps:
    ///
    /// 1. run `body` in a transaction;
    /// 2. append the emitted events to the gym's log, and check the caller's access again behind them;
    /// 3. commit, and hand the events to the hub at once.
    ///
    /// The change runs in its own task, which outlives the request: once COMMIT is sent, the publication must follow
    /// even if the client has disconnected. `body` runs again after a transient failure: a deadlock, or a database
    /// error whose cause the driver does not tell.
    ///
    /// # Errors
    /// The error of `body`, after a rollback; [`Code::Unavailable`] if the deadline passed before COMMIT;
    /// [`Code::OutcomeUnknown`] if the deadline passed or the connection broke during COMMIT.
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

    /// Whether a retry may succeed. Also true if another change stored the same idempotency key after this one had
    /// looked it up; the retry then finds the stored answer.
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
                    // True if another change of the same gym follows at once: from this COMMIT, or from the next batch.
                    change.more_soon = match changes.peek() {
                        Some(next) => next.log == change.log,
                        None => tx.more_soon,
                    };
                    self.hub.committed(change);
                }
                Ok(value)
            }
            // Postgres refused the COMMIT and rolled back. After any other error, or a timeout, the outcome is unknown.
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
    /// No response came before the deadline.
    #[error(transparent)]
    Silent(#[from] db::timeouts::Overdue),
}

struct InFlight(App);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.changes_in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Extraction verifies the token only, and takes one request from the account's budget of reads or writes. The
/// transaction that the handler opens checks the session, membership and roles.
impl FromRequest for Caller {
    type Error = Error;
    type Future = Either<Ready<Result<Self>>, LocalBoxFuture<'static, Result<Self>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (app, caller) = match signed_in(request) {
            Ok(signed_in) => signed_in,
            Err(error) => return Either::Left(ready(Err(error))),
        };
        let class = if request.method().is_safe() {
            Class::Read
        } else {
            Class::Write
        };
        if let Some(taken) = app.budgets.try_take(caller.account, class) {
            return Either::Left(ready(budget::note(request, taken).map(|()| caller)));
        }
        let (app, request) = (app.clone(), request.clone());
        let asked = async move {
            let taken = app.budgets.take(caller.account, class).await;
            budget::note(&request, taken).map(|()| caller)
        };
        Either::Right(asked.boxed_local())
    }
}

/// Extraction takes one request from the account's budget of expensive reads, and waits for a permit.
impl FromRequest for Permit {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let signed_in = signed_in(request).map(|(app, caller)| (app.clone(), caller));
        let request = request.clone();
        Box::pin(async move {
            let (app, caller) = signed_in?;
            budget::note(&request, app.budgets.take(caller.account, Class::Expensive).await)?;
            app.budgets.permit().await
        })
    }
}

/// The caller that a request's token names, if the token is valid. Takes nothing from a budget.
#[must_use]
pub fn caller_of(request: &HttpRequest) -> Option<Caller> {
    signed_in(request).ok().map(|(_, caller)| caller)
}

/// The caller that a request's token names.
fn signed_in(request: &HttpRequest) -> Result<(&web::Data<App>, Caller)> {
    let app = request
        .app_data::<web::Data<App>>()
        .ok_or_else(|| Error::new(Code::Internal))?;
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| Error::new(Code::Unauthenticated))?;
    app.verify(token).map(|verified| (app, verified.caller))
}
