//! Builds the [`App`] from the configuration: database, migrations, keys, hub, and their background tasks.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use chrono::TimeDelta;
use diesel_async::RunQueryDsl as _;

use crate::app::{App, Inner};
use crate::auth::Tokens;
use crate::auth::deployment;
use crate::auth::guesses::Guesses;
use crate::auth::keyring::Keyring;
use crate::auth::refresh::RefreshTokens;
use crate::auth::seal::MasterKey;
use crate::auth::secrets::{Purpose, Secrets};
use crate::auth::uses::Uses;
use crate::cache::Cache;
use crate::channels::Product;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::embedded::{self, EmbeddedPostgres, Options};
use crate::db::migrations::{self, Direction};
use crate::db::timeouts::{self, Timeouts};
use crate::db::{self, Mode, Scope};
use crate::error::Error;
use crate::events::{log, partitions};
use crate::foods;
use crate::parts::Parts;
use crate::server::{housekeeping, issuer};
use liveplan_hub::Hub;
use liveplan_hub::backend::Backend;
use liveplan_hub::limits::LiveLimits;

/// The server version that clients get in the connect reply.
const VERSION: &str = concat!("liveplan ", env!("CARGO_PKG_VERSION"));

/// A node that has started and does not listen yet.
pub struct Booted {
    /// The shared handle.
    pub app: App,
    /// The hub's backend.
    pub product: Arc<dyn Backend>,
    postgres: Option<EmbeddedPostgres>,
}

impl Booted {
    /// Stops the embedded Postgres, if there is one.
    pub async fn stop(self) {
        if let Some(postgres) = self.postgres
            && let Err(error) = postgres.stop().await
        {
            tracing::warn!(error.cause = ?error, "the embedded Postgres did not stop");
        }
    }
}

/// The URL of the configured database, or else of the embedded Postgres, which this starts.
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
    db::within(timeouts::START, make_database(&postgres.url("postgres"))).await?;
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
        tracing::info!(migrations = ran, "database migrated");
    }
    let timeouts = Timeouts::with_statement(config.database_statement);
    let pool = db::connect(&url, config.database_pool, timeouts).await?;
    db::within(timeouts::START, db::check_row_level_security(&pool)).await?;
    let master = MasterKey::load(config.master_key.as_deref(), &config.data_dir, embedded)?;
    let clock = Clock::default();
    let now = clock.now();
    let life = TimeDelta::seconds(config.access_token_seconds);
    let (tokens, refresh, sign_in, partitions_until) = db::within(timeouts::START, async {
        let mut conn = db::take(&pool).await?;
        db::transaction(&mut conn, Scope::System, Mode::Write, async |conn| {
            let restored = log::rotate_epochs_after_restore(conn).await?;
            if restored {
                tracing::warn!(
                    "the database was restored (another cluster, timeline or database): all logs have new epochs, and \
                     earlier access tokens are refused"
                );
            }
            let issuer = deployment::load(conn, restored, now).await?;
            let tokens = Tokens::load(conn, &master, issuer, life, now).await?;
            let refresh = Secrets::load(conn, &master, Purpose::RefreshTokens, now).await?;
            let sign_in = Secrets::load(conn, &master, Purpose::SignIn, now).await?;
            let until = partitions::make_ahead(conn, now).await?;
            foods::starter::load(conn, now).await?;
            Ok::<_, Error>((tokens, refresh, sign_in, until))
        })
        .await
    })
    .await
    .map_err(|e| anyhow::anyhow!("{e:?}"))?;
    let hub = hub(config, &clock)?;
    let app = App::new(Inner {
        config: config.clone(),
        uses: Uses::new(pool.clone()),
        pool,
        clock,
        tokens,
        refresh_tokens: RefreshTokens::new(Keyring::new(refresh)),
        hub,
        guesses: Guesses::new(config.redis_url.as_deref())?,
        sign_in_keys: Keyring::new(sign_in),
        cache: Cache::new(config.cache_bytes, config.redis_url.as_deref())?,
        parts: Parts::default(),
        changes_in_flight: AtomicUsize::new(0),
        partitions_until: Mutex::new(partitions_until),
    });
    let product: Arc<dyn Backend> = Arc::new(Product::new(app.clone()));
    app.hub.run(&product);
    tokio::spawn(housekeeping::tend(app.clone(), url));
    tokio::spawn(issuer::follow(app.clone()));
    Ok(Booted { app, product, postgres })
}

/// Builds the configured hub. Its tasks do not run yet.
///
/// # Errors
/// If `REDIS_URL` is malformed.
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
