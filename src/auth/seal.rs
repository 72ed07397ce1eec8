//! The master key, which encrypts secrets that are stored in the database: XChaCha20-Poly1305, with the nonce in front
//! of the ciphertext.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

const NONCE_BYTES: usize = 24;

/// The master key: seals (encrypts) and opens (decrypts) secrets.
pub struct MasterKey(XChaCha20Poly1305);

impl MasterKey {
    /// Loads the key from `configured` (`MASTER_KEY`), or else from the file `master.key` in the data directory.
    /// Creates a missing file if `may_make` is true.
    pub fn load(configured: Option<&str>, data_dir: &Path, may_make: bool) -> anyhow::Result<Self> {
        let text = match configured {
            Some(text) => text.to_owned(),
            None => {
                let path = data_dir.join("master.key");
                match std::fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(_) if may_make => make(&path)?,
                    Err(e) => {
                        return Err(e).context(
                            "with DATABASE_URL set, MASTER_KEY must be set too: 32 random bytes in base64 \
                             (openssl rand -base64 32), the same on every node",
                        );
                    }
                }
            }
        };
        let bytes = BASE64_STANDARD
            .decode(text.trim())
            .context("MASTER_KEY is not base64")?;
        anyhow::ensure!(bytes.len() == 32, "MASTER_KEY has {} bytes; it needs 32", bytes.len());
        Ok(Self(
            XChaCha20Poly1305::new_from_slice(&bytes).map_err(|e| anyhow::anyhow!("{e}"))?,
        ))
    }

    /// Encrypts bytes.
    pub fn seal(&self, plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let sealed = self
            .0
            .encrypt(&XNonce::from(nonce), plain)
            .map_err(|_| anyhow::anyhow!("encryption failed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts the output of [`Self::seal`].
    pub fn open(&self, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (nonce, sealed) = sealed
            .split_at_checked(NONCE_BYTES)
            .context("sealed secret too short")?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into()?;
        self.0
            .decrypt(&XNonce::from(nonce), sealed)
            .map_err(|_| anyhow::anyhow!("wrong master key, or damaged secret"))
    }
}

/// Creates the key file atomically, readable by its owner only.
fn make(path: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let text = BASE64_STANDARD.encode(rand::random::<[u8; 32]>());
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = MasterKey::load(None, dir.path(), true).expect("a key");
        let sealed = key.seal(b"secret").expect("sealed");
        let again = MasterKey::load(None, dir.path(), false).expect("the same key");
        assert_eq!(again.open(&sealed).expect("opened"), b"secret");
        let other = MasterKey::load(Some(&BASE64_STANDARD.encode([7; 32])), dir.path(), false).expect("another key");
        assert!(other.open(&sealed).is_err());
        assert!(key.open(&sealed[..10]).is_err());
    }
}
