//! Runs a Postgres for one program (the host) in a directory of the host's.
//!
//! This crate owns one cluster: its place and account (`home`, `account`), the installed `PostgreSQL` that runs it
//! (`find`), its creation (`cluster`) and its process (`postmaster`). It creates no database and knows no schema. Its
//! interface is [`EmbeddedPostgres`] and [`Options`]; the names and settings that the host's users see come from
//! [`Host`].
//!
//! A killed host leaves its postmaster running, and the next start adopts it. A handle that is dropped without
//! [`EmbeddedPostgres::stop`] tells the postmaster to shut down and does not wait. A handle that is never dropped (in a
//! `static`) leaves it running.

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

/// The program that the cluster belongs to, in the words that its users know.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Its name, of lower-case letters, digits and hyphens. It names the superuser, who needs no password because the
    /// socket's directory is private, and everything outside the data directory: `/var/lib/NAME`, a socket in `/tmp`.
    pub name: &'static str,
    /// The name of the setting for its data directory.
    pub data_dir_setting: &'static str,
    /// The name of the setting for [`Options::pg_bindir`].
    pub bindir_setting: &'static str,
    /// The name of the setting for a database server to use instead of this one.
    pub database_setting: &'static str,
    /// How its users get [`Options::fetched`], as part of the sentence "install one, …, or set …".
    pub fetch_hint: &'static str,
    /// The command that exports the data, for a Postgres of another major version.
    pub backup_command: &'static str,
    /// The command that imports it again.
    pub restore_command: &'static str,
}

/// How to run the cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program that the cluster belongs to.
    pub host: Host,
    /// The directory with `initdb` and `postgres`; `None` searches for it.
    pub pg_bindir: Option<PathBuf>,
    /// A `PostgreSQL` package fetched from PyPI or npm: its root or the directory of its programs. The search starts
    /// here. The path need not exist.
    pub fetched: Option<PathBuf>,
    /// `false` trades safety against power failure for speed; for tests.
    pub durable: bool,
    /// Further settings, such as (`work_mem`, `64MB`). They override the built-in ones.
    pub extra: Vec<(String, String)>,
}

impl Options {
    /// A durable cluster, run by any suitable `PostgreSQL` found.
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

/// A running Postgres, used by this process alone.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    // Declared before the lock: the postmaster must get its signal before another process can take the lock.
    postmaster: Postmaster,
    superuser: &'static str,
    major: u32,
    /// Held as long as the handle lives; the kernel releases it if this process is killed.
    _lock: File,
}

impl EmbeddedPostgres {
    /// Adopts the postmaster of a killed predecessor or starts one, creating the cluster first if there is none. The
    /// cluster lies in `data_dir/pg`, or `data_dir/pg` is a link to a directory that the account running Postgres can
    /// reach.
    ///
    /// # Errors
    ///
    /// Another process uses the directory, no suitable `PostgreSQL` is installed, or Postgres does not start; the
    /// message says what to do or quotes Postgres's log.
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

    /// The connection URL of a database, through the Unix socket and as superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_as(self.superuser, database)
    }

    /// The connection URL of a database, through the Unix socket and as a user of the host's own making.
    pub fn url_as(&self, user: &str, database: &str) -> String {
        let socket_dir = self.postmaster.socket_dir().as_os_str().as_bytes();
        format!(
            "postgresql://{}@{}:{}/{}",
            percent_encoded(user.as_bytes()),
            percent_encoded(socket_dir),
            self.postmaster.port(),
            percent_encoded(database.as_bytes()),
        )
    }

    /// The major version of the running Postgres.
    pub fn version(&self) -> u32 {
        self.major
    }

    /// Terminates every session, shuts Postgres down and waits until it has exited.
    ///
    /// # Errors
    ///
    /// The postmaster cannot be signalled.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.postmaster.stop().await
    }

    /// Simulates `kill -9` of this process: releases the lock and leaves the postmaster running.
    #[doc(hidden)]
    pub fn abandon(mut self) {
        self.postmaster.release();
    }
}

/// Percent-encodes a value for a URL. A URL can then carry any socket directory; the `key=value` form splits at commas.
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
