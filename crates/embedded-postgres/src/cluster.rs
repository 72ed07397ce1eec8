//! Creates a cluster and reads its version.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Output;

use anyhow::{Context as _, bail};

use super::find::Binaries;
use super::home::{self, Home};

/// The major version that created the cluster; `None` if there is no cluster yet.
pub(super) fn major(home: &Home) -> anyhow::Result<Option<u32>> {
    let file = home.cluster().join("PG_VERSION");
    match fs::read_to_string(&file) {
        Ok(version) => {
            let major = version
                .trim()
                .parse()
                .with_context(|| format!("{} does not contain a major version", file.display()))?;
            Ok(Some(major))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // An empty directory counts as no cluster.
            if fs::read_dir(home.cluster()).is_ok_and(|mut entries| entries.next().is_some()) {
                bail!(
                    "{} contains something else than a PostgreSQL cluster",
                    home.cluster().display()
                );
            }
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// Runs `initdb` in a directory beside the cluster's and renames the result into place, so that a cluster exists
/// completely or not at all.
pub(super) async fn create(home: &Home, binaries: &Binaries, durable: bool) -> anyhow::Result<()> {
    let new = home.beside("new");
    let mut failure = None;
    for locale in locales(binaries.major) {
        remove_leftover(&new)?;
        home::make_private(&new, &home.account)?;
        let output = initdb(home, binaries, &new, &locale, durable).await?;
        if output.status.success() {
            fs::rename(&new, home.cluster())
                .and_then(|()| File::open(home.dir())?.sync_all())
                .with_context(|| format!("moving {} into place", new.display()))?;
            return Ok(());
        }
        let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let unknown_locale = error.contains("locale");
        failure.get_or_insert(error);
        if !unknown_locale {
            break;
        }
    }
    remove_leftover(&new)?;
    bail!(
        "initdb could not create a cluster in {}: {}",
        home.cluster().display(),
        failure.unwrap_or_default()
    )
}

/// The locales to try, best first. All are UTF-8 and sort by code point, so that no update of the system's collations
/// can corrupt an index. The last one exists on every system.
fn locales(major: u32) -> Vec<Vec<&'static str>> {
    let mut locales = vec![vec!["--locale=C.UTF-8"]];
    if major >= 17 {
        locales.push(vec![
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]);
    }
    locales.push(vec!["--locale=C"]);
    locales
}

async fn initdb(
    home: &Home,
    binaries: &Binaries,
    new: &Path,
    locale: &[&str],
    durable: bool,
) -> anyhow::Result<Output> {
    let program = binaries.program("initdb");
    let mut command = home.account.command(&program);
    command
        .arg("--pgdata")
        .arg(new)
        .args(["--username", home.host.name])
        .args(["--auth=trust", "--encoding=UTF8", "--no-instructions"])
        .args(locale);
    if !durable {
        command.arg("--no-sync");
    }
    tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("running {}", program.display()))
}

/// Removes the remains of an interrupted `initdb`.
fn remove_leftover(new: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", new.display()))
        }
        _ => Ok(()),
    }
}
