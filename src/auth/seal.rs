//! The master key, which encrypts secrets that are stored in the database: XChaCha20-Poly1305 with a random nonce.
//!
//! A seal is: a version byte, the fingerprint of its master key (8 bytes), the nonce (24 bytes), and the ciphertext. The
//! associated data names what it seals: a seal that somebody copies to another row does not open. Seals of earlier
//! releases, which begin with the nonce and name nothing, are opened only in order to be sealed again when a node starts:
//! see [`super::rotation`].
//!
//! A second master key is accepted while the first is replaced: in `MASTER_KEY_PREVIOUS`, or in the file
//! `master.key.previous` beside `master.key`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::config::Config;

const VERSION: u8 = 2;
const FINGERPRINT_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
/// The file of a key that a node made itself, in the data directory.
const FILE: &str = "master.key";
/// The file of the key before, while seals are being replaced.
const PREVIOUS_FILE: &str = "master.key.previous";

/// What a seal is for. A seal opens only for the same.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The table of the row that holds it.
    pub table: &'static str,
    /// The row's id.
    pub row: Uuid,
    /// What the secret is used for.
    pub purpose: &'static str,
}

/// Where the master key comes from, and whether it may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The key must exist: its seals do.
    IsAnError,
    /// Nothing is sealed yet, so a key is made if there is none.
    IsMade,
}

/// The master key: seals (encrypts) and opens (decrypts) secrets.
pub struct MasterKey {
    current: Cipher,
    previous: Option<Cipher>,
}

struct Cipher {
    fingerprint: [u8; FINGERPRINT_BYTES],
    aead: XChaCha20Poly1305,
}

impl Cipher {
    fn of(text: &str, name: &str) -> anyhow::Result<Self> {
        let bytes = BASE64_STANDARD
            .decode(text.trim())
            .map_err(|_| anyhow::anyhow!("{name} is not base64"))?;
        anyhow::ensure!(bytes.len() == 32, "{name} has {} bytes; it needs 32", bytes.len());
        let digest = Sha256::new()
            .chain_update(b"liveplan master key\0")
            .chain_update(&bytes)
            .finalize();
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        fingerprint.copy_from_slice(&digest[..FINGERPRINT_BYTES]);
        let aead = XChaCha20Poly1305::new_from_slice(&bytes).map_err(|e| anyhow::anyhow!("{e}"))?;
        Ok(Self { fingerprint, aead })
    }

    /// The bytes before the nonce.
    fn header(&self) -> Vec<u8> {
        [&[VERSION][..], &self.fingerprint].concat()
    }

    fn decrypt(&self, sealed: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        let (nonce, msg) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        self.aead.decrypt(&XNonce::from(*nonce), Payload { msg, aad }).ok()
    }
}

impl MasterKey {
    /// The key in `text` (32 bytes in base64), and one more that only opens.
    ///
    /// # Errors
    /// If a key is malformed.
    pub fn of(text: &str, previous: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self {
            current: Cipher::of(text, "MASTER_KEY")?,
            previous: previous
                .map(|text| Cipher::of(text, "MASTER_KEY_PREVIOUS"))
                .transpose()?,
        })
    }

    /// Loads the configured keys, or else those in the files of the data directory. A missing file is made if `missing`
    /// says so.
    ///
    /// # Errors
    /// If there is no key, or one cannot be read or is malformed, or others than its owner may use its file.
    pub fn load(config: &Config, missing: Missing) -> anyhow::Result<Self> {
        if let Some(text) = config.master_key()? {
            return Self::of(&text, config.master_key_previous()?.as_deref());
        }
        let file = config.data_dir.join(FILE);
        let text = match (read(&file)?, missing) {
            (Some(text), _) => text,
            (None, Missing::IsMade) => make(&file)?,
            (None, Missing::IsAnError) => anyhow::bail!(
                "there is no master key: with DATABASE_URL set, MASTER_KEY or MASTER_KEY_FILE must be set too (32 random \
                 bytes in base64: openssl rand -base64 32), the same on every node; without, restore {} from a backup",
                file.display()
            ),
        };
        let previous = match config.master_key_previous()? {
            Some(text) => Some(text),
            None => read(&config.data_dir.join(PREVIOUS_FILE))?,
        };
        Self::of(&text, previous.as_deref())
    }

    /// Encrypts bytes for a place.
    ///
    /// # Errors
    /// If the cipher fails.
    pub fn seal(&self, place: &Place, plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (header, nonce) = (self.current.header(), rand::random::<[u8; NONCE_BYTES]>());
        let payload = Payload {
            msg: plain,
            aad: &associated(&header, place),
        };
        let sealed = self.current.aead.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| anyhow::anyhow!("encryption failed"))?;
        Ok([&header, &nonce[..], &sealed].concat())
    }

    /// Decrypts the output of [`Self::seal`] for the same place.
    ///
    /// # Errors
    /// If no accepted master key sealed it, or not for this place.
    pub fn open(&self, place: &Place, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (cipher, header, rest) = self.cipher_of(sealed).with_context(|| {
            format!(
                "no accepted master key has encrypted {} {}; is MASTER_KEY the one that did?",
                place.table, place.row
            )
        })?;
        cipher.decrypt(rest, &associated(header, place)).with_context(|| {
            format!(
                "{} {} is damaged, or was encrypted for another place",
                place.table, place.row
            )
        })
    }

    /// Decrypts a seal of an earlier release, which names no place.
    pub(super) fn open_unplaced(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let ciphers = std::iter::once(&self.current).chain(&self.previous);
        ciphers.into_iter().find_map(|cipher| cipher.decrypt(sealed, &[]))
    }

    /// True if the current key has made this seal.
    pub(super) fn is_current(&self, sealed: &[u8]) -> bool {
        self.cipher_of(sealed)
            .is_some_and(|(cipher, ..)| cipher.fingerprint == self.current.fingerprint)
    }

    /// The key that has made a seal, the seal's header and the rest.
    fn cipher_of<'a>(&self, sealed: &'a [u8]) -> Option<(&Cipher, &'a [u8], &'a [u8])> {
        let (header, rest) = sealed.split_at_checked(1 + FINGERPRINT_BYTES)?;
        let mut ciphers = std::iter::once(&self.current).chain(&self.previous);
        let cipher = ciphers.find(|cipher| cipher.header() == header)?;
        Some((cipher, header, rest))
    }
}

