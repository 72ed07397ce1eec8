//! Locates the cluster (`pg`) and the files beside it: `pg.new`, `pg.lock`, `pg.log`, `pg.run`.
//!
//! They lie in the data directory, with one exception. Root drops to an account that may be unable to reach the data
//! directory, for example in a clone below `/root`. This crate does not open `/root` to others: it puts the cluster
//! into a new directory below `/var/lib/HOST` and makes `pg` in the data directory a link to it. Only that link
//! identifies the cluster. A data directory without it gets a new cluster, so that a recreated data directory never
//! opens the database of its predecessor at the same path.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Host;
use super::account::{self, Account};

pub(super) const PORT: u16 = 5432;

/// Bytes of a socket's path: `sun_path` holds 104 on macOS and 108 on Linux, with the terminating zero.
const SOCKET_PATH_MAX: usize = 103;

/// How long to wait for the lock: a predecessor that is shutting down still holds it.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Home {
    cluster: PathBuf,
    pub(super) account: Account,
    pub(super) host: Host,
}

/// Where root stores what the dropped-to account cannot reach in the data directory.
pub(super) fn elsewhere(host: &Host) -> PathBuf {
    Path::new("/var/lib").join(host.name)
}

impl Home {
    pub(super) fn resolve(data_dir: &Path, host: Host) -> anyhow::Result<Self> {
        let data_dir = fs::create_dir_all(data_dir)
            .and_then(|()| data_dir.canonicalize())
            .with_context(|| format!("creating the data directory {}", data_dir.display()))?;
        let entry = data_dir.join("pg");
        if is_unset(&entry)? && !Account::for_cluster(&entry, &host)?.can_enter(&data_dir)? {
            link_elsewhere(&entry, &elsewhere(&host))?;
        }

        let cluster = followed(&entry)?;
        let account = Account::for_cluster(&cluster, &host)?;
        let home = Self { cluster, account, host };
        if !home.account.can_enter(home.dir())? {
            bail!(
                "{} runs PostgreSQL but cannot reach {}: move it where {0} can, \
                 or run {} as another user",
                home.account.name,
                home.cluster.display(),
                host.name
            );
        }
        Ok(home)
    }

    /// The Postgres data directory: not a link, and all but its last component exist.
    pub(super) fn cluster(&self) -> &Path {
        &self.cluster
    }

    /// A path beside the cluster: `pg.new` for `new`.
    pub(super) fn beside(&self, extension: &str) -> PathBuf {
        let mut name = OsString::from(&self.cluster);
        name.push(".");
        name.push(extension);
        name.into()
    }

    pub(super) fn dir(&self) -> &Path {
        self.cluster.parent().unwrap_or(Path::new("/"))
    }

    /// Takes the lock that keeps a second process out. The lock lies beside the cluster and not in the host's data
    /// directory, since two data directories with a copied link lead to one cluster.
    pub(super) async fn lock(&self) -> anyhow::Result<File> {
        let path = self.beside("lock");
        let file = self.open(&path, false)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(TryLockError::WouldBlock) => bail!(
                    "another {} uses the database in {}: stop it, or give this one another {} or a {}",
                    self.host.name,
                    self.cluster.display(),
                    self.host.data_dir_setting,
                    self.host.database_setting
                ),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
        }
    }

    /// Opens Postgres's own log for appending. It is private, since it may contain personal data.
    pub(super) fn open_log(&self) -> anyhow::Result<File> {
        self.open(&self.beside("log"), true)
    }

    fn open(&self, path: &Path, append: bool) -> anyhow::Result<File> {
        let file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .append(append)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("opening {}", path.display()))?;
        self.account.own(path)?;
        Ok(file)
    }

    /// A private directory for the socket: beside the cluster, or in the temporary directory if that path is too long
    /// for a socket or contains a character that is special to Postgres.
    pub(super) fn socket_dir(&self) -> anyhow::Result<PathBuf> {
        let near = self.beside("run");
        let dir = if fits_a_socket(&near) {
            near
        } else {
            // Root's TMPDIR may be unreachable for other accounts.
            let temp = if account::is_root() {
                PathBuf::from("/tmp")
            } else {
                std::env::temp_dir()
            };
            let dir = temp.join(format!("{}-{:016x}", self.host.name, fnv(&self.cluster)));
            if !fits_a_socket(&dir) {
                bail!(
                    "{} and {} are both too long for a Unix socket: set a shorter {} or TMPDIR",
                    near.display(),
                    dir.display(),
                    self.host.data_dir_setting
                );
            }
            dir
        };
        make_private(&dir, &self.account)?;
        Ok(dir)
    }
}

