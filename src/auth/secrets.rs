//! Random keys that all nodes share, one set for each purpose. The database stores them, sealed with the master key.

use std::fmt;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use diesel::{ExpressionMethods as _, QueryDsl as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::seal::MasterKey;
use crate::db::locks::AdvisoryLock;
use crate::db::schema::sealed_secrets;
use crate::ids::KeyId;

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
    const fn name(self) -> &'static str {
        match self {
            Self::RefreshTokens => "refresh_tokens",
            Self::SignIn => "sign_in",
            Self::Broker => "broker",
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
    /// Earlier keys that are still accepted, newest first.
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
        let rows: Vec<(KeyId, Vec<u8>)> = sealed_secrets::table
            .filter(sealed_secrets::purpose.eq(purpose.name()))
            .filter(sealed_secrets::retired_at.is_null())
            .order((sealed_secrets::created_at.desc(), sealed_secrets::id.desc()))
            .select((sealed_secrets::id, sealed_secrets::sealed))
            .load(conn)
            .await?;
        let mut keys = Vec::with_capacity(rows.len());
        for (id, sealed) in rows {
            let opened = master
                .open(&sealed)
                .with_context(|| format!("the master key cannot decrypt the key {id} ({})", purpose.name()))?;
            let key = opened.as_slice().try_into()?;
            keys.push(Secret { id, key });
        }
        let mut keys = keys.into_iter();
        let current = match keys.next() {
            Some(current) => current,
            None => create(conn, master, purpose, now).await?,
        };
        Ok(Self {
            current,
            previous: keys.collect(),
        })
    }

    /// All keys that are accepted, the current one first.
    pub fn accepted(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

async fn create(
    conn: &mut AsyncPgConnection,
    master: &MasterKey,
    purpose: Purpose,
    now: DateTime<Utc>,
) -> anyhow::Result<Secret> {
    let secret = Secret {
        id: KeyId::new(),
        key: rand::random(),
    };
    diesel::insert_into(sealed_secrets::table)
        .values((
            sealed_secrets::id.eq(secret.id),
            sealed_secrets::purpose.eq(purpose.name()),
            sealed_secrets::sealed.eq(master.seal(&secret.key)?),
            sealed_secrets::created_at.eq(now),
        ))
        .execute(conn)
        .await?;
    Ok(secret)
}
