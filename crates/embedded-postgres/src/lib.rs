//! Runs a Postgres for one program, the host, in a directory of the host's.
//!
//! This crate owns one cluster: where it lies and who may run it (`home`, `account`), which
//! installed `PostgreSQL` opens it (`find`), its making (`cluster`) and its process (`postmaster`).
//! It creates no database and knows no schema. Others use [`EmbeddedPostgres`] and [`Options`]; what
//! the host's users see, names and settings, comes in with [`Host`].
//!
//! A host that is killed leaves its postmaster running; the next start adopts it. A handle
//! that is dropped without [`EmbeddedPostgres::stop`] asks the postmaster to end and does not
//! wait; one that is never dropped (in a `static`) leaves it running.

mod account;
mod cluster;
mod find;
mod home;
mod postmaster;

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use self::home::Home;
use self::postmaster::Postmaster;

/// The program that the cluster belongs to: the names that its users know.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Its name, of lower-case letters, digits and hyphens. The superuser is called so (who needs no password, since the
    /// socket's directory is private), and what lies outside the data directory: `/var/lib/NAME`, a socket in `/tmp`.
    pub name: &'static str,
    /// The setting of its data directory.
    pub data_dir_setting: &'static str,
    /// The setting of [`Options::pg_bindir`].
    pub bindir_setting: &'static str,
    /// The setting that names a database server to use instead of this one.
    pub database_setting: &'static str,
    /// How its users get [`Options::fetched`], as a part of the sentence "install one, …, or set …".
    pub fetch_hint: &'static str,
    /// The command that writes the data to a file, for a Postgres of another major version.
    pub backup_command: &'static str,
    /// The command that reads it back.
    pub restore_command: &'static str,
}

/// How to run the cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose it is.
    pub host: Host,
    /// The directory with `initdb` and `postgres`; searched for when `None`.
    pub pg_bindir: Option<PathBuf>,
    /// A package with `PostgreSQL` that was fetched from PyPI or npm, its root or the directory of its programs: the
    /// first place of the search. It need not exist.
    pub fetched: Option<PathBuf>,
    /// `false` gives up safety against power failure for speed: for tests.
    pub durable: bool,
    /// Further settings (`work_mem`, `64MB`); they win over ours.
    pub extra: Vec<(String, String)>,
}

impl Options {
    /// A durable cluster, with whatever `PostgreSQL` is installed.
    pub const fn new(host: Host) -> Self {
        Self {
            host,
            pg_bindir: None,
            fetched: None,
            durable: true,
            extra: Vec::new(),
        }
    }
}

/// A running Postgres that only this process uses.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    // Before the lock: the postmaster must be told to end before another process may look.
    postmaster: Postmaster,
    superuser: &'static str,
    major: u32,
    /// Held for as long as the handle lives; the kernel releases it when we are killed.
    _lock: File,
}

impl EmbeddedPostgres {
    /// Adopts the postmaster of a killed predecessor, or starts one, making the cluster first if
    /// there is none. The cluster lies in `data_dir/pg`, or there is a link to where the account
    /// that runs Postgres can reach it.
    ///
    /// # Errors
    ///
    /// If another process uses the directory, no fitting `PostgreSQL` is installed, or Postgres
    /// refuses to start; the message says what to do, or what Postgres said.
    pub async fn start(data_dir: &Path, options: Options) -> anyhow::Result<Self> {
        let home = Home::resolve(data_dir, options.host)?;
        let superuser = options.host.name;
        let lock = home.lock().await?;
        let made_by = cluster::major(&home)?;

        if let Some(major) = made_by {
            home.account.own_copied(home.cluster())?;
            if let Some(postmaster) = Postmaster::adopt(&home).await? {
                return Ok(Self {
                    postmaster,
                    superuser,
                    major,
                    _lock: lock,
                });
            }
        }

        let binaries = find::find(&home, &options, made_by)?;
        if made_by.is_none() {
            cluster::create(&home, &binaries, options.durable).await?;
        }
        Ok(Self {
            postmaster: Postmaster::start(&home, &binaries, &options).await?,
            superuser,
            major: binaries.major,
            _lock: lock,
        })
    }

    /// The connection string of a database, through the Unix socket and as superuser.
    pub fn url(&self, database: &str) -> String {
        let socket_dir = self.postmaster.socket_dir().as_os_str().as_bytes();
        format!(
            "postgresql://{}@{}:{}/{}",
            self.superuser,
            percent_encoded(socket_dir),
            self.postmaster.port(),
            percent_encoded(database.as_bytes()),
        )
    }

    /// The major version of the running Postgres.
    pub fn version(&self) -> u32 {
        self.major
    }

    /// Ends every session, shuts Postgres down and waits until it is down.
    ///
    /// # Errors
    ///
    /// If the postmaster cannot be signalled.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.postmaster.stop().await
    }

    /// What `kill -9` of this process leaves behind: the lock is free, the postmaster runs on.
    #[doc(hidden)]
    pub fn abandon(mut self) {
        self.postmaster.release();
    }
}

/// In a URL a socket directory may hold any byte; the `key=value` form splits it at commas.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut encoded = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn a_path_survives_in_a_url() {
        assert_eq!(percent_encoded(b"/a b,c/pg.run"), "%2Fa%20b%2Cc%2Fpg.run");
    }
}
