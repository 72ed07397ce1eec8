//! Counts wrong passwords, so that nobody can try many: by account and address, and more slowly by account and by
//! address. A device that signed in to the account before has a count of its own and is subject to no other, so nobody
//! else can lock the account's owner out of it.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hmac::Mac as _;

use super::Email;
use super::keyring::{Keyring, mac};
use crate::cache::counters::{Bucket, Counters, Kind, Place, Tag};
use crate::error::{Code, Error, Result};
use crate::ids::SessionId;
use liveplan_hub::cluster::client::Servers;

const fn kind(name: &'static str, holds: u32, drains_in_ms: u64) -> Kind {
    let drains = Duration::from_millis(drains_in_ms);
    Kind {
        name,
        bucket: Bucket { holds, drains },
    }
}

/// The counts. Those of addresses are high, since all phones on a gym's Wi-Fi share one.
const KINDS: [Kind; 7] = [
    // 10 in a quarter of an hour.
    kind("pair", 10, 90_000),
    // 100, then 12 an hour. NIST SP 800-63B allows 100 in a row.
    kind("account", 100, 300_000),
    // 300, 600 and 1,200 in a quarter of an hour.
    kind("address", 300, 3_000),
    kind("net56", 600, 1_500),
    kind("net48", 1_200, 750),
    // 10, then 4 an hour: whoever guesses on somebody's device has it already.
    kind("device", 10, 900_000),
    kind("session", 10, 900_000),
];
const PAIR: usize = 0;
const ACCOUNT: usize = 1;
const ADDRESS: usize = 2;
const NET56: usize = 3;
const NET48: usize = 4;
const DEVICE: usize = 5;
const SESSION: usize = 6;

