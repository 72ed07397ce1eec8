//! Replacing keys while nodes run: signing keys, shared secrets, and the master key that seals both.
//!
//! A new key is stored with the time from which it is used, later than the next load of every node. The key before ends
//! by itself: see [`super::succession`]. A new master key seals all keys again in one transaction; nodes that have both
//! master keys notice nothing.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::sql_types::Timestamptz;
use diesel::{ExpressionMethods as _, QueryDsl as _, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::seal::{MasterKey, Place};
use super::secrets::{self, Purpose};
use super::tokens;
use crate::db::locks::AdvisoryLock;
use crate::db::schema::{sealed_secrets, signing_keys};
use crate::ids::KeyId;

/// Keys that can be replaced one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The keys that sign access tokens.
    Signing,
    /// The shared secrets of a purpose.
    Shared(Purpose),
}

/// Stores a new key that nodes use after `delay`. Returns its id and when that is. Runs as the system.
///
/// # Errors
/// If the database fails.
pub async fn add(
    conn: &mut AsyncPgConnection,
    master: &MasterKey,
    kind: Kind,
    delay: TimeDelta,
) -> anyhow::Result<(KeyId, DateTime<Utc>)> {
    let now = database_now(conn).await?;
    let active_from = now
        .checked_add_signed(delay)
        .ok_or_else(|| anyhow::anyhow!("the delay is too long"))?;
    let id = match kind {
        Kind::Signing => {
            AdvisoryLock::SigningKeys.take_for_transaction(conn).await?;
            tokens::create(conn, master, now, active_from).await?
        }
        Kind::Shared(purpose) => {
            AdvisoryLock::SealedSecrets.take_for_transaction(conn).await?;
            secrets::create(conn, master, purpose, now, active_from).await?
        }
    };
    Ok((id, active_from))
}

/// Checks that the master key opens all stored keys. Runs as the system.
///
/// # Errors
/// If it does not, or the database fails.
pub async fn check(conn: &mut AsyncPgConnection, master: &MasterKey) -> anyhow::Result<()> {
    let keys: Vec<(KeyId, Vec<u8>)> = signing_keys::table
        .filter(signing_keys::retired_at.is_null())
        .select((signing_keys::id, signing_keys::sealed_private_key))
        .load(conn)
        .await?;
    for (id, sealed) in keys {
        master.open(&tokens::place(id), &sealed)?;
    }
    Ok(())
}

/// Which seals to make anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reseal {
    /// Those of earlier releases, which name no place.
    Unplaced,
    /// All that another key than the current master key has made.
    Outdated,
}

/// Seals stored keys again with the current master key. Returns the number of keys. Runs as the system.
///
/// # Errors
/// If no accepted master key opens a key, or the database fails; then nothing is changed.
pub async fn reseal(conn: &mut AsyncPgConnection, master: &MasterKey, which: Reseal) -> anyhow::Result<usize> {
    AdvisoryLock::SigningKeys.take_for_transaction(conn).await?;
    AdvisoryLock::SealedSecrets.take_for_transaction(conn).await?;
    let mut resealed = 0;
    let keys: Vec<(KeyId, Vec<u8>)> = signing_keys::table
        .select((signing_keys::id, signing_keys::sealed_private_key))
        .load(conn)
        .await?;
    for (id, sealed) in keys {
        if let Some(sealed) = anew(master, &tokens::place(id), &sealed, which)? {
            resealed += diesel::update(signing_keys::table.find(id))
                .set(signing_keys::sealed_private_key.eq(sealed))
                .execute(conn)
                .await?;
        }
    }
    let keys: Vec<(KeyId, String, Vec<u8>)> = sealed_secrets::table
        .select((sealed_secrets::id, sealed_secrets::purpose, sealed_secrets::sealed))
        .load(conn)
        .await?;
    for (id, purpose, sealed) in keys {
        // A later release may know further purposes. It seals their keys again itself.
        let Some(purpose) = Purpose::named(&purpose) else {
            anyhow::ensure!(
                which == Reseal::Unplaced,
                "the key {id} has the purpose {purpose}, which this release does not know"
            );
            continue;
        };
        if let Some(sealed) = anew(master, &purpose.place(id), &sealed, which)? {
            resealed += diesel::update(sealed_secrets::table.find(id))
                .set(sealed_secrets::sealed.eq(sealed))
                .execute(conn)
                .await?;
        }
    }
    Ok(resealed)
}

/// A new seal for a key, if its seal must be replaced.
fn anew(master: &MasterKey, place: &Place, sealed: &[u8], which: Reseal) -> anyhow::Result<Option<Vec<u8>>> {
    let plain = match master.open(place, sealed) {
        Ok(_) if which == Reseal::Unplaced || master.is_current(sealed) => return Ok(None),
        Ok(plain) => plain,
        Err(error) => master.open_unplaced(sealed).ok_or(error)?,
    };
    master.seal(place, &plain).map(Some)
}

/// Marks keys as retired that are accepted no more: `life` is that of an access token. Returns their number. Runs as
/// the system.
///
/// # Errors
/// If the database fails.
pub async fn retire(conn: &mut AsyncPgConnection, life: TimeDelta) -> anyhow::Result<usize> {
    let now = database_now(conn).await?;
    let signing = tokens::read_keys(conn, life).await?;
    let signing: Vec<KeyId> = signing.into_iter().flat_map(|s| s.over).map(|(id, ..)| id).collect();
    let mut shared: Vec<KeyId> = Vec::new();
    for purpose in Purpose::ALL {
        let standing = secrets::read(conn, purpose).await?;
        shared.extend(standing.into_iter().flat_map(|s| s.over).map(|(id, _)| id));
    }
    let signing = diesel::update(signing_keys::table.filter(signing_keys::id.eq_any(signing)))
        .set(signing_keys::retired_at.eq(now))
        .execute(conn)
        .await?;
    let shared = diesel::update(sealed_secrets::table.filter(sealed_secrets::id.eq_any(shared)))
        .set(sealed_secrets::retired_at.eq(now))
        .execute(conn)
        .await?;
    Ok(signing + shared)
}

/// True if a key is stored, so that the master key must exist.
///
/// # Errors
/// If the database fails.
pub async fn any_sealed(conn: &mut AsyncPgConnection) -> anyhow::Result<bool> {
    let signing: i64 = signing_keys::table.count().get_result(conn).await?;
    let shared: i64 = sealed_secrets::table.count().get_result(conn).await?;
    Ok(signing + shared > 0)
}

/// The time of the database server, which decides for all nodes when a key becomes active.
pub(super) async fn database_now(conn: &mut AsyncPgConnection) -> anyhow::Result<DateTime<Utc>> {
    #[derive(QueryableByName)]
    struct Now {
        #[diesel(sql_type = Timestamptz)]
        now: DateTime<Utc>,
    }
    let Now { now } = diesel::sql_query("SELECT now() AS now").get_result(conn).await?;
    Ok(now)
}
