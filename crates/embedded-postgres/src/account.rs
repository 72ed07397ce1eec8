//! The account that runs Postgres. Postgres refuses to run as root, so root drops privileges to another account.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::Host;

/// The environment variables that Postgres inherits. All others are withheld: they hold secrets and `PG*` settings.
const PASSED_ON: [&str; 5] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TMPDIR",
    "LOCALE_ARCHIVE",
];

/// The account that runs the Postgres processes and owns the cluster's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    uid: u32,
    gid: u32,
    /// Whether it differs from this process's account, which is then root.
    dropped: bool,
}

impl Account {
    /// Chooses the account. As root: the owner of an existing cluster; for a new one `postgres`, or else `nobody`. Any
    /// other user runs Postgres as itself.
    pub(super) fn for_cluster(cluster: &Path, host: &Host) -> anyhow::Result<Self> {
        let passwd = || fs::read_to_string("/etc/passwd").context("reading /etc/passwd");
        let owner = match fs::metadata(cluster) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| cluster.display().to_string()),
        };

        if !is_root() {
            let uid = rustix::process::geteuid().as_raw();
            if let Some(owner) = owner
                && owner.uid() != uid
            {
                let name = passwd()
                    .ok()
                    .and_then(|passwd| by_uid(&passwd, owner.uid()))
                    .map_or_else(|| format!("uid {}", owner.uid()), |account| account.name);
                bail!(
                    "the database in {} belongs to {name}: run {} as root or as {name}",
                    cluster.display(),
                    host.name
                );
            }
            let gid = rustix::process::getegid().as_raw();
            return Ok(Self {
                name: format!("uid {uid}"),
                uid,
                gid,
                dropped: false,
            });
        }

        if let Some(owner) = owner
            && owner.uid() != 0
        {
            let known = passwd().ok().and_then(|passwd| by_uid(&passwd, owner.uid()));
            return Ok(known.unwrap_or_else(|| Self {
                name: format!("uid {}", owner.uid()),
                uid: owner.uid(),
                gid: owner.gid(),
                dropped: true,
            }));
        }
        let passwd = passwd()?;
        by_name(&passwd, "postgres")
            .or_else(|| by_name(&passwd, "nobody"))
            .with_context(|| {
                format!(
                    "PostgreSQL does not run as root, and /etc/passwd knows neither postgres nor \
                     nobody: run {} as another user, or set {}",
                    host.name, host.database_setting
                )
            })
    }

    pub(super) fn dropped(&self) -> bool {
        self.dropped
    }

    /// A command that runs as this account, in `/` and with a minimal environment. When the user changes, std also
    /// clears the supplementary groups.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .current_dir("/")
            .env_clear()
            .env("LC_ALL", "C");
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if self.dropped {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Whether the account can enter the directory. It tries, since access depends on more than mode bits.
    pub(super) fn can_enter(&self, dir: &Path) -> anyhow::Result<bool> {
        if !self.dropped {
            return Ok(true);
        }
        let status = self
            .command("/bin/sh")
            .args(["-c", "cd -- \"$0\""])
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("running a command as {}", self.name))?;
        Ok(status.success())
    }

    /// Gives one file or directory to the account.
    pub(super) fn own(&self, path: &Path) -> anyhow::Result<()> {
        if self.dropped {
            lchown(path, Some(self.uid), Some(self.gid))
                .with_context(|| format!("giving {} to {}", path.display(), self.name))?;
        }
        Ok(())
    }

    /// Gives a directory to the account if root copied it there and so owns it.
    pub(super) fn own_copied(&self, dir: &Path) -> anyhow::Result<()> {
        let metadata = fs::symlink_metadata(dir)?;
        if self.dropped && metadata.is_dir() && metadata.uid() == 0 {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
            self.own_tree(dir)?;
        }
        Ok(())
    }

    /// Changes the root of the tree last, so that an interrupted call is repeated from the start.
    fn own_tree(&self, path: &Path) -> anyhow::Result<()> {
        if fs::symlink_metadata(path)?.is_dir() {
            for entry in fs::read_dir(path)? {
                self.own_tree(&entry?.path())?;
            }
        }
        self.own(path)
    }

    /// Whether the account owns the directory and nobody else can access it.
    pub(super) fn is_private(&self, dir: &Path) -> io::Result<bool> {
        let metadata = fs::symlink_metadata(dir)?;
        let mode = metadata.mode() & 0o777;
        Ok(metadata.is_dir() && metadata.uid() == self.uid && mode == 0o700)
    }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn by_name(passwd: &str, name: &str) -> Option<Account> {
    accounts(passwd).find(|account| account.name == name)
}

fn by_uid(passwd: &str, uid: u32) -> Option<Account> {
    accounts(passwd).find(|account| account.uid == uid)
}

/// Parses the accounts in the text of `/etc/passwd`.
fn accounts(passwd: &str) -> impl Iterator<Item = Account> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some(Account {
            name: fields.next()?.to_owned(),
            uid: fields.nth(1)?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
            dropped: true,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{by_name, by_uid};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        # a comment\n\
        nobody:x:65534:65533::/:/usr/sbin/nologin\n\
        postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn accounts_are_found_by_name_and_by_number() {
        let postgres = by_name(PASSWD, "postgres").unwrap();
        assert_eq!((postgres.uid, postgres.gid), (101, 104));
        assert_eq!(by_uid(PASSWD, 65534).unwrap().name, "nobody");
        assert_eq!(by_name(PASSWD, "mysql"), None);
    }
}
