//! Starts, adopts, awaits and stops the Postgres process.
//!
//! `postmaster.pid` records which process runs the cluster, where its socket is and whether it is ready. Only Postgres
//! writes and removes it: together with the shared memory key in it, the file keeps a new postmaster out while backends
//! of a killed one still run.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};
use tokio::net::UnixStream;

use super::Options;
use super::account::Account;
use super::find::Binaries;
use super::home::{Home, PORT};

const POLL: Duration = Duration::from_millis(10);
const LOG_EVERY: Duration = Duration::from_secs(5);
/// How long a postmaster may report "ready" without accepting a connection.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// A log larger than this (16 MiB) is renamed at the next start.
const LOG_MAX_BYTES: u64 = 16 << 20;
const LOG_LINES_IN_ERROR: usize = 20;

#[derive(Debug)]
pub(super) struct Postmaster {
    pid: Pid,
    account: Account,
    cluster: PathBuf,
    socket_dir: PathBuf,
    port: u16,
    /// Whether dropping the handle leaves the process alone.
    released: bool,
}

impl Postmaster {
    /// Takes over the postmaster of a killed predecessor, after waiting for its start-up if necessary. `None` if there
    /// is no postmaster, or once one that is shutting down has exited.
    pub(super) async fn adopt(home: &Home) -> anyhow::Result<Option<Self>> {
        let mut waiting = Waiting::start(format!("the PostgreSQL of a killed {}", home.host.name));
        loop {
            let Some(file) = PidFile::read(home.cluster())? else {
                return Ok(None);
            };
            if !exists(file.pid) || !works_in(file.pid, home.cluster(), &home.account) {
                return Ok(None);
            }
            if file.is_ready() {
                let Some(socket_dir) = &file.socket_dir else {
                    bail!(
                        "a PostgreSQL that {} did not start (pid {}) runs on {}: stop it",
                        home.host.name,
                        file.pid,
                        home.cluster().display()
                    );
                };
                if answers(socket_dir, file.port).await {
                    tracing::info!(postgres.pid = %file.pid, "adopted the running PostgreSQL");
                    return Ok(Some(Self {
                        pid: file.pid,
                        account: home.account.clone(),
                        cluster: home.cluster().to_owned(),
                        socket_dir: socket_dir.clone(),
                        port: file.port,
                        released: false,
                    }));
                }
                if waiting.since.elapsed() > ANSWER_PATIENCE {
                    // Start a new one instead: if something is wrong, Postgres reports it then.
                    return Ok(None);
                }
            }
            waiting.tick().await;
        }
    }

    /// Starts the cluster's postmaster and waits until it accepts connections. The wait has no limit while the process
    /// lives, since crash recovery can take long.
    pub(super) async fn start(home: &Home, binaries: &Binaries, options: &Options) -> anyhow::Result<Self> {
        set_aside_a_long_log(&home.beside("log"))?;
        let mut log = home.open_log()?;
        let log_start = log.seek(SeekFrom::End(0))?;
        let mut postmaster = Self::spawn(home, binaries, options, &log)?;

        let mut waiting = Waiting::start("PostgreSQL to start".to_owned());
        loop {
            if !postmaster.is_running()? {
                postmaster.release();
                bail!(
                    "PostgreSQL did not start in {}; the end of its log ({}):\n{}",
                    home.cluster().display(),
                    home.beside("log").display(),
                    last_lines(log, log_start)?
                );
            }
            if let Some(file) = PidFile::read(home.cluster())?
                && file.pid == postmaster.pid
                && file.is_ready()
                && answers(&postmaster.socket_dir, postmaster.port).await
            {
                return Ok(postmaster);
            }
            waiting.tick().await;
        }
    }

