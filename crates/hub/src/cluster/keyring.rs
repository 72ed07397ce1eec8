//! The keys that authenticate everything that nodes exchange through Redis, so that whoever can write there can neither
//! forge nor alter what screens show. Redis itself is not trusted.
//!
//! A sealed record is: a version byte, the key's id (16 bytes), an HMAC-SHA-256 (32 bytes), and the body in clear. The
//! MAC covers version, key id, kind, the whole name under which the record stands in Redis, and the body: a record that
//! is copied to another channel or key does not open. A record that is put back at its own place does open, so what
//! replays could do is decided by what the body says: see the users of [`Kind`].
//!
//! HMAC-SHA-256, because the product uses it for other purposes already. It takes 0.5 µs for a message of 500 bytes
//! on a processor with instructions for SHA-256.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use hmac::{Hmac, KeyInit as _, Mac as _};
use prometheus_client::metrics::counter::Counter;
use sha2::Sha256;
use uuid::Uuid;

/// Version of sealed records. Earlier releases sent messages that began with 2.
const VERSION: u8 = 3;
const ID_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
/// Bytes before the body.
const HEADER: usize = 1 + ID_BYTES + MAC_BYTES;
/// Interval between two warnings about refused records, in milliseconds.
const WARN_EVERY: u64 = 60_000;

/// What a record is. A record of one kind does not open as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message on a channel. Numbers and epoch of the log make a replayed change harmless.
    Message,
    /// A lease, or a node's list of users. Both carry an expiry.
    Presence,
    /// A cached value. Its reader compares the version that it needs.
    Value,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Message, Self::Presence, Self::Value];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Value => "value",
        }
    }
}

/// A key, which all nodes share.
#[derive(Clone)]
pub struct Key {
    /// Its identifier, which every record names.
    pub id: Uuid,
    /// 32 random bytes.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for Key {
    /// Shows the identifier alone, since logs must not show the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key, prepared for use.
struct Ready {
    id: Uuid,
    mac: Hmac<Sha256>,
}

struct Keys {
    current: Ready,
    accepted: Vec<Ready>,
}

impl Keys {
    fn new(current: &Key, accepted: &[Key]) -> Self {
        let ready = |key: &Key| {
            // HMAC fills a key up with zeros to the length of a block (RFC 2104).
            let mut block = [0; 64];
            block[..key.secret.len()].copy_from_slice(&key.secret);
            Ready {
                id: key.id,
                mac: Hmac::new(&block.into()),
            }
        };
        Self {
            current: ready(current),
            accepted: accepted.iter().map(ready).collect(),
        }
    }

    fn of(&self, id: &[u8]) -> Option<&Ready> {
        std::iter::once(&self.current)
            .chain(&self.accepted)
            .find(|key| key.id.as_bytes() == id)
    }
}

/// The keys of a node: one that seals, and further ones that are accepted. Clones share them.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    keys: RwLock<Arc<Keys>>,
    refused: [Counter; Kind::ALL.len()],
    began: Instant,
    /// When the next warning may be logged, in milliseconds since `began`.
    warn_from: AtomicU64,
}

impl Keyring {
    /// A keyring that seals with `current`, and opens records of `current` and of `accepted`.
    #[must_use]
    pub fn new(current: &Key, accepted: &[Key]) -> Self {
        Self(Arc::new(Inner {
            keys: RwLock::new(Arc::new(Keys::new(current, accepted))),
            refused: Default::default(),
            began: Instant::now(),
            warn_from: AtomicU64::new(0),
        }))
    }

    /// Replaces the keys while the node runs.
    pub fn replace(&self, current: &Key, accepted: &[Key]) {
        let keys = Arc::new(Keys::new(current, accepted));
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The number of records of a kind that did not open.
    #[must_use]
    pub fn refused(&self, kind: Kind) -> u64 {
        self.0.refused[kind as usize].get()
    }

    /// Seals a record for a place: the names of the channel, or of the key and the field in it.
    #[must_use]
    pub fn seal(&self, kind: Kind, place: &[&[u8]], body: &[u8]) -> Vec<u8> {
        let keys = self.keys();
        let key = &keys.current;
        let mac = mac(key, kind, place, body).finalize().into_bytes();
        let mut sealed = Vec::with_capacity(HEADER + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(key.id.as_bytes());
        sealed.extend_from_slice(&mac);
        sealed.extend_from_slice(body);
        sealed
    }

    /// Returns the body of a record that was sealed for this place with an accepted key. Any other record is counted,
    /// and a warning is logged once a minute.
    pub fn open<'a>(&self, kind: Kind, place: &[&[u8]], sealed: &'a [u8]) -> Option<&'a [u8]> {
        let body = self.verify(kind, place, sealed);
        if body.is_none() {
            self.refuse(kind);
        }
        body
    }

