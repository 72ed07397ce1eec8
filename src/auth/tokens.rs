//! Access tokens: JWTs (RFC 7519) signed with Ed25519 (RFC 8037). The keys are in the database, so that every node
//! accepts every node's tokens; the private keys are sealed with the master key.
//!
//! Every request carries a token, so [`Tokens`] caches verified tokens by the SHA-256 of the whole token and verifies
//! each signature once. The cache belongs to one set of keys: other keys start with an empty one. The expiry and the
//! issuer are checked on every request.
//!
//! Keys are replaced while nodes run: see [`super::rotation`].

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{ExpressionMethods as _, QueryDsl as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use ed25519_dalek::SigningKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use prometheus_client::metrics::counter::Counter;
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::rotation::database_now;
use super::seal::{MasterKey, Place};
use super::succession::{Standing, Stored, standing};
use super::{Caller, Roles, jwt};
use crate::db::locks::AdvisoryLock;
use crate::db::schema::signing_keys;
use crate::error::{Code, Error, Result};
use crate::ids::{AccountId, DeploymentId, GymId, KeyId, SessionId};

/// Maximum cached tokens; they take about 1 MB.
const REMEMBERED: usize = 8_192;

/// A verified token.
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    /// The caller it names.
    pub caller: Caller,
    /// The generation of the session in which it was issued: see [`super::refresh`].
    pub generation: i64,
    /// The deployment that issued it.
    pub issuer: DeploymentId,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: DeploymentId,
    sub: AccountId,
    gym: GymId,
    roles: Roles,
    sid: SessionId,
    #[serde(rename = "gen")]
    generation: i64,
    av: i64,
    iat: i64,
    exp: i64,
}

/// Signs and verifies access tokens. Clones share the keys.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    keys: RwLock<Arc<Keys>>,
    /// This deployment. A restore of the database gives it another identifier while nodes run.
    issuer: RwLock<DeploymentId>,
    life: TimeDelta,
    checks: Checks,
}

/// The keys in use at one time.
struct Keys {
    current: KeyId,
    encoding: EncodingKey,
    decoding: Vec<(KeyId, DecodingKey)>,
    /// Verified tokens of these keys, by their SHA-256.
    good: Cache<[u8; 32], Verified>,
}

impl Keys {
    /// Signs with `key` and accepts tokens of the `trusted` keys.
    fn of<'a>(current: KeyId, key: &SigningKey, trusted: impl Iterator<Item = (KeyId, &'a [u8])>) -> Self {
        Self {
            current,
            encoding: jwt::signing_key(key),
            decoding: trusted.map(|(id, public)| (id, jwt::verifying_key(public))).collect(),
            good: Cache::new(REMEMBERED),
        }
    }

    /// The key that signs, and then the others.
    fn ids(&self) -> impl Iterator<Item = KeyId> {
        std::iter::once(self.current).chain(self.decoding.iter().map(|(id, _)| *id))
    }
}

/// A stored key, opened and found to be whole.
struct SigningPair {
    id: KeyId,
    private: SigningKey,
}

/// Counts of token checks.
#[derive(Debug, Default)]
pub struct Checks {
    /// Tokens found in the cache.
    pub remembered: Counter,
    /// Signatures verified, including invalid ones.
    pub signatures: Counter,
}

impl Tokens {
    /// Loads the keys, and creates the first one if there is none. Runs as the system.
    pub async fn load(
        conn: &mut AsyncPgConnection,
        master: &MasterKey,
        issuer: DeploymentId,
        life: TimeDelta,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        // The lock makes sure that nodes that start together create one key.
        AdvisoryLock::SigningKeys.take_for_transaction(conn).await?;
        if read_keys(conn, life).await?.is_none() {
            let active_from = database_now(conn).await?;
            create(conn, master, now, active_from).await?;
        }
        let keys = load_keys(conn, master, life).await?;
        Ok(Self(Arc::new(Inner {
            keys: RwLock::new(Arc::new(keys)),
            issuer: RwLock::new(issuer),
            life,
            checks: Checks::default(),
        })))
    }