/// The associated data of a seal. Each text ends with a zero, which none contains.
fn associated(header: &[u8], place: &Place) -> Vec<u8> {
    let Place { table, row, purpose } = place;
    [
        header,
        table.as_bytes(),
        b"\0",
        purpose.as_bytes(),
        b"\0",
        row.as_bytes(),
    ]
    .concat()
}

/// Makes a new key in the data directory and keeps the old one beside it, so that seals of both open. Does nothing if
/// an earlier replacement is not finished.
///
/// # Errors
/// If there is no key file, or the directory cannot be written.
pub fn replace_file(data_dir: &Path) -> anyhow::Result<()> {
    let (file, previous) = (data_dir.join(FILE), data_dir.join(PREVIOUS_FILE));
    let old = read(&file)?.with_context(|| format!("there is no {}", file.display()))?;
    match read(&previous)? {
        None => link_new(&previous, &old)?,
        Some(kept) if kept == old => {}
        Some(_) => return Ok(()),
    }
    let new = write_new(&file, &random())?;
    fs::rename(&new, &file).with_context(|| file.display().to_string())?;
    sync_directory_of(&file)
}

/// Removes the key before, once nothing is sealed with it.
///
/// # Errors
/// If the file exists and cannot be removed.
pub fn forget_previous_file(data_dir: &Path) -> anyhow::Result<()> {
    let previous = data_dir.join(PREVIOUS_FILE);
    match fs::remove_file(&previous) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context(previous.display().to_string()),
        _ => sync_directory_of(&previous),
    }
}

/// Reads a key file; `None` if there is none. Refuses one that others than its owner may read or write: the key may
/// be known to them, and a start that mended the mode would hide that.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read the master key {}", path.display())),
    };
    let mode = file.metadata()?.permissions().mode() & 0o777;
    anyhow::ensure!(
        mode % 0o100 == 0,
        "{} has mode {mode:o}: others than its owner may use the master key. If none of them can have read it, \
         run chmod 600 {0}; if not, run liveplan keys rotate master afterwards",
        path.display()
    );
    let mut text = String::new();
    io::Read::read_to_string(&mut file, &mut text).with_context(|| path.display().to_string())?;
    Ok(Some(text))
}

fn random() -> String {
    BASE64_STANDARD.encode(rand::random::<[u8; 32]>())
}

/// Makes a key file, or reads the one that another process has just made.
fn make(path: &Path) -> anyhow::Result<String> {
    let text = random();
    match link_new(path, &text) {
        Ok(()) => Ok(text),
        Err(error) => match read(path)? {
            Some(text) => Ok(text),
            None => Err(error),
        },
    }
}

/// Makes a file with this content, whole or not at all. Never replaces one.
fn link_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = write_new(path, text)?;
    let linked = fs::hard_link(&new, path).with_context(|| format!("cannot make {}", path.display()));
    let _ = fs::remove_file(&new);
    linked?;
    sync_directory_of(path)
}

/// Writes a file beside `path`, readable by its owner only, and returns its path.
fn write_new(path: &Path, text: &str) -> anyhow::Result<PathBuf> {
    let new = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let written = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().with_context(|| format!("cannot write {}", new.display()))?;
    Ok(new)
}

