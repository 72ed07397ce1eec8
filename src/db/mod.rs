//! The database: connection pool, migrations, the embedded Postgres and the tenant scope of transactions. Knows no
//! noun.
//!
//! Every read and write happens in a transaction. Each transaction switches to a role under row-level security and sets
//! the gym it may see (see [`Scope`]). The connection's own login has no rights on any table (see [`logins`]).

pub mod embedded;
pub mod failure;
pub mod json;
pub mod locks;
pub mod logins;
pub mod migrations;
#[expect(missing_docs, reason = "generated")]
pub mod schema;
pub mod statement;
pub mod timeouts;
pub mod tls;

use anyhow::Context as _;
use diesel::{ConnectionError, QueryResult};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, SimpleAsyncConnection as _, TransactionManager as _};
use futures_util::FutureExt as _;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Code, Error};
use crate::ids::GymId;
use timeouts::Timeouts;
pub use timeouts::within;
use tls::Address;

/// A pool of connections and their timeouts.
#[derive(Clone)]
pub struct Pool {
    connections: diesel_async::pooled_connection::bb8::Pool<AsyncPgConnection>,
    timeouts: Timeouts,
}
/// A connection from the pool, with no borrow of the pool.
pub type Pooled = diesel_async::pooled_connection::bb8::PooledConnection<'static, AsyncPgConnection>;

/// The rows that a transaction may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of one gym, under the role `liveplan_app`.
    Gym(GymId),
    /// Those of all gyms, under the role `liveplan_system`: for sign-in, the sweep and jobs.
    System,
}

/// A transaction's isolation level and plan cache mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// REPEATABLE READ, read-only: one snapshot for all statements.
    Snapshot,
    /// READ COMMITTED, for changes.
    Write,
    /// READ COMMITTED with generic plans, for changes so frequent that planning time matters. Its statements must find
    /// rows by keys. A generic plan cannot use a partial index whose predicate is a parameter, so such values must be
    /// literals.
    Planned,
}

impl Pool {
    /// The number of connections, and statistics of the calls that asked for one.
    #[must_use]
    pub fn state(&self) -> bb8::State {
        self.connections.state()
    }

