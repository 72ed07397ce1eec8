//! From configuration to [`App`]: database, migrations, keys, hub, and the tasks that tend them.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use chrono::TimeDelta;
use diesel_async::RunQueryDsl as _;

use crate::app::{App, Inner};
use crate::auth::seal::MasterKey;
use crate::auth::{Tokens, sessions};
use crate::cache::Cache;
use crate::channels::Product;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::embedded::{self, EmbeddedPostgres, Options};
use crate::db::migrations::{self, Direction};
use crate::db::{self, Mode, Scope};
use crate::error::Error;
use crate::events::{log, partitions};
use crate::foods;
use crate::http::limits::Limits;
use crate::{meals, plans};
use liveplan_hub::Hub;
use liveplan_hub::backend::Backend;
use liveplan_hub::limits::LiveLimits;

/// What clients are told of the server.
const VERSION: &str = concat!("liveplan ", env!("CARGO_PKG_VERSION"));
/// How often partitions are tended and old keys forgotten.
const TEND_EVERY: Duration = Duration::from_hours(1);

/// What was started.
pub struct Booted {
    /// The shared handle.
    pub app: App,
    /// What the hub asks.
    pub product: Arc<dyn Backend>,
    postgres: Option<EmbeddedPostgres>,
}

impl Booted {
    /// Stops what was started with it.
    pub async fn stop(self) {
        if let Some(postgres) = self.postgres
            && let Err(error) = postgres.stop().await
        {
            tracing::warn!(error.cause = ?error, "the embedded Postgres did not stop");
        }
    }
}

/// The database that a configuration names, or the embedded one, started.
pub async fn database(config: &Config) -> anyhow::Result<(String, Option<EmbeddedPostgres>)> {
    if let Some(url) = &config.database_url {
        return Ok((url.clone(), None));
    }
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the data directory {}", config.data_dir.display()))?;
    let options = Options {
        pg_bindir: config.pg_bindir.clone(),
        durable: !config.throwaway,
        ..embedded::options()
    };
    let postgres = EmbeddedPostgres::start(&config.data_dir, options).await?;
    make_database(&postgres.url("postgres")).await?;
    Ok((postgres.url("liveplan"), Some(postgres)))
}

async fn make_database(url: &str) -> anyhow::Result<()> {
    use diesel::sql_types::BigInt;
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let mut conn = db::establish(url).await?;
    let there: Count = diesel::sql_query("SELECT count(*) AS n FROM pg_database WHERE datname = 'liveplan'")
        .get_result(&mut conn)
        .await?;
    if there.n == 0 {
        diesel::sql_query("CREATE DATABASE liveplan").execute(&mut conn).await?;
    }
    Ok(())
}

/// Starts everything that [`App`] needs.
pub async fn boot(config: &Config) -> anyhow::Result<Booted> {
    let embedded = config.database_url.is_none();
    let (url, postgres) = database(config).await?;
    let ran = migrations::run(&url, Direction::Up).await?;
    if ran > 0 {
        tracing::info!(migrations = ran, "database brought up to date");
    }
    let pool = db::connect(&url, config.database_pool).await?;
    db::check_row_level_security(&pool).await?;
    let master = MasterKey::load(config.master_key.as_deref(), &config.data_dir, embedded)?;
    let clock = Clock::default();
    let now = clock.now();
    let life = TimeDelta::seconds(config.access_token_seconds);
    let (tokens, partitions_until) = {
        let mut conn = db::take(&pool).await?;
        db::transaction(&mut conn, Scope::System, Mode::Write, async |conn| {
            let tokens = Tokens::load(conn, &master, life, now).await?;
            if log::rotate_epochs_after_restore(conn).await? {
                tracing::warn!("another database cluster or timeline: live positions start anew");
            }
            let until = partitions::make_ahead(conn, now).await?;
            foods::starter::load(conn, now).await?;
            Ok::<_, Error>((tokens, until))
        })
        .await
        .map_err(|e| anyhow::anyhow!("{e:?}"))?
    };
    let hub = hub(config, &clock)?;
    let app = App::new(Inner {
        config: config.clone(),
        pool,
        clock,
        tokens,
        hub,
        limits: Limits::default(),
        cache: Cache::new(config.cache_bytes, config.redis_url.as_deref())?,
        completions: meals::Queues::default(),
        plan_lookups: plans::Lookups::default(),
        changes_in_flight: AtomicUsize::new(0),
        partitions_until: Mutex::new(partitions_until),
    });
    let product: Arc<dyn Backend> = Arc::new(Product::new(app.clone()));
    app.hub.run(&product);
    tokio::spawn(tend(app.clone(), url));
    Ok(Booted { app, product, postgres })
}

/// The hub that a configuration describes, not yet running.
///
/// # Errors
/// A `REDIS_URL` that is none.
pub fn hub(config: &Config, clock: &Clock) -> anyhow::Result<Hub> {
    let limits = LiveLimits {
        ping_seconds: config.live_ping_seconds,
        ..config.live.clone()
    };
    let clock = clock.clone();
    let now = Arc::new(move || clock.now());
    Hub::new(
        VERSION,
        limits,
        config.recovery.clone(),
        now,
        config.redis_url.as_deref(),
    )
}

/// Makes partitions ahead, drops old ones, and forgets idempotency keys of the day before, quotas long refilled and sessions
/// long over.
async fn tend(app: App, url: String) {
    loop {
        if let Err(error) = tend_once(&app).await {
            tracing::warn!(error.cause = ?error, "cannot tend the database; trying again in an hour");
        }
        if let Err(error) = retire_partitions(&app, &url).await {
            tracing::warn!(error.cause = ?error, "cannot drop old live events; trying again in an hour");
        }
        tokio::time::sleep(TEND_EVERY).await;
    }
}

async fn tend_once(app: &App) -> anyhow::Result<()> {
    let now = app.clock.now();
    let mut conn = db::open(&app.pool, Scope::System, Mode::Write).await?;
    let until = partitions::make_ahead(&mut conn, now).await?;
    diesel::sql_query("DELETE FROM idempotency_keys WHERE created_at < $1")
        .bind::<diesel::sql_types::Timestamptz, _>(now - TimeDelta::days(1))
        .execute(&mut conn)
        .await?;
    diesel::sql_query("DELETE FROM quota_windows WHERE began_at < $1")
        .bind::<diesel::sql_types::Timestamptz, _>(now - TimeDelta::days(2))
        .execute(&mut conn)
        .await?;
    sessions::trim(&mut conn, now).await?;
    db::commit(&mut conn).await?;
    *app.partitions_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    Ok(())
}

/// On a connection of its own, outside transactions and with its owner's rights: partitions cannot be detached
/// concurrently otherwise, and its settings must not stay on one of the pool.
async fn retire_partitions(app: &App, url: &str) -> anyhow::Result<()> {
    let oldest = partitions::oldest_kept(app.clock.now(), app.config.live_retention_days);
    let mut conn = db::open(&app.pool, Scope::System, Mode::Snapshot).await?;
    let any = partitions::any_to_retire(&mut conn, oldest).await?;
    db::commit(&mut conn).await?;
    drop(conn);
    if any {
        partitions::retire(&mut db::establish(url).await?, oldest).await?;
    }
    Ok(())
}