/// Without this, a power failure may undo the file's creation.
fn sync_directory_of(path: &Path) -> anyhow::Result<()> {
    let directory = path.parent().context("a file in no directory")?;
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| directory.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(row: u128) -> Place {
        Place {
            table: "signing_keys",
            row: Uuid::from_u128(row),
            purpose: "signing",
        }
    }

    fn key(byte: u8) -> String {
        BASE64_STANDARD.encode([byte; 32])
    }

    #[test]
    fn a_seal_opens_for_what_it_seals_and_for_nothing_else() {
        let master = MasterKey::of(&key(1), None).expect("a key");
        let sealed = master.seal(&place(1), b"secret").expect("sealed");
        assert_eq!(master.open(&place(1), &sealed).expect("opened"), b"secret");
        let elsewhere = [
            place(2),
            Place {
                table: "sealed_secrets",
                ..place(1)
            },
            Place {
                purpose: "broker",
                ..place(1)
            },
        ];
        for other in elsewhere {
            assert!(master.open(&other, &sealed).is_err(), "{other:?}");
        }
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(master.open(&place(1), &altered).is_err(), "byte {at}");
            assert!(master.open(&place(1), &sealed[..at]).is_err(), "{at} bytes");
        }
        let other = MasterKey::of(&key(2), None).expect("a key");
        assert!(other.open(&place(1), &sealed).is_err());
    }

    #[test]
    fn two_master_keys_open_and_the_first_one_seals() {
        let old = MasterKey::of(&key(1), None).expect("a key");
        let both = MasterKey::of(&key(2), Some(&key(1))).expect("keys");
        let new = MasterKey::of(&key(2), None).expect("a key");
        let (by_old, by_both) = (
            old.seal(&place(1), b"secret").expect("sealed"),
            both.seal(&place(1), b"secret").expect("sealed"),
        );
        assert_eq!(both.open(&place(1), &by_old).expect("opened"), b"secret");
        assert_eq!(new.open(&place(1), &by_both).expect("opened"), b"secret");
        assert!(old.open(&place(1), &by_both).is_err());
        assert!(both.is_current(&by_both) && !both.is_current(&by_old));
    }

    #[test]
    fn a_seal_of_an_earlier_release_is_only_opened_on_purpose() {
        let master = MasterKey::of(&key(1), None).expect("a key");
        let nonce = [5; NONCE_BYTES];
        let cipher = XChaCha20Poly1305::new_from_slice(&[1; 32]).expect("a cipher");
        let sealed = cipher.encrypt(&XNonce::from(nonce), &b"secret"[..]).expect("sealed");
        let sealed = [&nonce[..], &sealed].concat();
        assert!(master.open(&place(1), &sealed).is_err());
        assert_eq!(master.open_unplaced(&sealed).expect("opened"), b"secret");
        let placed = master.seal(&place(1), b"secret").expect("sealed");
        assert_eq!(master.open_unplaced(&placed), None);
    }

    #[test]
    fn a_key_file_is_made_once_for_its_owner_alone_and_never_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE);
        let made = make(&path).expect("made");
        assert_eq!(
            fs::metadata(&path).expect("it exists").permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(make(&path).expect("the same"), made);
        assert_eq!(read(&path).expect("read"), Some(made.clone()));
        for mode in [0o640, 0o604, 0o622, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
            let refused = format!("{:#}", read(&path).expect_err("others may read it"));
            assert!(refused.contains("chmod 600"), "{refused}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
        assert_eq!(read(&path).expect("read"), Some(made));
        assert_eq!(
            fs::read_dir(dir.path()).expect("a directory").count(),
            1,
            "nothing is left over"
        );
    }

    #[test]
    fn any_error_but_a_missing_file_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(FILE);
        // A directory cannot be read as a file, whoever runs the test.
        fs::create_dir(&path).expect("a directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("permissions");
        assert!(read(&path).is_err());
        assert!(make(&path).is_err());
        fs::remove_dir(&path).expect("removed");
        fs::write(&path, [0xff, 0xfe]).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
        assert!(make(&path).is_err(), "it is not text");
        assert_eq!(fs::read(&path).expect("still there"), [0xff, 0xfe]);
    }

    #[test]
    fn a_replacement_that_was_interrupted_goes_on_with_the_same_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = make(&dir.path().join(FILE)).expect("made");
        replace_file(dir.path()).expect("replaced");
        let (new, previous) = (read(&dir.path().join(FILE)), read(&dir.path().join(PREVIOUS_FILE)));
        let new = new.expect("read").expect("a key");
        assert_eq!(previous.expect("read"), Some(old.clone()));
        assert_ne!(new, old);
        replace_file(dir.path()).expect("nothing to do");
        assert_eq!(read(&dir.path().join(FILE)).expect("read"), Some(new));
        forget_previous_file(dir.path()).expect("removed");
        forget_previous_file(dir.path()).expect("there is none");
        assert_eq!(read(&dir.path().join(PREVIOUS_FILE)).expect("read"), None);
    }
}
