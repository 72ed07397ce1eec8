//! Refresh tokens. A token names its session and a generation under a MAC, so the server stores no token: the session's
//! row has the current generation, and every token that was ever issued is told apart from it, on any day.
//!
//! Each refresh answers with the next generation. [`judge`] decides what a token is worth: the current one is good, and
//! its predecessor too while nothing shows that the client has got the current one, since phones lose answers.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::Mac as _;
use uuid::Uuid;

use super::keyring::{Keyring, mac};
use crate::ids::{KeyId, SessionId};

/// The generation of a session's first token.
pub const FIRST: i64 = 1;
/// How long a predecessor is accepted at most, from the time at which its successor was issued.
pub const PREDECESSOR_LIVES: TimeDelta = TimeDelta::hours(24);

/// The first byte of a token: version of its form.
const VERSION: u8 = 1;
/// Version, key, session and generation: the bytes under the MAC.
const HEAD_BYTES: usize = 1 + 16 + 16 + 8;
const MAC_BYTES: usize = 32;
/// Length of a token in base64.
const TEXT_BYTES: usize = (HEAD_BYTES + MAC_BYTES) * 4 / 3 + 1;

/// A session's generations, as its row has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generations {
    /// The current one.
    pub current: i64,
    /// Until when the one before is accepted; `None` once the current one was used.
    pub predecessor_until: Option<DateTime<Utc>>,
}

/// What a genuine token of a generation is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the current one: the answer is the next generation, which this is.
    Next(i64),
    /// It is the predecessor, whose answer got lost: the answer is the current generation again.
    Again,
    /// A copy is in use: the session ends.
    Reuse,
}

/// Decides what a genuine token is worth now. A generation that was not issued yet can only come from before a restore
/// of the database. Then nobody knows which tokens were used since, so it counts as reuse as well.
#[must_use]
pub fn judge(presented: i64, session: Generations, now: DateTime<Utc>) -> Verdict {
    let predecessor_is_good = session.predecessor_until.is_some_and(|until| now < until);
    if presented == session.current {
        presented.checked_add(1).map_or(Verdict::Reuse, Verdict::Next)
    } else if Some(presented) == session.current.checked_sub(1) && predecessor_is_good {
        Verdict::Again
    } else {
        Verdict::Reuse
    }
}

/// Issues refresh tokens, and recognises those that one of the keys has made.
#[derive(Debug)]
pub struct RefreshTokens(Keyring);

impl RefreshTokens {
    /// Uses these keys.
    #[must_use]
    pub fn new(keys: Keyring) -> Self {
        Self(keys)
    }

    /// The keys, to replace them.
    #[must_use]
    pub fn keys(&self) -> &Keyring {
        &self.0
    }

    /// The token of a session's generation.
    #[must_use]
    pub fn issue(&self, session: SessionId, generation: i64) -> String {
        let secrets = self.0.secrets();
        let head = head(secrets.current.id, session, generation);
        let mac = mac(&secrets.current).chain_update(head).finalize().into_bytes();
        BASE64_URL_SAFE_NO_PAD.encode([&head[..], &mac].concat())
    }

    /// The session and generation of a genuine token; `None` for any other text.
    #[must_use]
    pub fn open(&self, text: &str) -> Option<(SessionId, i64)> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (head, tag) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let (version, rest) = head.split_first()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (session, generation) = rest.split_first_chunk()?;
        let key = KeyId(Uuid::from_bytes(*key));
        let secrets = self.0.secrets();
        let secret = secrets.accepted().find(|secret| secret.id == key)?;
        // Takes the same time for every wrong MAC.
        mac(secret).chain_update(head).verify_slice(tag).ok()?;
        let generation = i64::from_be_bytes(generation.try_into().ok()?);
        (*version == VERSION).then_some((SessionId(Uuid::from_bytes(*session)), generation))
    }
}

