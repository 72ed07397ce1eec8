//! Where the cluster lies, and what lies beside it: `pg`, `pg.new`, `pg.lock`, `pg.log`, `pg.run`.
//!
//! That is the data directory, with one exception. Root drops to an account that may not be able to
//! reach it (a clone below `/root`). Opening `/root` to others is not ours to do, so the cluster
//! then lies in a directory of its own below `/var/lib` and the host's name, and `pg` in the data
//! directory is a link to it. The link decides: without it a new directory is taken, so a fresh
//! data directory at an old path never meets an old database.

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

/// A socket's path must fit into `sun_path`: 104 bytes with the final zero on macOS, 108 on Linux.
const SOCKET_PATH_MAX: usize = 103;

/// A predecessor that was told to end may need a moment to do so.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Home {
    cluster: PathBuf,
    pub(super) account: Account,
    pub(super) host: Host,
}

/// Where root keeps what the account it drops to cannot reach in the data directory.
pub(super) fn elsewhere(host: &Host) -> PathBuf {
    Path::new("/var/lib").join(host.name)
}

impl Home {
    pub(super) fn resolve(data_dir: &Path, host: Host) -> anyhow::Result<Self> {
        let data_dir = fs::create_dir_all(data_dir)
            .and_then(|()| data_dir.canonicalize())
            .with_context(|| format!("making the data directory {}", data_dir.display()))?;
        let entry = data_dir.join("pg");
        if is_unset(&entry)? && !Account::for_cluster(&entry, &host)?.can_enter(&data_dir)? {
            link_elsewhere(&entry, &elsewhere(&host))?;
        }

        let cluster = followed(&entry)?;
        let account = Account::for_cluster(&cluster, &host)?;
        let home = Self { cluster, account, host };
        if !home.account.can_enter(home.dir())? {
            bail!(
                "{} runs PostgreSQL but cannot reach {}: move it to where {0} can, \
                 or run {} as another user",
                home.account.name,
                home.cluster.display(),
                host.name
            );
        }
        Ok(home)
    }

    /// The data directory of Postgres: no link, and all but the last component exist.
    pub(super) fn cluster(&self) -> &Path {
        &self.cluster
    }

    /// A neighbour of the cluster: `pg.new` for `new`.
    pub(super) fn beside(&self, extension: &str) -> PathBuf {
        let mut name = OsString::from(&self.cluster);
        name.push(".");
        name.push(extension);
        name.into()
    }

    pub(super) fn dir(&self) -> &Path {
        self.cluster.parent().unwrap_or(Path::new("/"))
    }

    /// Keeps a second process out. The lock lies beside the cluster and not in the data directory,
    /// so that a copied link does not lead two of them to one cluster.
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

    /// Postgres' own log, to append to. It can hold people's data, hence private.
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

    /// A private directory for the socket: beside the cluster or, where that is too long for a
    /// socket or has a character that Postgres gives a meaning to, in the temporary directory.
    pub(super) fn socket_dir(&self) -> anyhow::Result<PathBuf> {
        let near = self.beside("run");
        let dir = if fits_a_socket(&near) {
            near
        } else {
            // Root's TMPDIR can be one that only root reaches.
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

/// Makes a directory that is the account's alone, and takes no one else's for it.
pub(super) fn make_private(dir: &Path, account: &Account) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => account.own(dir)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => account.own_copied(dir)?,
        Err(error) => return Err(error).with_context(|| format!("making {}", dir.display())),
    }
    if !account.is_private(dir)? {
        bail!(
            "{} must be a directory that belongs to {} and nobody else can read: remove it",
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

/// The path of the cluster behind `entry`, which need not exist yet, unlike its parent: a parent
/// that is gone took a database with it, and an empty one must not take its place.
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
            "{} leads to {}, which is no place for a database",
            entry.display(),
            path.display()
        );
    };
    let parent = parent.canonicalize().with_context(|| {
        format!(
            "{} is a link to {}, which is gone: bring it back, or remove the link to begin with \
             an empty database",
            entry.display(),
            path.display()
        )
    })?;
    Ok(parent.join(name))
}

/// Takes a new directory below `base` and leaves a link to the cluster-to-be in it. A second
/// process that does the same at the same time loses and follows the winner's link.
fn link_elsewhere(entry: &Path, base: &Path) -> anyhow::Result<()> {
    make_open(base)?;
    let mut number = 1;
    let dir = loop {
        let dir = base.join(format!("{:016x}-{number}", fnv(entry)));
        match DirBuilder::new().mode(0o755).create(&dir) {
            Ok(()) => break dir,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error).with_context(|| format!("making {}", dir.display())),
        }
    };
    open_up(&dir)?;
    match symlink(dir.join("pg"), entry) {
        Ok(()) => {
            // Says to an administrator whose database this is.
            symlink(entry, dir.join("used-by")).context("linking back")?;
            tracing::warn!(
                "the account that runs PostgreSQL cannot reach {}: its database lies in {}",
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
            Err(error).with_context(|| format!("linking {} elsewhere", entry.display()))
        }
    }
}

/// Makes a directory of root's that everybody can enter, whatever the umask.
pub(super) fn make_open(dir: &Path) -> anyhow::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
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

/// FNV-1a. Unlike std's hasher it is the same in every release.
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
    fn a_socket_directory_is_short_and_plain() {
        assert!(fits_a_socket(Path::new("/srv/a b/pg.run")));
        assert!(!fits_a_socket(Path::new("/srv/a,b/pg.run")));
        let longest = format!("/{}", "x".repeat(88));
        assert!(fits_a_socket(Path::new(&longest)));
        assert!(!fits_a_socket(Path::new(&format!("{longest}x"))));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv(Path::new("a")), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn a_cluster_that_does_not_exist_yet_has_a_path() {
        let here = std::env::temp_dir().canonicalize().unwrap();
        assert_eq!(
            followed(&here.join("no-such-cluster")).unwrap(),
            here.join("no-such-cluster")
        );
    }
}