    fn spawn(home: &Home, binaries: &Binaries, options: &Options, log: &File) -> anyhow::Result<Self> {
        let socket_dir = home.socket_dir()?;
        let program = binaries.program("postgres");
        let mut command = home.account.command(&program);
        command.arg("-D").arg(home.cluster());
        for setting in settings(&socket_dir, options) {
            command.arg("-c").arg(setting);
        }
        // Process numbers restart in a container, so a stale pid file easily holds the number of an unrelated process
        // or thread of ours. Postgres would refuse to start, taking it for a postmaster. This variable, which pg_ctl
        // uses too, names a process that is not one.
        if let Some(file) = PidFile::read(home.cluster())?
            && !works_in(file.pid, home.cluster(), &home.account)
        {
            command.env("PG_GRANDPARENT_PID", file.pid.to_string());
        }
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            // Ctrl-C must reach only this process: it drains first and then stops Postgres.
            .process_group(0)
            .spawn()
            .with_context(|| format!("running {}", program.display()))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Self {
            pid: pid.context("a child without a process id")?,
            account: home.account.clone(),
            cluster: home.cluster().to_owned(),
            socket_dir,
            port: PORT,
            released: false,
        })
    }

    pub(super) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Leaves the process running when the handle is dropped.
    pub(super) fn release(&mut self) {
        self.released = true;
    }

    /// Fast shutdown: terminates sessions, writes a checkpoint and returns when the process has exited.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        if self.is_running()? {
            self.tell_to_end()?;
        }
        self.release();
        let mut waiting = Waiting::start("PostgreSQL to stop".to_owned());
        while self.is_running()? {
            waiting.tick().await;
        }
        Ok(())
    }

    fn tell_to_end(&self) -> anyhow::Result<()> {
        match kill_process(self.pid, Signal::INT) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).context("signalling PostgreSQL to shut down"),
        }
    }

    /// Whether the process runs. A child that has exited is reaped here. An adopted process is not a child and can
    /// remain a zombie if pid 1 does not reap, hence the checks of the pid file and of its directory.
    fn is_running(&self) -> anyhow::Result<bool> {
        match waitpid(Some(self.pid), WaitOptions::NOHANG) {
            Ok(None) => Ok(true),
            Ok(Some(_)) => Ok(false),
            Err(_) => Ok(exists(self.pid)
                && PidFile::read(&self.cluster)?.is_some_and(|file| file.pid == self.pid)
                && works_in(self.pid, &self.cluster, &self.account)),
        }
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if !self.released
            && let Err(error) = self.tell_to_end()
        {
            tracing::warn!("{error:#}");
        }
    }
}

fn settings(socket_dir: &Path, options: &Options) -> Vec<OsString> {
    let mut sockets = OsString::from("unix_socket_directories=");
    sockets.push(socket_dir);
    let mut settings = vec![sockets, format!("port={PORT}").into()];
    settings.extend(
        [
            "listen_addresses=",
            "unix_socket_permissions=0700",
            "max_connections=100",
            "jit=off",
            "timezone=UTC",
            "log_timezone=UTC",
        ]
        .map(OsString::from),
    );
    if !options.durable {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(OsString::from));
    }
    let extra = options.extra.iter();
    settings.extend(extra.map(|(name, value)| format!("{name}={value}").into()));
    settings
}

/// The fields of `postmaster.pid`; the file grows while Postgres starts.
#[derive(Debug, PartialEq, Eq)]
struct PidFile {
    pid: Pid,
    port: u16,
    socket_dir: Option<PathBuf>,
    status: String,
}

impl PidFile {
    fn read(cluster: &Path) -> anyhow::Result<Option<Self>> {
        let path = cluster.join("postmaster.pid");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let line = |number: usize| lines.get(number - 1).copied().unwrap_or_default();
        // A standalone backend writes its pid negated; it accepts no connections.
        let pid = Pid::from_raw(line(1).parse::<i32>().ok()?.checked_abs()?)?;
        let socket_dir = line(5);
        Some(Self {
            pid,
            port: line(4).parse().unwrap_or_default(),
            socket_dir: (!socket_dir.is_empty()).then(|| socket_dir.into()),
            status: line(8).to_owned(),
        })
    }

    fn is_ready(&self) -> bool {
        self.status == "ready"
    }
}

/// Whether something listens on the socket. Postgres tolerates a connection that sends nothing.
async fn answers(socket_dir: &Path, port: u16) -> bool {
    let socket = socket_dir.join(format!(".s.PGSQL.{port}"));
    UnixStream::connect(socket).await.is_ok()
}

