//! A node's keys while it runs: it loads them again every few seconds. And the commands that replace them.

use std::time::Duration;

use anyhow::Context as _;
use chrono::TimeDelta;

use super::boot;
use crate::app::App;
use crate::auth::rotation::{self, Kind, Reseal};
use crate::auth::seal::{self, MasterKey, Missing};
use crate::auth::secrets::{Purpose, Secrets};
use crate::config::Config;
use crate::db::{self, Mode, Scope, timeouts};
use liveplan_hub::cluster::keyring::Keyring;

/// Interval between two loads. `keys rotate` lets several pass before a new key is used.
pub const LOAD_EVERY: Duration = Duration::from_secs(4);

/// Loads the keys again and again, for ever. If that fails, the ones before stay in use.
pub async fn tend(app: App, mut broker: Secrets, keyring: Keyring) {
    let mut failing = false;
    loop {
        tokio::time::sleep(LOAD_EVERY).await;
        match load(&app, &mut broker, &keyring).await {
            Ok(()) => failing = false,
            // Once per outage: the database's own failures are logged elsewhere.
            Err(error) => {
                if !failing {
                    tracing::error!(error.cause = ?error, "cannot load the keys; the ones before stay in use");
                }
                failing = true;
            }
        }
    }
}

async fn load(app: &App, broker: &mut Secrets, keyring: &Keyring) -> anyhow::Result<()> {
    // Read each time, since the files may have been replaced.
    let master = MasterKey::load(&app.config, Missing::IsAnError)?;
    let loaded = db::run(&app.pool, Scope::System, Mode::Snapshot, async |conn| {
        if app.tokens.reload(conn, &master).await? {
            tracing::info!("loaded other signing keys");
        }
        let refresh = Secrets::reload(conn, &master, Purpose::RefreshTokens).await?;
        let sign_in = Secrets::reload(conn, &master, Purpose::SignIn).await?;
        Ok((Secrets::reload(conn, &master, Purpose::Broker).await?, refresh, sign_in))
    });
    let (loaded, refresh, sign_in) = loaded.await.map_err(|e| anyhow::anyhow!("{e:?}"))?;
    if app.refresh_tokens.keys().replace(refresh) {
        tracing::info!("loaded other keys for refresh tokens");
    }
    app.sign_in_keys.replace(sign_in);
    if !loaded.same_as(broker) {
        loaded.replace(keyring);
        *broker = loaded;
        tracing::info!("loaded other keys for Redis");
    }
    Ok(())
}

/// Stores a new key that nodes use after some seconds. Returns a sentence that says so.
///
/// # Errors
/// If the database is unreachable, or the master key is not the one that the nodes have.
pub async fn rotate(config: &Config, kind: Kind, after_seconds: u32) -> anyhow::Result<String> {
    let delay = TimeDelta::seconds(i64::from(after_seconds));
    let (id, active_from) = with_keys(
        config,
        || Ok(()),
        async |conn, master| {
            // A key that the nodes cannot open would keep them from loading any other.
            rotation::check(conn, master).await?;
            rotation::add(conn, master, kind, delay).await
        },
    )
    .await?;
    Ok(format!(
        "the key {id} is stored; nodes use it from {} on",
        active_from.format("%Y-%m-%d %H:%M:%S UTC")
    ))
}

/// Seals all keys with the current master key. A master key in the data directory is replaced first. Returns a sentence
/// that says what was done.
///
/// # Errors
/// If the database is unreachable, or a key opens with neither master key; then nothing is changed.
pub async fn rotate_master(config: &Config) -> anyhow::Result<String> {
    let own_file = config.master_key()?.is_none();
    // After the embedded Postgres has started, since only one process can use the data directory.
    let prepare = || {
        if own_file {
            seal::replace_file(&config.data_dir)?;
        }
        Ok(())
    };
    let resealed = with_keys(config, prepare, async |conn, master| {
        rotation::reseal(conn, master, Reseal::Outdated).await
    })
    .await?;
    if own_file {
        seal::forget_previous_file(&config.data_dir)?;
    }
    Ok(match resealed {
        0 => "all keys were encrypted with this master key already".to_owned(),
        keys => format!("{keys} keys are encrypted with the new master key"),
    })
}

/// Runs `prepare`, and then `body` in one transaction as the system, with the master key.
async fn with_keys<T>(
    config: &Config,
    prepare: impl FnOnce() -> anyhow::Result<()>,
    body: impl AsyncFnOnce(&mut diesel_async::AsyncPgConnection, &MasterKey) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let boot::Database { url, postgres, .. } = boot::database(config).await?;
    let work = async {
        prepare()?;
        let master = MasterKey::load(config, Missing::IsAnError)?;
        let mut conn = db::establish(&url).await.context("cannot connect to the database")?;
        db::begin(&mut conn, Scope::System, Mode::Write).await?;
        match body(&mut conn, &master).await {
            Ok(done) => {
                db::commit(&mut conn).await?;
                Ok(done)
            }
            Err(error) => {
                db::rollback(&mut conn).await;
                Err(error)
            }
        }
    };
    let done = db::within(timeouts::START, work).await;
    if let Some(postgres) = postgres {
        postgres.stop().await?;
    }
    done
}
