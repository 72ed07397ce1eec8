//! Tests with real Postgres processes; every test has its own data directory.

#![expect(clippy::unwrap_used, reason = "a failing helper must fail its test")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use embedded_postgres::{EmbeddedPostgres, Host, Options};

const HOST: Host = Host {
    name: "embedded-postgres-test",
    data_dir_setting: "SHOP_DIR",
    bindir_setting: "SHOP_PG_BINDIR",
    database_setting: "SHOP_DATABASE",
    fetch_hint: "run `shop fetch`",
    backup_command: "shop dump",
    restore_command: "shop load",
};

/// A test's data directory. Dropping it also removes what the test left outside of it.
struct DataDir(PathBuf);

impl DataDir {
    /// A directory that every account can reach.
    fn open() -> Self {
        Self::with_mode(0o755)
    }

    fn with_mode(mode: u32) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("embedded-postgres-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        Self(dir.canonicalize().unwrap())
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    async fn start(&self) -> anyhow::Result<EmbeddedPostgres> {
        EmbeddedPostgres::start(&self.0, fast()).await
    }

    async fn start_error(&self) -> String {
        format!("{:#}", self.start().await.unwrap_err())
    }

    fn postmaster(&self) -> u32 {
        let file = fs::read_to_string(self.join("pg/postmaster.pid")).unwrap();
        file.lines().next().unwrap().parse().unwrap()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Ok(target) = fs::read_link(self.join("pg")) {
            let _ = fs::remove_dir_all(target.parent().unwrap());
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Options for a durable cluster. On systems without `PostgreSQL` this variable names a fetched package.
fn durable() -> Options {
    Options {
        fetched: std::env::var_os("EMBEDDED_POSTGRES_FETCHED").map(PathBuf::from),
        ..Options::new(HOST)
    }
}

fn fast() -> Options {
    Options {
        durable: false,
        ..durable()
    }
}

fn with_bindir(dir: PathBuf) -> Options {
    Options {
        pg_bindir: Some(dir),
        ..fast()
    }
}

async fn ask(postgres: &EmbeddedPostgres, question: &str) -> String {
    let url = postgres.url("postgres");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = client.query_one(question, &[]).await.unwrap().get(0);
    drop(client);
    connection.await.unwrap().unwrap();
    answer
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0)
}

#[tokio::test]
async fn a_fresh_directory_gets_a_database_that_answers() {
    let dir = DataDir::open();
    let postgres = dir.start().await.unwrap();

    let major = postgres.version();
    assert!(major >= 15);
    let said = ask(&postgres, "SHOW server_version").await;
    assert!(said.starts_with(&major.to_string()));
    let said = ask(&postgres, "SHOW server_encoding").await;
    assert_eq!(said, "UTF8");
    assert_eq!(ask(&postgres, "SHOW listen_addresses").await, "");
    assert_eq!(ask(&postgres, "SHOW fsync").await, "off");
    assert_eq!(ask(&postgres, "SELECT lower('É')").await, "é");
    assert_eq!(ask(&postgres, "SELECT session_user::text").await, HOST.name);
    assert!(!dir.join("pg.new").exists());

    let pid = dir.postmaster();
    postgres.stop().await.unwrap();
    assert!(!dir.join("pg/postmaster.pid").exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "a zombie");
}

#[tokio::test]
async fn data_survives_a_restart_and_durable_turns_fsync_on() {
    let dir = DataDir::open();
    let postgres = dir.start().await.unwrap();
    ask(&postgres, "SELECT set_config('a.b', 'c', false)").await;
    let (client, connection) = tokio_postgres::connect(&postgres.url("postgres"), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("CREATE TABLE kept AS SELECT 'carrot' AS food")
        .await
        .unwrap();
    // An open session must not delay the shutdown.
    postgres.stop().await.unwrap();

    let options = Options {
        extra: vec![("max_connections".to_owned(), "23".to_owned())],
        ..durable()
    };
    let postgres = EmbeddedPostgres::start(&dir.0, options).await.unwrap();
    assert_eq!(ask(&postgres, "SELECT food FROM kept").await, "carrot");
    assert_eq!(ask(&postgres, "SHOW fsync").await, "on");
    assert_eq!(ask(&postgres, "SHOW max_connections").await, "23");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn the_postmaster_of_a_killed_host_is_adopted() {
    let dir = DataDir::open();
    dir.start().await.unwrap().abandon();
    let pid = dir.postmaster();

    let postgres = dir.start().await.unwrap();
    assert_eq!(dir.postmaster(), pid);
    assert_eq!(ask(&postgres, "SELECT 'here'").await, "here");
    postgres.stop().await.unwrap();
    assert!(!dir.join("pg/postmaster.pid").exists());
}

#[tokio::test]
async fn a_start_waits_for_a_postmaster_that_is_shutting_down() {
    let dir = DataDir::open();
    dir.start().await.unwrap().abandon();
    let pid = dir.postmaster();
    signal("-INT", pid);
    while fs::read_to_string(dir.join("pg/postmaster.pid")).is_ok_and(|file| file.contains("ready")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    let postgres = dir.start().await.unwrap();
    assert_ne!(dir.postmaster(), pid);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn dropping_the_handle_stops_the_postmaster() {
    let dir = DataDir::open();
    drop(dir.start().await.unwrap());
    let started = Instant::now();
    while dir.join("pg/postmaster.pid").exists() {
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stale_pid_file_of_a_killed_postmaster_does_not_prevent_a_start() {
    let dir = DataDir::open();
    dir.start().await.unwrap().abandon();
    // It stays a zombie of this process, as under a pid 1 that does not reap.
    let pid = dir.postmaster();
    signal("-KILL", pid);
    let alive = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while alive() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(dir.join("pg/postmaster.pid").exists());

    let postgres = dir.start().await.unwrap();
    assert_eq!(ask(&postgres, "SELECT 'recovered'").await, "recovered");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_stale_pid_file_that_names_an_unrelated_process_does_not_prevent_a_start() {
    let dir = DataDir::open();
    dir.start().await.unwrap().stop().await.unwrap();
    let cluster = dir.join("pg").canonicalize().unwrap();
    let owner = fs::metadata(&cluster).unwrap();
    // The process runs as the same account: only then would Postgres mistake it for a postmaster.
    let mut other = {
        use std::os::unix::process::CommandExt as _;
        let mut sleep = Command::new("sleep");
        sleep.arg("60").current_dir("/");
        if is_root() {
            sleep.uid(owner.uid()).gid(owner.gid());
        }
        sleep.spawn().unwrap()
    };
    let stale = format!(
        "{}\n{}\n1732420800\n5432\n{}\n\n 1234567 1\nready   \n",
        other.id(),
        cluster.display(),
        dir.join("pg.run").display(),
    );
    let file = cluster.join("postmaster.pid");
    fs::write(&file, stale).unwrap();
    std::os::unix::fs::chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();

    let postgres = dir.start().await.unwrap();
    assert_ne!(dir.postmaster(), other.id());
    postgres.stop().await.unwrap();
    assert!(
        other.try_wait().unwrap().is_none(),
        "the unrelated process must not be signalled"
    );
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn a_second_host_on_the_same_directory_is_refused() {
    let dir = DataDir::open();
    let postgres = dir.start().await.unwrap();

    let started = Instant::now();
    let error = dir.start_error().await;
    assert!(
        error.contains("another embedded-postgres-test uses the database"),
        "{error}"
    );
    assert!(error.contains("another SHOP_DIR or a SHOP_DATABASE"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(8));

    assert_eq!(ask(&postgres, "SELECT 'unharmed'").await, "unharmed");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_host_waits_for_the_first_to_end() {
    let dir = DataDir::open();
    let first = dir.start().await.unwrap();
    let (second, stopped) = tokio::join!(dir.start(), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        first.stop().await
    });
    stopped.unwrap();
    second.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn the_leftover_of_a_killed_initdb_is_removed() {
    let dir = DataDir::open();
    fs::create_dir_all(dir.join("pg.new/base")).unwrap();
    fs::write(dir.join("pg.new/PG_VERSION"), "15\n").unwrap();

    dir.start().await.unwrap().stop().await.unwrap();
    assert!(!dir.join("pg.new").exists());
}

#[tokio::test]
async fn the_error_for_a_cluster_of_another_major_version_names_backup_and_restore() {
    let dir = DataDir::open();
    fs::create_dir(dir.join("pg")).unwrap();
    fs::write(dir.join("pg/PG_VERSION"), "12\n").unwrap();

    let error = dir.start_error().await;
    assert!(error.contains("PostgreSQL 12"), "{error}");
    assert!(error.contains("`shop dump`"), "{error}");
    assert!(error.contains("`shop load`"), "{error}");
}

#[tokio::test]
async fn a_directory_with_other_files_is_not_touched() {
    let dir = DataDir::open();
    fs::create_dir(dir.join("pg")).unwrap();
    fs::write(dir.join("pg/thesis.txt"), "irreplaceable").unwrap();

    let error = dir.start_error().await;
    assert!(error.contains("something else"), "{error}");
    assert!(dir.join("pg/thesis.txt").exists());
}

#[tokio::test]
async fn without_postgres_the_error_says_how_to_get_it() {
    let dir = DataDir::open();
    let options = with_bindir(dir.join("nothing"));
    let error = EmbeddedPostgres::start(&dir.0, options).await.unwrap_err();
    let error = format!("{error:#}");
    for way in [
        "apt install postgresql",
        "run `shop fetch`",
        "SHOP_PG_BINDIR",
        "SHOP_DATABASE",
    ] {
        assert!(error.contains(way), "{error}");
    }
}

/// Fake programs that print this version, in the test's directory; `initdb` runs the given shell code.
fn pretend(dir: &DataDir, version: &str, initdb: &str) -> PathBuf {
    let bin = dir.join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["postgres", "initdb"] {
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = --version ]; then echo '{name} (PostgreSQL) {version}'; else {initdb}; fi\n"
        );
        let program = bin.join(name);
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    bin
}

#[tokio::test]
async fn a_too_old_postgres_is_refused() {
    let dir = DataDir::open();
    let bin = pretend(&dir, "14.2", "exit 1");
    let error = EmbeddedPostgres::start(&dir.0, with_bindir(bin)).await;
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("PostgreSQL 14"), "{error}");
    assert!(error.contains("15 or later"), "{error}");
}

#[tokio::test]
async fn a_failing_initdb_is_quoted_and_leaves_no_files() {
    let dir = DataDir::open();
    let bin = pretend(
        &dir,
        "16.0",
        "echo 'initdb: error: No space left on device' >&2; exit 1",
    );
    let error = EmbeddedPostgres::start(&dir.0, with_bindir(bin)).await;
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("No space left on device"), "{error}");
    assert!(!dir.join("pg.new").exists());
    assert!(!dir.join("pg").exists());
}

#[tokio::test]
async fn the_error_of_a_postgres_that_does_not_start_quotes_its_log() {
    let dir = DataDir::open();
    let options = Options {
        extra: vec![("no_such_setting".to_owned(), "1".to_owned())],
        ..fast()
    };
    let error = EmbeddedPostgres::start(&dir.0, options).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("no_such_setting"), "{error}");
    // The lock is released, and the cluster is intact.
    dir.start().await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_long_data_directory_gets_its_socket_in_the_temporary_directory() {
    let dir = DataDir::open();
    let long = DataDir(dir.join(&"l,ong".repeat(20)));
    let postgres = long.start().await.unwrap();
    assert_eq!(ask(&postgres, "SELECT 'short'").await, "short");
    let socket_dir = ask(&postgres, "SHOW unix_socket_directories").await;
    let mode = fs::metadata(&socket_dir).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
    postgres.stop().await.unwrap();
    fs::remove_dir_all(socket_dir).unwrap();
}

#[tokio::test]
async fn a_dangling_link_is_not_replaced_by_an_empty_database() {
    let dir = DataDir::open();
    symlink(dir.join("unmounted/pg"), dir.join("pg")).unwrap();
    let error = dir.start_error().await;
    assert!(error.contains("which is gone"), "{error}");
    fs::remove_file(dir.join("pg")).unwrap();
}

#[tokio::test]
async fn postgres_does_not_run_as_root_and_has_its_own_process_group() {
    let dir = DataDir::open();
    let postgres = dir.start().await.unwrap();
    let pid = dir.postmaster();
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    if let Ok(status) = status {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        assert!(!field("Uid:").split_whitespace().any(|uid| uid == "0"));
        if is_root() {
            assert!(!field("Gid:").split_whitespace().any(|gid| gid == "0"));
            assert_eq!(field("Groups:"), "");
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let group = stat.rsplit(") ").next().unwrap();
        assert_eq!(group.split(' ').nth(2).unwrap(), pid.to_string());
        let cluster = fs::metadata(dir.join("pg")).unwrap();
        assert_eq!(cluster.mode() & 0o777, 0o700);
    }
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn below_a_directory_that_only_root_can_enter_the_database_is_linked_elsewhere() {
    if !is_root() {
        return;
    }
    let dir = DataDir::with_mode(0o700);
    let postgres = dir.start().await.unwrap();
    let target = fs::read_link(dir.join("pg")).unwrap();
    assert!(target.starts_with("/var/lib/embedded-postgres-test"), "{target:?}");
    assert!(target.join("PG_VERSION").exists());
    assert_eq!(ask(&postgres, "SELECT 'far'").await, "far");
    postgres.stop().await.unwrap();

    // Later starts follow the link.
    dir.start().await.unwrap().stop().await.unwrap();
    assert_eq!(fs::read_link(dir.join("pg")).unwrap(), target);
}

#[tokio::test]
async fn a_cluster_copied_by_root_is_given_to_its_account() {
    if !is_root() {
        return;
    }
    let dir = DataDir::open();
    dir.start().await.unwrap().stop().await.unwrap();
    let copy = DataDir::open();
    let status = Command::new("cp")
        .args(["-r", "--no-preserve=all", "-T"])
        .args([&dir.0, &copy.0])
        .status();
    assert!(status.unwrap().success());

    copy.start().await.unwrap().stop().await.unwrap();
}