    fn verify<'a>(&self, kind: Kind, place: &[&[u8]], sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (header, body) = sealed.split_at_checked(HEADER)?;
        let (version, header) = header.split_first()?;
        let (id, tag) = header.split_at_checked(ID_BYTES)?;
        if *version != VERSION {
            return None;
        }
        let keys = self.keys();
        let key = keys.of(id)?;
        mac(key, kind, place, body).verify_slice(tag).ok().map(|()| body)
    }

    /// Counts a record that must not be used, although its MAC may be right: a replay, or a malformed body.
    pub(crate) fn refuse(&self, kind: Kind) {
        let inner = &self.0;
        inner.refused[kind as usize].inc();
        let now = u64::try_from(inner.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let from = inner.warn_from.load(Ordering::Relaxed);
        let next = now.saturating_add(WARN_EVERY);
        let mine = || {
            inner
                .warn_from
                .compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed)
        };
        if now >= from && mine().is_ok() {
            tracing::warn!(
                record.kind = kind.name(),
                "ignored a record from Redis that no node of this release has sealed; the database has what is missing"
            );
        }
    }

    fn keys(&self) -> Arc<Keys> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Each part has its length before it, so that no two lists of parts give the same bytes.
fn mac(key: &Ready, kind: Kind, place: &[&[u8]], body: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.mac.clone();
    mac.update(&[VERSION]);
    mac.update(key.id.as_bytes());
    for part in [kind.name().as_bytes()].iter().chain(place).chain(&[body]) {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key {
            id: Uuid::new_v4(),
            secret: rand::random(),
        }
    }

    proptest! {
        #[test]
        fn a_record_opens_at_its_own_place_as_its_own_kind_and_unaltered_only(
            body in prop::collection::vec(any::<u8>(), 0..300),
            parts in prop::collection::vec("[a-z:]{0,9}", 1..4),
            other in prop::collection::vec("[a-z:]{0,9}", 1..4),
            at: prop::sample::Index,
            flip in 1_u8..,
        ) {
            let keyring = Keyring::new(&key(), &[]);
            let place: Vec<_> = parts.iter().map(String::as_bytes).collect();
            let sealed = keyring.seal(Kind::Message, &place, &body);
            prop_assert_eq!(keyring.open(Kind::Message, &place, &sealed), Some(&body[..]));
            prop_assert_eq!(keyring.refused(Kind::Message), 0);
            prop_assert_eq!(keyring.open(Kind::Value, &place, &sealed), None);
            prop_assert_eq!(keyring.refused(Kind::Value), 1);
            let elsewhere: Vec<_> = other.iter().map(String::as_bytes).collect();
            prop_assert_eq!(keyring.open(Kind::Message, &elsewhere, &sealed).is_some(), elsewhere == place);
            let mut altered = sealed.clone();
            altered[at.index(sealed.len())] ^= flip;
            prop_assert_eq!(keyring.open(Kind::Message, &place, &altered), None);
            for cut in 0..sealed.len() {
                prop_assert_eq!(keyring.open(Kind::Message, &place, &sealed[..cut]), None);
            }
            let longer = [&sealed[..], b"x"].concat();
            prop_assert_eq!(keyring.open(Kind::Message, &place, &longer), None);
        }

        /// The parts of a place cannot be shifted into each other or into the body.
        #[test]
        fn the_parts_of_a_record_keep_their_borders(whole in "[a-z]{2,20}", one in 0_usize..20, two in 0_usize..20) {
            let keyring = Keyring::new(&key(), &[]);
            let (one, two) = (one % whole.len(), two % whole.len());
            let split = |at: usize| (&whole.as_bytes()[..at], &whole.as_bytes()[at..]);
            let sealed = keyring.seal(Kind::Presence, &[split(one).0, split(one).1], b"");
            let there = [split(two).0, split(two).1];
            prop_assert_eq!(keyring.open(Kind::Presence, &there, &sealed).is_some(), one == two);
            prop_assert_eq!(keyring.open(Kind::Presence, &[whole.as_bytes()], &sealed), None);
        }

        #[test]
        fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Keyring::new(&key(), &[key()]).open(Kind::Message, &[b"a"], &bytes), None);
        }
    }

    #[test]
    fn keys_are_replaced_while_old_records_still_open() {
        let (old, new) = (key(), key());
        let (place, body): (&[&[u8]], _) = (&[b"here"], b"body");
        let keyring = Keyring::new(&old, &[]);
        let sealed = keyring.seal(Kind::Value, place, body);
        // Known everywhere first, then used, then the old one ends.
        keyring.replace(&old, std::slice::from_ref(&new));
        assert_eq!(&keyring.seal(Kind::Value, place, body)[..], &sealed[..]);
        keyring.replace(&new, std::slice::from_ref(&old));
        assert_eq!(keyring.open(Kind::Value, place, &sealed), Some(&body[..]));
        let later = keyring.seal(Kind::Value, place, body);
        assert_ne!(later, sealed);
        keyring.replace(&new, &[]);
        assert_eq!(keyring.open(Kind::Value, place, &sealed), None);
        assert_eq!(keyring.open(Kind::Value, place, &later), Some(&body[..]));
        let other = Key {
            id: new.id,
            secret: key().secret,
        };
        assert_eq!(Keyring::new(&other, &[]).open(Kind::Value, place, &later), None);
    }
}
