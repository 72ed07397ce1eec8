//! A set of [`Secrets`] that can be replaced while a node runs.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use hmac::{Hmac, KeyInit as _};
use sha2::Sha256;

use super::secrets::{Secret, Secrets};

/// The keys of one purpose, as this node knows them.
pub struct Keyring(RwLock<Arc<Secrets>>);

impl Keyring {
    /// Holds these keys.
    #[must_use]
    pub fn new(secrets: Secrets) -> Self {
        Self(RwLock::new(Arc::new(secrets)))
    }

    /// Replaces the keys. Returns whether they are others.
    pub fn replace(&self, secrets: Secrets) -> bool {
        let others = !self.secrets().same_as(&secrets);
        if others {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(secrets);
        }
        others
    }

    /// The keys of now.
    #[must_use]
    pub fn secrets(&self) -> Arc<Secrets> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Shows no key.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyring").field(&self.secrets()).finish()
    }
}

/// HMAC-SHA-256 with a secret.
#[must_use]
pub fn mac(secret: &Secret) -> Hmac<Sha256> {
    // HMAC pads a key to the hash's block with zeros. Given a whole block, the constructor cannot fail.
    let mut block = [0; 64];
    block[..secret.key.len()].copy_from_slice(&secret.key);
    Hmac::<Sha256>::new(&block.into())
}
