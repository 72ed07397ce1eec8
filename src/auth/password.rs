//! Passwords: argon2id hashes, computed on blocking threads in [`Turns`] of their own, so that sign-ins never take all
//! cores. Verifying takes as long for an unknown account as for a known one, so that its duration does
//! not reveal which accounts exist.

use std::sync::LazyLock;

use argon2::password_hash::{Error as HashError, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::error::{Code, Error, Result};
use crate::turns::Turns;

/// Allowed length of a password in characters.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=256;
/// A hash that no password has. Without an account, [`verify`] computes against this one.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LWF0LWFsbC4uLg$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Bounds how many hashes are computed at once.
static TURNS: LazyLock<Turns> = LazyLock::new(|| Turns::new(Code::TooMany));

/// Refuses a new password that is too short or too long.
pub fn check_length(field: &str, password: &str) -> Result<()> {
    if LENGTH.contains(&password.chars().count()) {
        Ok(())
    } else {
        let reason = (
            format!("must be {} to {} characters long", LENGTH.start(), LENGTH.end()),
            format!("debe tener de {} a {} caracteres", LENGTH.start(), LENGTH.end()),
        );
        Err(Error::invalid(field, reason))
    }
}

/// Hashes a password of any length. Check a password that a person chooses with [`check_length`] first.
pub async fn hash(password: String) -> Result<String> {
    let hash = TURNS
        .take(move || {
            argon2()?
                .hash_password(password.as_bytes())
                .map(|hash| hash.to_string())
        })
        .await?;
    hash.map_err(failed)
}

/// Whether the hash is of this password. Without a hash the answer is no, after a computation that takes as long.
pub async fn verify(password: String, hash: Option<String>) -> Result<bool> {
    // No stored password is longer, and this early return reveals only a length that the caller knows.
    if password.chars().count() > *LENGTH.end() {
        return Ok(false);
    }
    let verified = TURNS.take(move || {
        let known = hash.is_some();
        let hash = hash.as_deref().unwrap_or(NOBODY);
        argon2()?.verify_password(password.as_bytes(), hash).map(|()| known)
    });
    match verified.await? {
        Ok(known) => Ok(known),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Parameters that OWASP recommends for argon2id: 19 MiB, two passes, one lane.
fn argon2() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(HashError::from)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn failed(error: HashError) -> Error {
    Error::new(Code::Internal).caused_by(anyhow::anyhow!("argon2: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_hashed_password_verifies() {
        let hash = hash("correct horse".into()).await.expect("a hash");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(
            verify("correct horse".into(), Some(hash.clone()))
                .await
                .expect("verified")
        );
        assert!(
            !verify("correct horsf".into(), Some(hash.clone()))
                .await
                .expect("verified")
        );
        assert!(!verify("x".repeat(257), Some(hash)).await.expect("verified"));
    }

    #[tokio::test]
    async fn without_a_hash_no_password_verifies_and_the_stand_in_hash_is_valid() {
        assert!(!verify("correct horse".into(), None).await.expect("verified"));
    }

    #[test]
    fn a_password_has_8_to_256_characters() {
        assert!(check_length("password", "ñandúes8").is_ok());
        assert!(check_length("password", &"x".repeat(256)).is_ok());
        for refused in ["sieben7", "", &"x".repeat(257)] {
            assert_eq!(
                check_length("password", refused).expect_err(refused).code,
                Code::Invalid
            );
        }
    }
}