    /// Loads the keys again, while the node runs. Returns true if they have changed. Runs as the system.
    ///
    /// # Errors
    /// If the keys cannot be read or opened; the ones before stay in use.
    pub async fn reload(&self, conn: &mut AsyncPgConnection, master: &MasterKey) -> anyhow::Result<bool> {
        let keys = load_keys(conn, master, self.0.life).await?;
        let same = keys.ids().eq(self.keys().ids());
        if !same {
            *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        }
        Ok(!same)
    }

    fn keys(&self) -> Arc<Keys> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Signs with `key` and accepts tokens of the `trusted` keys.
    #[cfg(test)]
    fn of<'a>(
        current: KeyId,
        key: &SigningKey,
        trusted: impl Iterator<Item = (KeyId, &'a [u8])>,
        issuer: DeploymentId,
        life: TimeDelta,
    ) -> Self {
        Self(Arc::new(Inner {
            keys: RwLock::new(Arc::new(Keys::of(current, key, trusted))),
            issuer: RwLock::new(issuer),
            life,
            checks: Checks::default(),
        }))
    }

    /// Counts of token checks.
    #[must_use]
    pub fn checks(&self) -> &Checks {
        &self.0.checks
    }

    /// Number of cached tokens.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.keys().good.len()
    }

    /// Lifetime of a new token, in seconds.
    #[must_use]
    pub fn life_seconds(&self) -> i64 {
        self.0.life.num_seconds()
    }

    /// The deployment that issues tokens.
    #[must_use]
    pub fn issuer(&self) -> DeploymentId {
        *self.0.issuer.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a change of the deployment's identifier. Tokens of the earlier one are refused from now on.
    pub fn set_issuer(&self, issuer: DeploymentId) {
        *self.0.issuer.write().unwrap_or_else(PoisonError::into_inner) = issuer;
    }

    /// Signs a token for a caller whose session has this generation.
    pub fn issue(&self, caller: &Caller, generation: i64, now: DateTime<Utc>) -> Result<String> {
        let keys = self.keys();
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(keys.current.to_string());
        let claims = Claims {
            iss: self.issuer(),
            sub: caller.account,
            gym: caller.gym,
            roles: caller.roles,
            sid: caller.session,
            generation,
            av: caller.access_version,
            iat: now.timestamp(),
            exp: (now + self.0.life).timestamp(),
        };
        jwt::encode(&header, &claims, &keys.encoding).map_err(|e| Error::new(Code::Internal).caused_by(e))
    }

    /// Verifies signature, issuer and expiry.
    ///
    /// # Errors
    /// [`Code::TokenExpired`] for an expired token of ours; [`Code::Unauthenticated`] for any other invalid token.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Verified> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let keys = self.keys();
        let known = keys.good.get(&digest);
        let verified = if let Some(known) = known {
            self.0.checks.remembered.inc();
            known
        } else {
            self.0.checks.signatures.inc();
            keys.check_signature(token)?
        };
        if verified.issuer != self.issuer() {
            keys.good.remove(&digest);
            return Err(Error::new(Code::Unauthenticated));
        }
        if verified.expires_at <= now {
            keys.good.remove(&digest);
            return Err(Error::new(Code::TokenExpired));
        }
        if known.is_none() {
            keys.good.insert(digest, verified);
        }
        Ok(verified)
    }
}

impl Keys {
    /// Verifies that one of these keys signed a token, and reads its claims. Ignores issuer and expiry.
    fn check_signature(&self, token: &str) -> Result<Verified> {
        let refused = || Error::new(Code::Unauthenticated);
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused())?;
        let kid: KeyId = header
            .kid
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(|_| refused())?;
        let (_, key) = self.decoding.iter().find(|(id, _)| *id == kid).ok_or_else(refused)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // The caller checks the expiry with the injected clock.
        validation.validate_exp = false;
        let claims = jwt::decode::<Claims>(token, key, &validation)
            .map_err(|_| refused())?
            .claims;
        let caller = Caller {
            account: claims.sub,
            gym: claims.gym,
            roles: claims.roles,
            session: claims.sid,
            access_version: claims.av,
        };
        let expires_at = DateTime::from_timestamp(claims.exp, 0).ok_or_else(refused)?;
        Ok(Verified {
            caller,
            generation: claims.generation,
            issuer: claims.iss,
            expires_at,
        })
    }
}