    /// The timeouts of this pool's connections and transactions.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

/// Opens a pool. The calling runtime drives all its connections, even those that a thread of another runtime asks for.
pub async fn connect(url: &str, size: u32, timeouts: Timeouts) -> anyhow::Result<Pool> {
    let runtime = tokio::runtime::Handle::current();
    let manager = AsyncDieselConnectionManager::new_with_config(url, {
        let mut config = ManagerConfig::default();
        config.recycling_method = RecyclingMethod::Fast;
        config.custom_setup = Box::new(move |url| {
            let (runtime, url) = (runtime.clone(), url.to_owned());
            async move {
                let joined = runtime
                    .spawn(async move { establish_with(&url, &timeouts).await })
                    .await;
                joined.map_err(|e| ConnectionError::BadConnection(e.to_string()))?
            }
            .boxed()
        });
        config
    });
    let connections = diesel_async::pooled_connection::bb8::Pool::builder()
        .max_size(size)
        .min_idle(1)
        .test_on_check_out(false)
        .connection_timeout(timeouts.connect)
        .build(manager)
        .await
        .context("cannot connect to the database")?;
    Ok(Pool { connections, timeouts })
}

/// Opens one connection with the default timeouts and the settings that all connections share.
pub async fn establish(url: &str) -> Result<AsyncPgConnection, ConnectionError> {
    establish_with(url, &Timeouts::default()).await
}

/// Opens one connection with these timeouts, within [`Timeouts::connect`].
pub async fn establish_with(url: &str, timeouts: &Timeouts) -> Result<AsyncPgConnection, ConnectionError> {
    let made = async {
        let (config, tls) = client_config(url, timeouts)?;
        let (client, connection) = config.connect(tls).await.map_err(bad_connection)?;
        AsyncPgConnection::try_from_client_and_connection(client, connection).await
    };
    // The driver's own `connect_timeout` covers the TCP connection only, not the handshake of Postgres.
    tokio::time::timeout(timeouts.connect, made)
        .await
        .unwrap_or_else(|late| Err(ConnectionError::BadConnection(late.to_string())))
}

/// Opens a connection for work that takes minutes and runs outside our transactions: migrations and retiring
/// partitions. The connection is closed after [`timeouts::MAINTENANCE`]; statements that still run on it then fail.
pub async fn establish_for_maintenance(url: &str) -> Result<AsyncPgConnection, ConnectionError> {
    let timeouts = Timeouts::with_statement(timeouts::MAINTENANCE_STATEMENT);
    let made = async {
        let (config, tls) = client_config(url, &timeouts)?;
        let (client, connection) = config.connect(tls).await.map_err(bad_connection)?;
        tokio::spawn(tokio::time::timeout(timeouts::MAINTENANCE, connection));
        AsyncPgConnection::try_from(client).await
    };
    tokio::time::timeout(timeouts.connect, made)
        .await
        .unwrap_or_else(|late| Err(ConnectionError::BadConnection(late.to_string())))
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn bad_connection(error: tokio_postgres::Error) -> ConnectionError {
    ConnectionError::BadConnection(error.to_string())
}

fn client_config(
    url: &str,
    timeouts: &Timeouts,
) -> Result<(tokio_postgres::Config, MakeRustlsConnect), ConnectionError> {
    let refused = |error: anyhow::Error| ConnectionError::InvalidConnectionUrl(format!("{error:#}"));
    let address = Address::parse(url).map_err(refused)?;
    let tls = address.connector().map_err(refused)?;
    let mut config = address.config;
    config
        .application_name("liveplan")
        .connect_timeout(timeouts.connect)
        .tcp_user_timeout(timeouts.unacknowledged)
        .keepalives(true)
        .keepalives_idle(timeouts.keepalive)
        .keepalives_interval(timeouts.keepalive)
        .keepalives_retries(timeouts::KEEPALIVE_PROBES);
    let options = config.get_options().unwrap_or_default().to_owned();
    config.options(format!(
        "{options} -c statement_timeout={} -c idle_in_transaction_session_timeout={} -c jit=off",
        timeouts.statement.as_millis(),
        timeouts.idle.as_millis()
    ));
    Ok((config, tls))
}

/// Takes a connection from the pool; waits for one at most [`Timeouts::connect`].
pub async fn take(pool: &Pool) -> Result<Pooled, Error> {
    pool.connections
        .get_owned()
        .await
        .map_err(|e| Error::new(Code::Unavailable).caused_by(anyhow::anyhow!("{e}")))
}

/// Takes a connection from the pool and begins a transaction on it. A connection that broke while idle fails only here.
/// Nothing has run on it yet, so this tries the next one, and a restart of the database fails no request.
///
/// The caller must use the connection [`within`] a deadline, COMMIT included.
pub async fn open(pool: &Pool, scope: Scope, mode: Mode) -> Result<Pooled, Error> {
    let mut others = pool.state().connections;
    loop {
        let mut conn = take(pool).await?;
        let begun = async {
            match begin(&mut conn, scope, mode).await {
                Ok(()) => Ok(()),
                Err(error) => Err(failure::undo(&mut conn, error.into()).await),
            }
        };
        match within(pool.timeouts.connect, begun).await {
            Ok(()) => return Ok(conn),
            Err(error) if error.code == Code::Unavailable && others > 0 => others -= 1,
            Err(error) => return Err(error),
        }
    }
}

/// Begins a transaction and sets isolation level, role and gym, in one round trip.
pub async fn begin(conn: &mut AsyncPgConnection, scope: Scope, mode: Mode) -> QueryResult<()> {
    let isolation = match mode {
        Mode::Snapshot => "REPEATABLE READ READ ONLY",
        Mode::Write | Mode::Planned => "READ COMMITTED",
    };
    let (role, gym) = match scope {
        Scope::Gym(gym) => ("liveplan_app", gym.to_string()),
        Scope::System => ("liveplan_system", String::new()),
    };
    // By default Postgres plans each execution anew (custom plans), because our arrays are shorter than a generic plan
    // assumes. Planning then takes a third of the time of a tick.
    let plans = if mode == Mode::Planned {
        "; SET LOCAL plan_cache_mode = force_generic_plan"
    } else {
        ""
    };
    let sql = format!("BEGIN ISOLATION LEVEL {isolation}; SET LOCAL ROLE {role}; SET LOCAL app.gym = '{gym}'{plans}");
    AnsiTransactionManager::begin_transaction_sql(conn, &sql).await
}

/// Commits the transaction.
pub async fn commit(conn: &mut AsyncPgConnection) -> QueryResult<()> {
    AnsiTransactionManager::commit_transaction(conn).await
}

/// Rolls back the transaction. A failure is not reported, because the pool drops such a connection.
pub async fn rollback(conn: &mut AsyncPgConnection) {
    let _ = tokio::time::timeout(timeouts::ROLLBACK, AnsiTransactionManager::rollback_transaction(conn)).await;
}

/// Runs `body` in a new transaction on `conn`.
pub async fn transaction<T>(
    conn: &mut AsyncPgConnection,
    scope: Scope,
    mode: Mode,
    body: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    begin(conn, scope, mode).await?;
    let result = body(conn).await;
    end(conn, result).await
}

/// Runs `body` in a new transaction on a connection of the pool, within [`Timeouts::transaction`].
pub async fn run<T>(
    pool: &Pool,
    scope: Scope,
    mode: Mode,
    body: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    within(pool.timeouts.transaction, async {
        let mut conn = open(pool, scope, mode).await?;
        let result = body(&mut conn).await;
        end(&mut conn, result).await
    })
    .await
}

/// Ends a transaction: commits if `result` is a success, rolls back if not.
pub async fn end<T>(conn: &mut AsyncPgConnection, result: Result<T, Error>) -> Result<T, Error> {
    let ended = match result {
        Ok(value) => commit(conn).await.map(|()| value).map_err(Error::from),
        Err(error) => Err(error),
    };
    match ended {
        Ok(value) => Ok(value),
        Err(error) => Err(failure::undo(conn, error).await),
    }
}

/// Runs `body` under the role `liveplan_system` inside a gym's transaction, then returns to `liveplan_app`. For the few
/// statements of a change that reach beyond the gym, such as finding an account by its e-mail address. `app.gym` stays
/// set.
pub async fn as_system<T>(
    conn: &mut AsyncPgConnection,
    body: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    conn.batch_execute("SET LOCAL ROLE liveplan_system").await?;
    let result = body(conn).await;
    // The caller may handle an error of `body` and go on, so the role is reset in any case. After a failed statement
    // the transaction is aborted, and this statement fails too.
    let back = conn.batch_execute("SET LOCAL ROLE liveplan_app").await;
    let value = result?;
    back?;
    Ok(value)
}
