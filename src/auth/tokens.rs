//! Access tokens: JWTs (RFC 7519) signed with Ed25519 (RFC 8037). Keys live in the database, so that every node accepts
//! every node's tokens; the private halves are sealed with the master key.

use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{ExpressionMethods as _, QueryDsl as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::seal::MasterKey;
use super::{Caller, Roles};
use crate::db::schema::signing_keys;
use crate::error::{Code, Error, Result};
use crate::ids::{AccountId, GymId, KeyId, SessionId};

/// A token that was verified.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    /// Whose it is.
    pub caller: Caller,
    /// When it stops being accepted.
    pub expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: AccountId,
    gym: GymId,
    roles: Roles,
    sid: SessionId,
    av: i64,
    iat: i64,
    exp: i64,
}

/// Signs and verifies access tokens.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    current: KeyId,
    encoding: EncodingKey,
    decoding: Vec<(KeyId, DecodingKey)>,
    life: TimeDelta,
}

impl Tokens {
    /// Loads the keys, making the first one where there is none. Runs as the system.
    pub async fn load(
        conn: &mut AsyncPgConnection,
        master: &MasterKey,
        life: TimeDelta,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        use diesel::sql_types::BigInt;
        // Nodes that start together take turns, so that one key is made.
        diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
            .bind::<BigInt, _>(7_310_543)
            .execute(conn)
            .await?;
        let mut keys: Vec<(KeyId, Vec<u8>, Vec<u8>)> = signing_keys::table
            .filter(signing_keys::retired_at.is_null())
            .order(signing_keys::created_at.desc())
            .select((
                signing_keys::id,
                signing_keys::public_key,
                signing_keys::sealed_private_key,
            ))
            .load(conn)
            .await?;
        if keys.is_empty() {
            let key = SigningKey::from_bytes(&rand::random());
            let row = (
                KeyId::new(),
                key.verifying_key().to_bytes().to_vec(),
                master.seal(&key.to_bytes())?,
            );
            diesel::insert_into(signing_keys::table)
                .values((
                    signing_keys::id.eq(row.0),
                    signing_keys::public_key.eq(&row.1),
                    signing_keys::sealed_private_key.eq(&row.2),
                    signing_keys::created_at.eq(now),
                ))
                .execute(conn)
                .await?;
            keys.push(row);
        }
        let (current, _, sealed) = keys.as_slice().first().context("no signing key")?;
        let secret: [u8; 32] = master
            .open(sealed)
            .context("the master key does not open the signing keys; is MASTER_KEY the one they were made with?")?
            .as_slice()
            .try_into()?;
        let der = SigningKey::from_bytes(&secret).to_pkcs8_der()?;
        let mut decoding = Vec::new();
        for (id, public, _) in &keys {
            decoding.push((*id, DecodingKey::from_ed_der(public)));
        }
        let encoding = EncodingKey::from_ed_der(der.as_bytes());
        Ok(Self(Arc::new(Inner {
            current: *current,
            encoding,
            decoding,
            life,
        })))
    }

    /// Seconds that a new token lives.
    #[must_use]
    pub fn life_seconds(&self) -> i64 {
        self.0.life.num_seconds()
    }

    /// A token for a caller.
    pub fn issue(&self, caller: &Caller, now: DateTime<Utc>) -> Result<String> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.0.current.to_string());
        let claims = Claims {
            sub: caller.account,
            gym: caller.gym,
            roles: caller.roles,
            sid: caller.session,
            av: caller.access_version,
            iat: now.timestamp(),
            exp: (now + self.0.life).timestamp(),
        };
        jsonwebtoken::encode(&header, &claims, &self.0.encoding).map_err(|e| Error::new(Code::Internal).caused_by(e))
    }

    /// Checks signature and time.
    ///
    /// # Errors
    /// [`Code::TokenExpired`] for a token of ours whose time is over, else [`Code::Unauthenticated`].
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Verified> {
        let refused = || Error::new(Code::Unauthenticated);
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused())?;
        let kid: KeyId = header
            .kid
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(|_| refused())?;
        let (_, key) = self.0.decoding.iter().find(|(id, _)| *id == kid).ok_or_else(refused)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // The time is checked below, with the injected clock.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &validation)
            .map_err(|_| refused())?
            .claims;
        if claims.exp <= now.timestamp() {
            return Err(Error::new(Code::TokenExpired));
        }
        let caller = Caller {
            account: claims.sub,
            gym: claims.gym,
            roles: claims.roles,
            session: claims.sid,
            access_version: claims.av,
        };
        let expires_at = DateTime::from_timestamp(claims.exp, 0).ok_or_else(refused)?;
        Ok(Verified { caller, expires_at })
    }
}