/// The place of a signing key's seal.
pub(super) fn place(id: KeyId) -> Place {
    Place {
        table: "signing_keys",
        row: id.0,
        purpose: "signing",
    }
}

/// Stores a new key.
pub(super) async fn create(
    conn: &mut AsyncPgConnection,
    master: &MasterKey,
    now: DateTime<Utc>,
    active_from: DateTime<Utc>,
) -> anyhow::Result<KeyId> {
    let (id, key) = (KeyId::new(), SigningKey::from_bytes(&rand::random()));
    diesel::insert_into(signing_keys::table)
        .values((
            signing_keys::id.eq(id),
            signing_keys::public_key.eq(&key.verifying_key().to_bytes()[..]),
            signing_keys::sealed_private_key.eq(master.seal(&place(id), &key.to_bytes())?),
            signing_keys::created_at.eq(now),
            signing_keys::active_from.eq(active_from),
        ))
        .execute(conn)
        .await?;
    Ok(id)
}

/// A key's row: id, public key, and sealed private key.
type Row = (KeyId, Vec<u8>, Vec<u8>);

/// Reads the keys that have not been retired, by their standing; `None` if there are none.
pub(super) async fn read_keys(conn: &mut AsyncPgConnection, life: TimeDelta) -> anyhow::Result<Option<Standing<Row>>> {
    let rows: Vec<(Row, DateTime<Utc>)> = signing_keys::table
        .filter(signing_keys::retired_at.is_null())
        .select((
            (
                signing_keys::id,
                signing_keys::public_key,
                signing_keys::sealed_private_key,
            ),
            signing_keys::active_from,
        ))
        .load(conn)
        .await?;
    let stored = rows.into_iter().map(|(key, active_from)| Stored { active_from, key });
    Ok(standing(stored.collect(), Some(life), database_now(conn).await?))
}

async fn load_keys(conn: &mut AsyncPgConnection, master: &MasterKey, life: TimeDelta) -> anyhow::Result<Keys> {
    let standing = read_keys(conn, life).await?.context("no signing key")?;
    let current = open(master, standing.current)?;
    let accepted = standing.accepted.into_iter().map(|row| open(master, row));
    let accepted: Vec<SigningPair> = accepted.collect::<anyhow::Result<_>>()?;
    let public = |pair: &SigningPair| (pair.id, pair.private.verifying_key().to_bytes());
    let trusted: Vec<_> = std::iter::once(&current).chain(&accepted).map(public).collect();
    let trusted = trusted.iter().map(|(id, public)| (*id, &public[..]));
    Ok(Keys::of(current.id, &current.private, trusted))
}