/// Whether the process exists. One that this process may not signal exists, too.
fn exists(pid: Pid) -> bool {
    !matches!(test_kill_process(pid), Err(Errno::SRCH))
}

/// Whether the process's working directory is the cluster's. That holds for its postmaster and hardly for any other
/// process; a zombie has no working directory. True on systems without `/proc`.
fn works_in(pid: Pid, cluster: &Path, account: &Account) -> bool {
    if !Path::new("/proc/self/cwd").exists() {
        return true;
    }
    let work_dir = format!("/proc/{pid}/cwd");
    match (fs::metadata(&work_dir), fs::metadata(cluster)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        // In a container even root may not inspect processes of other accounts, but the account itself may.
        _ if account.dropped() => account
            .command("/bin/sh")
            .args(["-c", "[ \"$0\" -ef \"$1\" ]", &work_dir])
            .arg(cluster)
            .status()
            .is_ok_and(|status| status.success()),
        _ => false,
    }
}

fn set_aside_a_long_log(log: &Path) -> anyhow::Result<()> {
    if fs::metadata(log).is_ok_and(|metadata| metadata.len() > LOG_MAX_BYTES) {
        fs::rename(log, log.with_extension("log.old")).with_context(|| format!("setting {} aside", log.display()))?;
    }
    Ok(())
}

fn last_lines(mut log: File, from: u64) -> anyhow::Result<String> {
    log.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let skipped = lines.len().saturating_sub(LOG_LINES_IN_ERROR);
    Ok(lines[skipped..].join("\n"))
}

/// Polls, and logs every few seconds what it is waiting for.
struct Waiting {
    what: String,
    since: Instant,
    logged: Instant,
}

impl Waiting {
    fn start(what: String) -> Self {
        let now = Instant::now();
        Self {
            what,
            since: now,
            logged: now,
        }
    }

    async fn tick(&mut self) {
        if self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            tracing::info!(waited_s = self.since.elapsed().as_secs(), "waiting for {}", self.what);
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Host;
    use super::*;

    const HOST: Host = Host {
        name: "shop",
        data_dir_setting: "SHOP_DIR",
        bindir_setting: "SHOP_PG_BINDIR",
        database_setting: "SHOP_DATABASE",
        fetch_hint: "run `shop fetch`",
        backup_command: "shop dump",
        restore_command: "shop load",
    };

    #[test]
    fn a_pid_file_is_parsed_complete_or_half_written() {
        let whole = "4711\n/srv/pg\n1732420800\n5432\n/srv/pg.run\n\n  1001  7\nready   \n";
        let file = PidFile::parse(whole).unwrap();
        assert_eq!(file.pid.as_raw_nonzero().get(), 4711);
        assert_eq!((file.port, file.is_ready()), (5432, true));
        assert_eq!(file.socket_dir.as_deref(), Some(Path::new("/srv/pg.run")));

        let half = PidFile::parse("4711\n/srv/pg\n").unwrap();
        assert_eq!((half.socket_dir.as_ref(), half.is_ready()), (None, false));
        assert_eq!(PidFile::parse(""), None);
    }

    #[test]
    fn a_process_is_identified_by_its_working_directory() {
        let account = Account::for_cluster(Path::new("/no/such/cluster"), &HOST).unwrap();
        let us = rustix::process::getpid();
        let here = std::env::current_dir().unwrap();
        assert!(works_in(us, &here, &account));
        let elsewhere = works_in(us, &std::env::temp_dir(), &account);
        assert_eq!(elsewhere, !Path::new("/proc/self/cwd").exists());
    }

    #[test]
    fn extra_settings_come_last_and_so_override() {
        let options = Options {
            durable: false,
            extra: vec![("max_connections".to_owned(), "7".to_owned())],
            ..Options::new(HOST)
        };
        let settings = settings(Path::new("/s"), &options);
        assert_eq!(settings[0], "unix_socket_directories=/s");
        assert!(settings.contains(&"fsync=off".into()));
        assert_eq!(settings.last().unwrap(), "max_connections=7");
    }
}