/// Who tries a password.
#[derive(Clone, Copy, Debug)]
pub enum Guesser<'a> {
    /// Somebody at an address, who wants to sign in.
    Stranger(&'a Email, Option<IpAddr>),
    /// Somebody at an address, with a malformed e-mail address.
    Nobody(Option<IpAddr>),
    /// A device that signed in to the account before, by the hash of its secret.
    Device(&'a [u8; 32]),
    /// Somebody signed in, who must prove the current password.
    Session(SessionId),
}

/// The counts of wrong passwords.
pub struct Guesses(Counters);

/// An attempt that is counted as wrong until [`Guesses::was_right`] takes it back.
#[derive(Debug)]
#[must_use]
pub struct Attempt(Vec<Place>);

impl Guesses {
    /// No wrong passwords yet; shared with other nodes if there is a Redis.
    #[must_use]
    pub fn new(redis: Option<&Servers>) -> Self {
        Self(Counters::new(&KINDS, redis))
    }

    /// Counts an attempt before its password is verified, so that concurrent ones count too.
    ///
    /// # Errors
    /// [`Code::TooMany`] with the seconds to wait.
    pub async fn count(&self, guesser: Guesser<'_>, keys: &Keyring, now: DateTime<Utc>) -> Result<Attempt> {
        let places = places(guesser, keys);
        match self.0.add(&places, since_epoch(now)).await {
            Ok(()) => Ok(Attempt(places)),
            Err(wait) => Err(Error::new(Code::TooMany).with("seconds", wait.as_secs() + 1)),
        }
    }

    /// Takes an attempt back: its password was right, or was not verified.
    pub fn was_right(&self, attempt: &Attempt) {
        self.0.remove(&attempt.0);
    }
}

/// The time of an instant in the counts of one node. They reach 13 years, so they begin in 2026.
fn since_epoch(now: DateTime<Utc>) -> Duration {
    const START: i64 = 1_767_225_600;
    Duration::from_millis(u64::try_from(now.timestamp_millis() - START * 1000).unwrap_or(0))
}

/// The counts that an attempt adds to.
fn places(guesser: Guesser<'_>, keys: &Keyring) -> Vec<Place> {
    let at = |kind: usize, parts: &[&[u8]]| Place {
        kind,
        tag: tag(keys, KINDS[kind].name, parts),
    };
    let address = match guesser {
        Guesser::Stranger(_, address) | Guesser::Nobody(address) => address.map(|address| address.to_canonical()),
        Guesser::Device(_) | Guesser::Session(_) => None,
    };
    // The networks of the address, the narrowest first.
    let nets: Vec<Vec<u8>> = match address {
        None => Vec::new(),
        Some(IpAddr::V4(v4)) => vec![v4.octets().to_vec()],
        Some(IpAddr::V6(v6)) => [64, 56, 48]
            .map(|bits: u32| (Ipv6Addr::to_bits(v6) >> (128 - bits)).to_be_bytes().to_vec())
            .to_vec(),
    };
    let by_net = [ADDRESS, NET56, NET48].into_iter().zip(&nets);
    let mut places: Vec<Place> = by_net.map(|(kind, net)| at(kind, &[net])).collect();
    match guesser {
        Guesser::Stranger(email, _) => {
            let email = email.as_str().as_bytes();
            let own = nets.first().map(Vec::as_slice).unwrap_or_default();
            places.extend([at(ACCOUNT, &[email]), at(PAIR, &[email, own])]);
        }
        Guesser::Nobody(_) => {}
        Guesser::Device(hash) => places.push(at(DEVICE, &[hash])),
        Guesser::Session(session) => places.push(at(SESSION, &[session.0.as_bytes()])),
    }
    places
}

/// The key of a count: a MAC, so that it shows no e-mail address, and nobody can choose keys that share a cell.
fn tag(keys: &Keyring, name: &str, parts: &[&[u8]]) -> Tag {
    let mut mac = mac(&keys.secrets().current).chain_update(b"guesses").chain_update([0]);
    for part in [name.as_bytes()].iter().chain(parts) {
        mac = mac.chain_update(part.len().to_be_bytes()).chain_update(part);
    }
    let mac: [u8; 32] = mac.finalize().into_bytes().into();
    let mut tag = Tag::default();
    tag.copy_from_slice(&mac[..16]);
    tag
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::auth::secrets::{Secret, Secrets};
    use crate::ids::KeyId;

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

    fn noon() -> DateTime<Utc> {
        "2026-06-10T12:00:00Z".parse().expect("an instant")
    }

    /// The names of the counts that two attempts share.
    fn shared(keys: &Keyring, one: Guesser<'_>, two: Guesser<'_>) -> Vec<&'static str> {
        let two = places(two, keys);
        let same = places(one, keys).into_iter().filter(|place| two.contains(place));
        same.map(|place| KINDS[place.kind].name).collect()
    }

    #[test]
    fn attempts_share_the_counts_of_what_they_have_in_common() {
        let (keys, ana, eva) = (keys(), email("ana@test.example"), email("eva@test.example"));
        let of = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        let share = |(one, here): (&Email, &str), (two, there): (&Email, &str)| {
            shared(
                &keys,
                Guesser::Stranger(one, of(here)),
                Guesser::Stranger(two, of(there)),
            )
        };
        assert_eq!(
            share((&ana, "9.9.9.9"), (&ana, "9.9.9.9")),
            ["address", "account", "pair"]
        );
        assert_eq!(
            share((&ana, "9.9.9.9"), (&ana, "::ffff:9.9.9.9")),
            ["address", "account", "pair"]
        );
        assert_eq!(share((&ana, "9.9.9.9"), (&ana, "9.9.9.8")), ["account"]);
        assert_eq!(share((&ana, "9.9.9.9"), (&eva, "9.9.9.9")), ["address"]);
        let home = "2001:db8:1:1::1";
        assert_eq!(
            share((&ana, home), (&eva, "2001:db8:1:1:ffff::2")),
            ["address", "net56", "net48"]
        );
        assert_eq!(share((&ana, home), (&eva, "2001:db8:1:2::1")), ["net56", "net48"]);
        assert_eq!(share((&ana, home), (&eva, "2001:db8:1:101::1")), ["net48"]);
        assert_eq!(share((&ana, home), (&ana, "2001:db8:2:1::1")), ["account"]);
        let none = shared(&keys, Guesser::Stranger(&ana, None), Guesser::Stranger(&eva, None));
        assert_eq!(none, Vec::<&str>::new());
        let own = shared(&keys, Guesser::Device(&[1; 32]), Guesser::Stranger(&ana, of(home)));
        assert_eq!(own, Vec::<&str>::new());
        let names: BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
    }

    #[tokio::test]
    async fn a_crowd_that_guesses_at_an_account_locks_out_strangers_and_no_known_device() {
        let (keys, ana, guesses) = (keys(), email("ana@test.example"), Guesses::new(None));
        let from = |n: u32| Guesser::Stranger(&ana, Some(IpAddr::from(n.to_be_bytes())));
        let (mut counted, mut wait) = (0, None);
        for n in 0..40 {
            for _ in 0..15 {
                match guesses.count(from(n), &keys, noon()).await {
                    Ok(_wrong) => counted += 1,
                    Err(refused) => wait = Some(refused),
                }
            }
        }
        assert_eq!(counted, 100);
        assert_eq!(wait.expect("refused").code, Code::TooMany);
        let device = Guesser::Device(&[7; 32]);
        for _ in 0..10 {
            let _wrong = guesses.count(device, &keys, noon()).await.expect("its own count");
        }
        let refused = guesses.count(device, &keys, noon()).await.map(drop).expect_err("full");
        assert_eq!(refused.problem(crate::error::Lang::En)["seconds"], "901");
        // A stranger who tries another account is not affected.
        let eva = email("eva@test.example");
        let other = guesses.count(Guesser::Stranger(&eva, None), &keys, noon()).await;
        assert!(other.is_ok());
    }

    #[tokio::test]
    async fn an_attempt_with_the_right_password_does_not_count() {
        let (keys, ana, guesses) = (keys(), email("ana@test.example"), Guesses::new(None));
        let home = Guesser::Stranger(&ana, "2001:db8:1:1::1".parse().ok());
        for _ in 0..2_000 {
            let right = guesses.count(home, &keys, noon()).await.expect("room");
            guesses.was_right(&right);
        }
        for _ in 0..10 {
            let _wrong = guesses.count(home, &keys, noon()).await.expect("room");
        }
        assert!(guesses.count(home, &keys, noon()).await.is_err());
    }
}