/// Creates a directory that only the account can access; refuses an existing one that is not.
pub(super) fn make_private(dir: &Path, account: &Account) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => account.own(dir)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => account.own_copied(dir)?,
        Err(error) => return Err(error).with_context(|| format!("creating {}", dir.display())),
    }
    if !account.is_private(dir)? {
        bail!(
            "{} must be a directory that belongs to {} and that nobody else can read: remove it",
            dir.display(),
            account.name
        );
    }
    Ok(())
}

fn is_unset(entry: &Path) -> anyhow::Result<bool> {
    match fs::symlink_metadata(entry) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| entry.display().to_string()),
    }
}

/// Resolves the links from `entry` to the cluster's path. The cluster need not exist yet, but its parent must: if the
/// parent has disappeared, so has a database, and an empty one must not silently replace it.
fn followed(entry: &Path) -> anyhow::Result<PathBuf> {
    let mut path = entry.to_owned();
    let mut hops = 0;
    while let Ok(target) = fs::read_link(&path) {
        path = path.parent().unwrap_or(entry).join(target);
        hops += 1;
        if hops > 40 {
            bail!("{} is a link to itself", entry.display());
        }
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!(
            "{} is a link to {}, where no database can be",
            entry.display(),
            path.display()
        );
    };
    let parent = parent.canonicalize().with_context(|| {
        format!(
            "{} is a link to {}, which is gone: restore it, or remove the link to start with \
             an empty database",
            entry.display(),
            path.display()
        )
    })?;
    Ok(parent.join(name))
}

/// Creates a new directory below `base` and links `entry` to the future cluster in it. If two processes do this at
/// once, the second one follows the link of the first.
fn link_elsewhere(entry: &Path, base: &Path) -> anyhow::Result<()> {
    make_open(base)?;
    let mut number = 1;
    let dir = loop {
        let dir = base.join(format!("{:016x}-{number}", fnv(entry)));
        match DirBuilder::new().mode(0o755).create(&dir) {
            Ok(()) => break dir,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error).with_context(|| format!("creating {}", dir.display())),
        }
    };
    open_up(&dir)?;
    match symlink(dir.join("pg"), entry) {
        Ok(()) => {
            // Tells an administrator which data directory this database belongs to.
            symlink(entry, dir.join("used-by")).context("linking back")?;
            tracing::warn!(
                "the account that runs PostgreSQL cannot reach {}: the database is in {}",
                entry.display(),
                dir.display()
            );
            Ok(())
        }
        Err(error) => {
            fs::remove_dir(&dir)?;
            if error.kind() == io::ErrorKind::AlreadyExists {
                return Ok(());
            }
            Err(error).with_context(|| format!("linking {} to a directory elsewhere", entry.display()))
        }
    }
}

/// Creates a directory, owned by root, that everyone can enter whatever the umask.
pub(super) fn make_open(dir: &Path) -> anyhow::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    open_up(dir)
}

fn open_up(dir: &Path) -> anyhow::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("opening {} to others", dir.display()))
}

fn fits_a_socket(dir: &Path) -> bool {
    let socket = dir.join(format!(".s.PGSQL.{PORT}"));
    socket.as_os_str().len() <= SOCKET_PATH_MAX && dir.to_str().is_some_and(|dir| !dir.contains([',', '"', '\n']))
}

/// FNV-1a. Unlike std's hasher, it gives the same result in every release.
pub(super) fn fnv(path: &Path) -> u64 {
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{fits_a_socket, fnv, followed};

    #[test]
    fn a_socket_directory_has_a_short_path_without_special_characters() {
        assert!(fits_a_socket(Path::new("/srv/a b/pg.run")));
        assert!(!fits_a_socket(Path::new("/srv/a,b/pg.run")));
        let longest = format!("/{}", "x".repeat(88));
        assert!(fits_a_socket(Path::new(&longest)));
        assert!(!fits_a_socket(Path::new(&format!("{longest}x"))));
    }

    #[test]
    fn the_hash_matches_the_published_test_vector() {
        assert_eq!(fnv(Path::new("a")), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn a_cluster_that_does_not_exist_yet_resolves_to_its_path() {
        let here = std::env::temp_dir().canonicalize().unwrap();
        assert_eq!(
            followed(&here.join("no-such-cluster")).unwrap(),
            here.join("no-such-cluster")
        );
    }
}
