//! Passwords: which ones a person may choose, and argon2id hashes, computed on blocking threads in [`Turns`] of their
//! own, so that they never take all cores. Verifying takes as long for an unknown account as for a known one, so that
//! its duration does not reveal which accounts exist.

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

/// The 17,950 passwords of at least 8 characters among the most common ones, in lower case and sorted. From the npm
/// package `@zxcvbn-ts/language-common` 4.1.3; its licence is in `common_passwords.LICENSE`.
static COMMON: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// The length from which a part of a name is looked for in passwords.
const PART: usize = 4;
/// Characters that a password must have besides what is known about its account.
const OWN: usize = 6;

/// Refuses a password that a person must not choose: too short or too long, one of the most common ones, or hardly more
/// than what is known about the account. `about` are the texts to look for: the account's name and e-mail address, and
/// its gym's name.
pub fn check(field: &str, password: &str, about: &[&str]) -> Result<()> {
    let length = password.chars().count();
    if !LENGTH.contains(&length) {
        let reason = (
            format!("must be {} to {} characters long", LENGTH.start(), LENGTH.end()),
            format!("debe tener de {} a {} caracteres", LENGTH.start(), LENGTH.end()),
        );
        return Err(Error::invalid(field, reason));
    }
    let folded = fold(password);
    if COMMON.binary_search(&folded.as_str()).is_ok() {
        let reason = (
            "is one of the most common passwords",
            "es una de las contraseñas más comunes",
        );
        return Err(Error::invalid(field, reason));
    }
    if is_about(&folded, about) {
        let reason = (
            "must have more to it than your name, your email or your gym",
            "debe tener algo más que tu nombre, tu correo o tu gimnasio",
        );
        return Err(Error::invalid(field, reason));
    }
    Ok(())
}

/// Whether a folded password contains what is known about the account, and little else.
fn is_about(folded: &str, about: &[&str]) -> bool {
    // Of an e-mail address also what is before the @.
    let texts = about
        .iter()
        .flat_map(|text| [*text, text.split('@').next().unwrap_or_default()]);
    let mut known: Vec<String> = texts.flat_map(|text| parts(&fold(text))).collect();
    // The longest first: a part may contain another.
    known.sort_unstable_by_key(|part| std::cmp::Reverse(part.len()));
    let mut rest = folded.to_owned();
    for part in &known {
        rest = rest.replace(part, "");
    }
    rest != folded && rest.chars().count() < OWN
}

/// A text, its words, and its words joined; without those too short to look for.
fn parts(folded: &str) -> Vec<String> {
    let words: Vec<&str> = folded.split(|c: char| !c.is_alphanumeric()).collect();
    let parts = words.iter().copied().map(str::to_owned);
    let parts = parts.chain([folded.trim().to_owned(), words.concat()]);
    parts.filter(|part| part.chars().count() >= PART).collect()
}

/// Lower case, without the accents of Spanish.
fn fold(text: &str) -> String {
    let plain = |c: char| match c {
        'á' => 'a',
        'é' => 'e',
        'í' => 'i',
        'ó' => 'o',
        'ú' | 'ü' => 'u',
        'ñ' => 'n',
        c => c,
    };
    text.to_lowercase().chars().map(plain).collect()
}

/// Hashes a password of any length. Check a password that a person chooses with [`check`] first.
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
    TURNS.take(move || matches(&password, hash.as_deref())).await?
}

/// Does the same on the calling thread, which it blocks for some 20 ms.
pub fn matches(password: &str, hash: Option<&str>) -> Result<bool> {
    // No stored password is longer, and this early return reveals only a length that the caller knows.
    if password.chars().count() > *LENGTH.end() {
        return Ok(false);
    }
    let verified = argon2().and_then(|argon2| argon2.verify_password(password.as_bytes(), hash.unwrap_or(NOBODY)));
    match verified {
        Ok(()) => Ok(hash.is_some()),
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
    use proptest::prelude::*;

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

    /// The texts of a refused password's problem.
    fn refused(password: &str, about: &[&str]) -> Option<String> {
        let error = check("password", password, about).err()?;
        assert_eq!(error.code, Code::Invalid);
        Some(error.detail(crate::error::Lang::En))
    }

    #[test]
    fn a_password_has_8_to_256_characters() {
        assert_eq!(refused("ñandúes8", &[]), None);
        assert_eq!(refused(&"x".repeat(256), &[]), None);
        for password in ["sieben7", "", &"x".repeat(257)] {
            assert!(
                refused(password, &[]).is_some_and(|said| said.contains("8 to 256")),
                "{password}"
            );
        }
    }

    #[test]
    fn common_passwords_are_refused_in_any_case() {
        assert!(COMMON.len() > 15_000 && COMMON.is_sorted(), "{}", COMMON.len());
        assert!(
            COMMON
                .iter()
                .all(|one| one.len() >= *LENGTH.start() && fold(one) == **one)
        );
        for password in [
            "password",
            "Password1",
            "12345678",
            "QWERTYUIOP",
            "iloveyou",
            "contraseña",
        ] {
            assert!(
                refused(password, &[]).is_some_and(|said| said.contains("common")),
                "{password}"
            );
        }
        assert_eq!(refused("correct horse", &[]), None);
    }

    const ABOUT: [&str; 3] = ["Ana López", "ana.lopez+gym@correo.example", "Gimnasio Norte"];

    #[test]
    fn what_is_known_about_the_account_is_refused() {
        for password in [
            "Ana Lopez",
            "anal\u{f3}pez!",
            "lopez2024",
            "ana.lopez+gym",
            "ana.lopez+gym@correo.example",
            "analopezgym",
            "GimnasioNorte1",
            "norte12345",
            "gimnasio-lopez",
        ] {
            assert!(
                refused(password, &ABOUT).is_some_and(|said| said.contains("your name")),
                "{password}"
            );
        }
        for password in ["lopez y su bicicleta", "banana republic", "norteando.1976"] {
            assert_eq!(refused(password, &ABOUT), None, "{password}");
        }
        assert_eq!(refused("anything else", &["", "Al", "@"]), None);
    }

    proptest! {
        #[test]
        fn a_name_needs_six_more_characters(name in "[a-z]{8,20}", before in "[0-9]{0,4}", after in "[0-9]{0,4}") {
            let password = format!("{before}{name}{after}");
            let short = before.len() + after.len() < OWN;
            prop_assert_eq!(is_about(&password, &[&name]), short, "{}", password);
            prop_assert!(!is_about(&password, &["Gimnasio"]) || password.contains("gimnasio"));
        }

        #[test]
        fn any_password_gets_a_verdict(password in ".{0,300}", about in ".{0,80}") {
            let verdict = check("password", &password, &[&about]);
            prop_assert!(verdict.is_err() || LENGTH.contains(&password.chars().count()));
        }
    }
}