/// Opens a key. Its public half must belong to it: a row without the private key would otherwise let whoever can write
/// to the table sign tokens with a key of their own.
fn open(master: &MasterKey, (id, public, sealed): Row) -> anyhow::Result<SigningPair> {
    let opened = master.open(&place(id), &sealed)?;
    let secret: [u8; 32] = opened.as_slice().try_into()?;
    let private = SigningKey::from_bytes(&secret);
    anyhow::ensure!(
        private.verifying_key().to_bytes() == *public,
        "the public half of the signing key {id} does not belong to its private half: somebody has changed the table \
         signing_keys"
    );
    Ok(SigningPair { id, private })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;

    struct Key(KeyId, SigningKey, Vec<u8>);

    impl Key {
        fn new() -> Self {
            let key = SigningKey::from_bytes(&rand::random());
            let public = key.verifying_key().to_bytes().to_vec();
            Self(KeyId::new(), key, public)
        }
    }

    fn tokens(current: &Key, trusted: &[&Key]) -> Tokens {
        let trusted = trusted.iter().map(|key| (key.0, key.2.as_slice()));
        Tokens::of(current.0, &current.1, trusted, id(8), TimeDelta::seconds(900))
    }

    fn caller() -> Caller {
        Caller {
            account: AccountId::new(),
            gym: GymId::new(),
            roles: [Role::Member].into_iter().collect(),
            session: SessionId::new(),
            access_version: 1,
        }
    }

    fn noon() -> DateTime<Utc> {
        "2026-06-10T12:00:00Z".parse().expect("an instant")
    }

    fn by(tokens: &Tokens) -> (u64, u64) {
        let Checks { remembered, signatures } = tokens.checks();
        (remembered.get(), signatures.get())
    }

    #[test]
    fn a_token_is_verified_once_and_refused_from_its_expiry_on() {
        let key = Key::new();
        let tokens = tokens(&key, &[&key]);
        let caller = caller();
        let token = tokens.issue(&caller, 6, noon()).expect("a token");
        let end = noon() + TimeDelta::seconds(900);
        for now in [noon(), noon(), end - TimeDelta::milliseconds(1)] {
            let verified = tokens.verify(&token, now).expect("good");
            assert_eq!((verified.caller, verified.expires_at), (caller, end));
        }
        assert_eq!((by(&tokens), tokens.remembered()), ((2, 1), 1));
        for now in [end, end + TimeDelta::days(1)] {
            let refused = tokens.verify(&token, now).expect_err("expired");
            assert_eq!(refused.code, Code::TokenExpired);
        }
        assert_eq!(tokens.remembered(), 0);
    }

    #[test]
    fn a_token_that_differs_in_any_part_from_a_cached_one_is_refused() {
        let key = Key::new();
        let tokens = tokens(&key, &[&key]);
        let token = tokens.issue(&caller(), 1, noon()).expect("a token");
        let other = tokens.issue(&caller(), 1, noon()).expect("a token");
        tokens.verify(&token, noon()).expect("good");
        tokens.verify(&other, noon()).expect("good");
        let (head, signature) = token.rsplit_once('.').expect("a signature");
        let (other_head, other_signature) = other.rsplit_once('.').expect("a signature");
        let mut last = signature.to_owned();
        last.replace_range(0..1, if last.starts_with('A') { "B" } else { "A" });
        for forged in [
            format!("{head}.{last}"),
            format!("{head}.{other_signature}"),
            format!("{other_head}.{signature}"),
            format!("{head}."),
            head.to_owned(),
            format!("{token} "),
            token[1..].to_owned(),
        ] {
            let refused = tokens.verify(&forged, noon()).expect_err(&forged);
            assert_eq!(refused.code, Code::Unauthenticated, "{forged}");
        }
        assert_eq!(tokens.remembered(), 2, "only valid tokens are cached");
    }

    /// A token and its key, recorded from another library.
    const RECORDED: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSIsImtpZCI6IjAwMDAwMDAwLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMSJ9.\
        eyJpc3MiOiIwMDAwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDgiLCJzdWIiOiIwMDAwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAw\
        MDAwMDIiLCJneW0iOiIwMDAwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDMiLCJyb2xlcyI6WyJ0cmFpbmVyIiwibWVtYmVyIl0sInNp\
        ZCI6IjAwMDAwMDAwLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwNCIsImdlbiI6NiwiYXYiOjUsImlhdCI6MTc4MTA5MjgwMCwiZXhwIjoxNzgx\
        MDkzNzAwfQ.\
        3XHrGKiEYedkSFsjLqSdVFse91ZKb_CmWE56hzco6URyyZIVFN9kd8MPsXLev2qv7WfSowNeQvPPJ1l-Ndd6Dw";

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(digit: u32) -> T {
        format!("00000000-0000-7000-8000-00000000000{digit}")
            .parse()
            .expect("an id")
    }

    fn recorded() -> (Tokens, Caller) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public = key.verifying_key().to_bytes().to_vec();
        let key = Key(id(1), key, public);
        let caller = Caller {
            account: id(2),
            gym: id(3),
            roles: [Role::Member, Role::Trainer].into_iter().collect(),
            session: id(4),
            access_version: 5,
        };
        (tokens(&key, &[&key]), caller)
    }

    #[test]
    fn a_recorded_token_is_valid_and_signing_gives_the_same_bytes() {
        let (tokens, caller) = recorded();
        assert_eq!(tokens.issue(&caller, 6, noon()).expect("a token"), RECORDED);
        let verified = tokens.verify(RECORDED, noon()).expect("good");
        let end = noon() + TimeDelta::seconds(900);
        assert_eq!((verified.caller, verified.expires_at), (caller, end));
    }

    #[test]
    fn a_token_of_another_deployment_is_refused_although_it_was_cached() {
        let key = Key::new();
        let tokens = tokens(&key, &[&key]);
        let token = tokens.issue(&caller(), 1, noon()).expect("a token");
        assert_eq!(tokens.verify(&token, noon()).expect("good").issuer, id(8));
        tokens.set_issuer(id(9));
        for _ in 0..2 {
            let refused = tokens.verify(&token, noon()).expect_err("another's");
            assert_eq!(refused.code, Code::Unauthenticated);
        }
        assert_eq!(tokens.remembered(), 0);
        let token = tokens.issue(&caller(), 1, noon()).expect("a token");
        tokens.verify(&token, noon()).expect("good");
    }

    #[test]
    fn a_token_that_names_no_deployment_is_refused() {
        let key = Key::new();
        let tokens = tokens(&key, &[&key]);
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.0.to_string());
        let mut claims = serde_json::json!({
            "iss": id::<DeploymentId>(8), "sub": AccountId::new(), "gym": GymId::new(), "roles": ["member"],
            "sid": SessionId::new(), "gen": 1, "av": 1, "iat": noon().timestamp(), "exp": noon().timestamp() + 900,
        });
        let verify = |claims: &serde_json::Value| {
            let token = jwt::encode(&header, claims, &jwt::signing_key(&key.1)).expect("a token");
            tokens.verify(&token, noon()).map(|_| ()).map_err(|e| e.code)
        };
        assert_eq!(verify(&claims), Ok(()));
        for iss in [
            serde_json::json!(id::<DeploymentId>(9)),
            serde_json::json!(""),
            serde_json::Value::Null,
        ] {
            claims["iss"] = iss;
            assert_eq!(verify(&claims), Err(Code::Unauthenticated));
        }
        claims.as_object_mut().expect("claims").remove("iss");
        assert_eq!(verify(&claims), Err(Code::Unauthenticated));
    }

    #[test]
    fn tokens_of_a_retired_key_are_refused_although_they_were_cached() {
        let (old, new) = (Key::new(), Key::new());
        let before = tokens(&old, &[&old]);
        let token = before.issue(&caller(), 1, noon()).expect("a token");
        before.verify(&token, noon()).expect("good");
        let both = tokens(&new, &[&new, &old]);
        both.verify(&token, noon()).expect("still trusted");
        let after = tokens(&new, &[&new]);
        for _ in 0..2 {
            let refused = after.verify(&token, noon()).expect_err("retired");
            assert_eq!(refused.code, Code::Unauthenticated);
        }
        assert_eq!(after.remembered(), 0);
    }

    #[test]
    fn the_token_cache_is_bounded() {
        let key = Key::new();
        let tokens = tokens(&key, &[&key]);
        let verified = Verified {
            caller: caller(),
            generation: 1,
            issuer: id(8),
            expires_at: noon(),
        };
        for n in 0..3 * REMEMBERED {
            tokens
                .keys()
                .good
                .insert(Sha256::digest(n.to_le_bytes()).into(), verified);
        }
        assert!(tokens.remembered() <= REMEMBERED, "{}", tokens.remembered());
        assert!(tokens.remembered() > REMEMBERED / 2, "{}", tokens.remembered());
    }
}
