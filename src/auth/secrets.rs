//! Random keys that all nodes share, one set for each purpose. The database stores them, sealed with the master key.
//! They are replaced while nodes run: see [`super::rotation`].

use std::fmt;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{ExpressionMethods as _, QueryDsl as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::rotation::database_now;
use super::seal::{MasterKey, Place};
use super::succession::{Standing, Stored, standing};
use crate::db::locks::AdvisoryLock;
use crate::db::schema::sealed_secrets;
use crate::ids::KeyId;
use liveplan_hub::cluster::keyring::{Key, Keyring};

/// What the keys of a set are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The MAC of refresh tokens.
    RefreshTokens,
    /// The MACs of what guards a sign-in: secrets of known devices, and keys of counts.
    SignIn,
    /// The MAC of messages and values in Redis.
    Broker,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 3] = [Self::RefreshTokens, Self::SignIn, Self::Broker];

    const fn name(self) -> &'static str {
        match self {
            Self::RefreshTokens => "refresh_tokens",
            Self::SignIn => "sign_in",
            Self::Broker => "broker",
        }
    }

    /// The purpose with this name in the database.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    /// The place of a key's seal.
    pub(super) const fn place(self, id: KeyId) -> Place {
        Place {
            table: "sealed_secrets",
            row: id.0,
            purpose: self.name(),
        }
    }

    /// How long what a key has made is valid: as long, the key is accepted after its succession. `None` if the key
    /// itself sets no end.
    const fn valid(self) -> Option<TimeDelta> {
        match self {
            // A refresh token is good for as long as its session.
            // A device's secret is good for as long as the device is known.
            Self::RefreshTokens | Self::SignIn => None,
            // Cached values live longest: 300 s.
            Self::Broker => Some(TimeDelta::seconds(300)),
        }
    }
}

/// A key of 32 random bytes.
#[derive(Clone)]
pub struct Secret {
    /// Its identifier.
    pub id: KeyId,
    /// The key.
    pub key: [u8; 32],
}

/// Shows the identifier alone, since logs must not show the key.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys of one purpose.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// The key to use.
    pub current: Secret,
    /// Other keys that are accepted, newest first: earlier ones, and one that will be used soon.
    pub previous: Vec<Secret>,
}

impl Secrets {
    /// Loads the keys, and creates the first one if there is none. Runs as the system.
    pub async fn load(
        conn: &mut AsyncPgConnection,
        master: &MasterKey,
        purpose: Purpose,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        // The lock makes sure that nodes that start together create one key.
        AdvisoryLock::SealedSecrets.take_for_transaction(conn).await?;
        if read(conn, purpose).await?.is_none() {
            let active_from = database_now(conn).await?;
            create(conn, master, purpose, now, active_from).await?;
        }
        Self::reload(conn, master, purpose).await
    }

    /// Loads the keys of a running node again. Runs as the system.
    ///
    /// # Errors
    /// If the keys cannot be read or opened.
    pub async fn reload(conn: &mut AsyncPgConnection, master: &MasterKey, purpose: Purpose) -> anyhow::Result<Self> {
        let standing = read(conn, purpose).await?;
        let standing = standing.with_context(|| format!("there is no key for {}", purpose.name()))?;
        let open = |(id, sealed): (KeyId, Vec<u8>)| -> anyhow::Result<Secret> {
            let key = master.open(&purpose.place(id), &sealed)?.as_slice().try_into()?;
            Ok(Secret { id, key })
        };
        Ok(Self {
            current: open(standing.current)?,
            previous: standing.accepted.into_iter().map(open).collect::<anyhow::Result<_>>()?,
        })
    }

    /// These keys, as the hub and the cache use them for what nodes exchange through Redis.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        let (current, accepted) = self.keys();
        Keyring::new(&current, &accepted)
    }

    /// Replaces the keys of a keyring with these.
    pub fn replace(&self, keyring: &Keyring) {
        let (current, accepted) = self.keys();
        keyring.replace(&current, &accepted);
    }

    /// True if both have the same keys for the same use.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.accepted().map(|key| key.id).eq(other.accepted().map(|key| key.id))
    }

    fn keys(&self) -> (Key, Vec<Key>) {
        let key = |secret: &Secret| Key {
            id: secret.id.0,
            secret: secret.key,
        };
        (key(&self.current), self.previous.iter().map(key).collect())
    }

    /// All keys that are accepted, the current one first.
    pub fn accepted(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

/// Stores a new key.
pub(super) async fn create(
    conn: &mut AsyncPgConnection,
    master: &MasterKey,
    purpose: Purpose,
    now: DateTime<Utc>,
    active_from: DateTime<Utc>,
) -> anyhow::Result<KeyId> {
    let (id, key) = (KeyId::new(), rand::random::<[u8; 32]>());
    diesel::insert_into(sealed_secrets::table)
        .values((
            sealed_secrets::id.eq(id),
            sealed_secrets::purpose.eq(purpose.name()),
            sealed_secrets::sealed.eq(master.seal(&purpose.place(id), &key)?),
            sealed_secrets::created_at.eq(now),
            sealed_secrets::active_from.eq(active_from),
        ))
        .execute(conn)
        .await?;
    Ok(id)
}

/// A key's id and seal, and when nodes begin to use it.
type Row = ((KeyId, Vec<u8>), DateTime<Utc>);

/// Reads the keys of a purpose that have not been retired, by their standing; `None` if there are none.
pub(super) async fn read(
    conn: &mut AsyncPgConnection,
    purpose: Purpose,
) -> anyhow::Result<Option<Standing<(KeyId, Vec<u8>)>>> {
    let rows: Vec<Row> = sealed_secrets::table
        .filter(sealed_secrets::purpose.eq(purpose.name()))
        .filter(sealed_secrets::retired_at.is_null())
        .select((
            (sealed_secrets::id, sealed_secrets::sealed),
            sealed_secrets::active_from,
        ))
        .load(conn)
        .await?;
    let stored = rows.into_iter().map(|(key, active_from)| Stored { active_from, key });
    Ok(standing(stored.collect(), purpose.valid(), database_now(conn).await?))
}
