//! Known devices. A sign-in gives a new device a secret of 256 bits; the database keeps its hash. A device that sends
//! its secret at its next sign-in has a count of wrong passwords and a lane of its own: see [`super::guesses`].
//!
//! The secret has a MAC over it and the account's e-mail address, so that an invented one costs no look at the database.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Binary, Timestamptz, Uuid as SqlUuid};
use diesel::{BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _, QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Email;
use super::keyring::{Keyring, mac};
use super::secrets::Secret;
use crate::db::schema::known_devices;
use crate::ids::{AccountId, KeyId};

/// Days for which a device is known after its last sign-in.
pub const REMEMBERED_DAYS: i64 = 180;
/// Maximum known devices of an account.
pub const PER_ACCOUNT: i64 = 20;

/// The first byte of a secret: version of its form.
const VERSION: u8 = 1;
const SECRET_BYTES: usize = 32;
/// Version, key and secret: the bytes under the MAC, besides the e-mail address.
const HEAD_BYTES: usize = 1 + 16 + SECRET_BYTES;
const MAC_BYTES: usize = 32;
/// Length of a secret in base64.
const TEXT_BYTES: usize = (HEAD_BYTES + MAC_BYTES) * 4 / 3;

/// SHA-256 of a device's secret.
pub type Hash = [u8; 32];

/// Makes the secret of a device for an account. Returns it with its hash.
#[must_use]
pub fn make(keys: &Keyring, email: &Email) -> (String, Hash) {
    let secret: [u8; SECRET_BYTES] = rand::random();
    let secrets = keys.secrets();
    let head = [&[VERSION], secrets.current.id.0.as_bytes().as_slice(), &secret].concat();
    let tag = seal(&secrets.current, &head, email).finalize().into_bytes();
    (BASE64_URL_SAFE_NO_PAD.encode([&head[..], &tag].concat()), hash(&secret))
}

/// The hash of a secret that [`make`] made for this e-mail address; `None` for any other text.
#[must_use]
pub fn open(keys: &Keyring, email: &Email, text: &str) -> Option<Hash> {
    if text.len() != TEXT_BYTES {
        return None;
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let (head, tag) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let (version, rest) = head.split_first()?;
    let (key, secret) = rest.split_first_chunk()?;
    let key = KeyId(Uuid::from_bytes(*key));
    let secrets = keys.secrets();
    let known = secrets.accepted().find(|known| known.id == key)?;
    seal(known, head, email).verify_slice(tag).ok()?;
    (*version == VERSION).then(|| hash(secret))
}

fn seal(key: &Secret, head: &[u8], email: &Email) -> Hmac<Sha256> {
    mac(key)
        .chain_update(b"device")
        .chain_update([0])
        .chain_update(head)
        .chain_update(email.as_str())
}

/// A fast hash is enough, because nobody can guess 32 random bytes.
fn hash(secret: &[u8]) -> Hash {
    Sha256::digest(secret).into()
}

/// Whether an account knows a device. Needs the system role.
pub async fn is_known(conn: &mut AsyncPgConnection, account: AccountId, hash: &Hash) -> QueryResult<bool> {
    let row = known_devices::table.filter(
        known_devices::account_id
            .eq(account)
            .and(known_devices::secret_hash.eq(hash.as_slice())),
    );
    diesel::select(diesel::dsl::exists(row)).get_result(conn).await
}

/// Remembers a device that has just signed in, and forgets others of the account beyond [`PER_ACCOUNT`]: those that
/// never came back before those that did, and of both the longest unused first. So a script that signs in again and
/// again without its secret displaces no phone. Needs the system role.
pub async fn remember(
    conn: &mut AsyncPgConnection,
    account: AccountId,
    hash: &Hash,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::sql_query(
        "INSERT INTO known_devices (account_id, secret_hash, created_at, last_used_at) VALUES ($1, $2, $3, $3)
         ON CONFLICT (account_id, secret_hash) DO UPDATE SET last_used_at = $3",
    )
    .bind::<SqlUuid, _>(account)
    .bind::<Binary, _>(hash.as_slice())
    .bind::<Timestamptz, _>(now)
    .execute(conn)
    .await?;
    diesel::sql_query(
        "DELETE FROM known_devices WHERE account_id = $1 AND secret_hash <> $2 AND secret_hash IN (
             SELECT secret_hash FROM known_devices WHERE account_id = $1
             ORDER BY secret_hash = $2 DESC, last_used_at > created_at DESC, last_used_at DESC OFFSET $3)",
    )
    .bind::<SqlUuid, _>(account)
    .bind::<Binary, _>(hash.as_slice())
    .bind::<BigInt, _>(PER_ACCOUNT)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::secrets::Secrets;

    fn keys() -> Keyring {
        Keyring::new(Secrets {
            current: Secret {
                id: KeyId::new(),
                key: rand::random(),
            },
            previous: Vec::new(),
        })
    }

    fn email(text: &str) -> Email {
        Email::parse(text).expect("an address")
    }

    #[test]
    fn a_secret_opens_for_its_account_and_key_only() {
        let (keys, ana) = (keys(), email("ana@test.example"));
        let (secret, hash) = make(&keys, &ana);
        assert_eq!((secret.len(), open(&keys, &ana, &secret)), (TEXT_BYTES, Some(hash)));
        assert_ne!(make(&keys, &ana).1, hash);
        assert_eq!(open(&keys, &email("eva@test.example"), &secret), None);
        assert_eq!(open(&self::keys(), &ana, &secret), None);
    }

    proptest! {
        #[test]
        fn a_secret_that_differs_in_any_bit_opens_nothing(byte in 0..HEAD_BYTES + MAC_BYTES, bit in 0..8) {
            let (keys, ana) = (keys(), email("ana@test.example"));
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(make(&keys, &ana).0).expect("base64");
            bytes[byte] ^= 1_u8 << bit;
            prop_assert_eq!(open(&keys, &ana, &BASE64_URL_SAFE_NO_PAD.encode(&bytes)), None);
        }

        #[test]
        fn no_text_is_a_secret_or_a_panic(text in ".{0,120}", base64 in "[A-Za-z0-9_-]{108}") {
            let (keys, ana) = (keys(), email("ana@test.example"));
            prop_assert_eq!(open(&keys, &ana, &text), None);
            prop_assert_eq!(open(&keys, &ana, &base64), None);
        }
    }
}