fn head(key: KeyId, session: SessionId, generation: i64) -> [u8; HEAD_BYTES] {
    let mut head = [VERSION; HEAD_BYTES];
    head[1..17].copy_from_slice(key.0.as_bytes());
    head[17..33].copy_from_slice(session.0.as_bytes());
    head[33..].copy_from_slice(&generation.to_be_bytes());
    head
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::auth::secrets::{Secret, Secrets};

    fn secret() -> Secret {
        Secret {
            id: KeyId::new(),
            key: rand::random(),
        }
    }

    fn tokens(current: &Secret, previous: &[&Secret]) -> RefreshTokens {
        RefreshTokens::new(Keyring::new(Secrets {
            current: current.clone(),
            previous: previous.iter().map(|&secret| secret.clone()).collect(),
        }))
    }

    fn noon() -> DateTime<Utc> {
        "2026-06-10T12:00:00Z".parse().expect("an instant")
    }

    #[test]
    fn a_token_names_its_session_and_generation_and_fits_a_url() {
        let tokens = tokens(&secret(), &[]);
        let session = SessionId::new();
        for generation in [FIRST, 2, i64::MAX] {
            let text = tokens.issue(session, generation);
            assert_eq!(text.len(), TEXT_BYTES);
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            assert!(text.bytes().all(plain), "{text}");
            assert_eq!(tokens.open(&text), Some((session, generation)));
        }
    }

    #[test]
    fn a_token_of_a_previous_key_is_genuine_until_the_key_is_retired() {
        let (old, new) = (secret(), secret());
        let keys = tokens(&old, &[]);
        let session = SessionId::new();
        let token = keys.issue(session, 7);
        let both = tokens(&new, &[&old]);
        assert_eq!(both.open(&token), Some((session, 7)));
        keys.keys().replace((*both.keys().secrets()).clone());
        assert_eq!(keys.open(&token), Some((session, 7)));
        assert_ne!(keys.issue(session, 7), token);
        assert_eq!(tokens(&new, &[]).open(&token), None);
        // The same key under another name, or another key under the same name.
        let renamed = Secret {
            id: new.id,
            ..old.clone()
        };
        let replaced = Secret { id: old.id, ..new };
        for other in [renamed, replaced] {
            assert_eq!(tokens(&other, &[]).open(&token), None);
        }
    }

    proptest! {
        #[test]
        fn a_token_that_differs_in_any_bit_is_refused(generation in FIRST.., byte in 0..HEAD_BYTES + MAC_BYTES, bit in 0..8) {
            let tokens = tokens(&secret(), &[]);
            let token = tokens.issue(SessionId::new(), generation);
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&token).expect("base64");
            bytes[byte] ^= 1_u8 << bit;
            prop_assert_eq!(tokens.open(&BASE64_URL_SAFE_NO_PAD.encode(&bytes)), None);
            prop_assert_eq!(tokens.open(&token[1..]), None);
            prop_assert_eq!(tokens.open(&format!("{token}A")), None);
        }

        #[test]
        fn no_text_is_a_token_or_a_panic(text in ".{0,120}", base64 in "[A-Za-z0-9_-]{98}") {
            let tokens = tokens(&secret(), &[]);
            prop_assert_eq!(tokens.open(&text), None);
            prop_assert_eq!(tokens.open(&base64), None);
        }

        #[test]
        fn any_row_and_any_generation_get_a_verdict(
            presented: i64, current: i64, near in -2_i64..=2, until in proptest::option::of(-100_000_i64..100_000),
        ) {
            let until = until.map(|seconds| noon() + TimeDelta::seconds(seconds));
            let session = Generations { current, predecessor_until: until };
            for presented in [presented, current.saturating_add(near)] {
                let expected = match i128::from(presented) - i128::from(current) {
                    0 if current < i64::MAX => Verdict::Next(current + 1),
                    -1 if until.is_some_and(|until| until > noon()) => Verdict::Again,
                    _ => Verdict::Reuse,
                };
                prop_assert_eq!(judge(presented, session, noon()), expected);
            }
        }

        /// A session through random refreshes, uses and pauses, beside a model that remembers every token.
        #[test]
        fn a_token_works_once_and_again_only_while_its_answer_may_be_lost(
            steps in proptest::collection::vec((0..3_u8, 0_i64..6, 0_i64..30), 1..60),
        ) {
            let mut session = Generations { current: FIRST, predecessor_until: None };
            let (mut now, mut issued_at, mut used) = (noon(), noon(), BTreeSet::from([FIRST]));
            for (step, back, hours) in steps {
                match step {
                    0 => now += TimeDelta::hours(hours),
                    // The client shows that it has the current generation.
                    1 => {
                        used.insert(session.current);
                        session.predecessor_until = None;
                    }
                    _ => {
                        let presented = session.current - back;
                        let lost = now - issued_at < PREDECESSOR_LIVES && !used.contains(&session.current);
                        match judge(presented, session, now) {
                            Verdict::Next(next) => {
                                prop_assert_eq!((presented, next), (session.current, session.current + 1));
                                used.insert(presented);
                                session = Generations { current: next, predecessor_until: Some(now + PREDECESSOR_LIVES) };
                                issued_at = now;
                            }
                            Verdict::Again => prop_assert!(back == 1 && lost, "{presented} {session:?}"),
                            Verdict::Reuse => prop_assert!(back > 1 || (back == 1 && !lost), "{presented} {session:?}"),
                        }
                    }
                }
            }
        }
    }
}
