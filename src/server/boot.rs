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
use crate::auth::rotation::{self, Reseal};
use crate::auth::seal::{MasterKey, Missing};
use crate::auth::secrets::{Purpose, Secrets};
use crate::auth::uses::Uses;
use crate::budget::Budgets;
use crate::cache::Cache;
use crate::channels::Product;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::embedded::{self as postgres, EmbeddedPostgres, Options};
use crate::db::logins;
use crate::db::migrations::{self, Direction};
use crate::db::timeouts::{self, Timeouts};
use crate::db::{self, Mode, Scope, tls};
use crate::demo;
use crate::error::Error;
use crate::events::{log, partitions};
use crate::foods;
use crate::http::limits::Limits;
use crate::parts::Parts;
use crate::server::{housekeeping, issuer, keys};
use liveplan_hub::Hub;
use liveplan_hub::backend::Backend;
use liveplan_hub::cluster::OtherNodes;
use liveplan_hub::cluster::client::Servers;
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

/// The database of a command or server.
pub struct Database {
    /// Its URL with the server's login.
    pub url: String,
    /// Its URL with the owner's login, if this process has it.
    pub owner_url: Option<String>,
    /// The embedded Postgres, if it is that.
    pub postgres: Option<EmbeddedPostgres>,
}

/// The configured database, or else the embedded Postgres, which this starts.
///
/// # Errors
/// If only the owner's address is configured, or the embedded Postgres does not start.
pub async fn database(config: &Config) -> anyhow::Result<Database> {
    if let Some(url) = &config.database_url {
        return Ok(Database {
            url: reachable(config, url)?,
            owner_url: match &config.database_owner_url {
                Some(owner) => Some(reachable(config, owner)?),
                None => None,
            },
            postgres: None,
        });
    }
    anyhow::ensure!(
        config.database_owner_url.is_none(),
        "DATABASE_OWNER_URL is set and DATABASE_URL is not: set DATABASE_URL to the server's own login at the same database"
    );
    embedded(config).await
}

/// The configured database with its owner's login, or else the embedded Postgres, which this starts.
///
/// # Errors
/// If only the server's address is configured, or the embedded Postgres does not start.
pub async fn owners_database(config: &Config) -> anyhow::Result<(String, Option<EmbeddedPostgres>)> {
    if let Some(owner) = &config.database_owner_url {
        return Ok((reachable(config, owner)?, None));
    }
    anyhow::ensure!(
        config.database_url.is_none(),
        "this command works as the database's owner: set DATABASE_OWNER_URL to the owner's address. DATABASE_URL is the \
         server's, which owns nothing"
    );
    let Database {
        url,
        owner_url,
        postgres,
    } = embedded(config).await?;
    Ok((owner_url.unwrap_or(url), postgres))
}

/// A configured URL with the authorities of its certificate. Logs if the connection can be read or changed on its way.
fn reachable(config: &Config, url: &str) -> anyhow::Result<String> {
    if let Some(warning) = tls::exposed(url)? {
        tracing::warn!("the connection to the database: {warning}");
    }
    match &config.database_ca_file {
        Some(file) => tls::with_authorities(url, file),
        None => Ok(url.to_owned()),
    }
}

async fn embedded(config: &Config) -> anyhow::Result<Database> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the data directory {}", config.data_dir.display()))?;
    let options = Options {
        pg_bindir: config.pg_bindir.clone(),
        durable: !config.throwaway,
        ..postgres::options()
    };
    let postgres = EmbeddedPostgres::start(&config.data_dir, options).await?;
    db::within(timeouts::START, make_database(&postgres.url("postgres"))).await?;
    Ok(Database {
        url: postgres.url_as(logins::EMBEDDED, "liveplan"),
        owner_url: Some(postgres.url("liveplan")),
        postgres: Some(postgres),
    })
}

/// Applies all pending migrations, and prepares the server's login if there is one. Returns the number of migrations.
pub async fn migrate(owner_url: &str, url: Option<&str>) -> anyhow::Result<usize> {
    let ran = migrations::run(owner_url, Direction::Up).await?;
    if let Some(url) = url {
        db::within(timeouts::START, logins::prepare(owner_url, url)).await?;
    }
    Ok(ran)
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
    let Database {
        url,
        owner_url,
        postgres,
    } = database(config).await?;
    if let Some(owner_url) = &owner_url {
        let ran = migrate(owner_url, Some(&url)).await?;
        if ran > 0 {
            tracing::info!(migrations = ran, "database migrated");
        }
    }
    let timeouts = Timeouts::with_statement(config.database_statement);
    let pool = db::connect(&url, config.database_pool, timeouts).await?;
    db::within(timeouts::START, async {
        logins::check_rights(&pool).await?;
        migrations::check_applied(&pool).await?;
        logins::check_row_level_security(&pool).await
    })
    .await?;
    let master = MasterKey::load(config, missing_master_key(embedded, &pool).await?)?;
    let clock = Clock::default();
    let now = clock.now();
    let life = TimeDelta::seconds(config.access_token_seconds);
    let servers = redis(config)?;
    let (tokens, refresh, sign_in, broker, partitions_until) = db::within(timeouts::START, async {
        let mut conn = db::take(&pool).await?;
        db::transaction(&mut conn, Scope::System, Mode::Write, async |conn| {
            let restored = log::rotate_epochs_after_restore(conn).await?;
            if restored {
                tracing::warn!(
                    "the database was restored (another cluster, timeline or database): all logs have new epochs, and \
                     earlier access tokens are refused"
                );
            }
            let resealed = rotation::reseal(conn, &master, Reseal::Unplaced).await?;
            if resealed > 0 {
                tracing::info!(
                    keys = resealed,
                    "sealed the keys of an earlier release again, each for its place"
                );
            }
            let issuer = deployment::load(conn, restored, now).await?;
            let tokens = Tokens::load(conn, &master, issuer, life, now).await?;
            let refresh = Secrets::load(conn, &master, Purpose::RefreshTokens, now).await?;
            let sign_in = Secrets::load(conn, &master, Purpose::SignIn, now).await?;
            let until = partitions::make_ahead(conn, now).await?;
            foods::starter::load(conn, now).await?;
            if !config.demo {
                let ended = demo::close(conn, now).await?;
                if ended > 0 {
                    tracing::warn!(
                        ended,
                        "ended the sessions of a demo gym; only `liveplan demo` lets its people in"
                    );
                }
            }
            let broker = Secrets::load(conn, &master, Purpose::Broker, now).await?;
            Ok::<_, Error>((tokens, refresh, sign_in, broker, until))
        })
        .await
    })
    .await
    .map_err(|e| anyhow::anyhow!("{e:?}"))?;
    let keyring = broker.keyring();
    let others = servers.map(|servers| OtherNodes {
        servers,
        keyring: keyring.clone(),
    });
    let budgets = Budgets::new(config, others.as_ref().map(|others| &others.servers));
    budgets.run();
    let guesses = Guesses::new(others.as_ref().map(|others| &others.servers));
    let cache = Cache::new(config.cache_bytes, others.as_ref());
    let hub = hub(config, &clock, others);
    let app = App::new(Inner {
        config: config.clone(),
        uses: Uses::new(pool.clone()),
        pool,
        clock,
        tokens,
        refresh_tokens: RefreshTokens::new(Keyring::new(refresh)),
        hub,
        guesses,
        sign_in_keys: Keyring::new(sign_in),
        limits: Limits::default(),
        budgets,
        cache,
        parts: Parts::default(),
        changes_in_flight: AtomicUsize::new(0),
        partitions_until: Mutex::new(partitions_until),
    });
    let product: Arc<dyn Backend> = Arc::new(Product::new(app.clone()));
    app.hub.run(&product);
    tokio::spawn(housekeeping::tend(app.clone(), owner_url));
    tokio::spawn(keys::tend(app.clone(), broker, keyring));
    tokio::spawn(issuer::follow(app.clone()));
    Ok(Booted { app, product, postgres })
}

/// Whether the master key may be made if there is none: not if it is configured elsewhere, nor if it has encrypted keys
/// already, since those would be lost with it.
async fn missing_master_key(embedded: bool, pool: &db::Pool) -> anyhow::Result<Missing> {
    let sealed = db::run(pool, Scope::System, Mode::Snapshot, async |conn| {
        Ok(rotation::any_sealed(conn).await?)
    });
    let sealed = sealed.await.map_err(|e| anyhow::anyhow!("{e:?}"))?;
    Ok(if embedded && !sealed {
        Missing::IsMade
    } else {
        Missing::IsAnError
    })
}

/// The Redis servers of the configuration. Logs what is exposed about them.
fn redis(config: &Config) -> anyhow::Result<Option<Servers>> {
    let Some(url) = &config.redis_url else {
        return Ok(None);
    };
    let authorities = match &config.redis_ca_file {
        Some(path) => Some(std::fs::read(path).with_context(|| format!("REDIS_CA_FILE {}", path.display()))?),
        None => None,
    };
    let servers = Servers::parse(url, authorities.as_deref())?;
    for warning in servers.exposed() {
        tracing::warn!("the Redis at {warning}");
    }
    Ok(Some(servers))
}

/// Builds the configured hub. Its tasks do not run yet.
#[must_use]
pub fn hub(config: &Config, clock: &Clock, others: Option<OtherNodes>) -> Hub {
    let limits = LiveLimits {
        ping_seconds: config.live_ping_seconds,
        ..config.live.clone()
    };
    let clock = clock.clone();
    let now = Arc::new(move || clock.now());
    Hub::new(VERSION, limits, config.recovery.clone(), now, others)
}
