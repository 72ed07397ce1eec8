//! One temporary Postgres for the whole run, found or fetched as the product does it, and databases copied from a
//! migrated template.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use diesel_async::RunQueryDsl as _;
use liveplan::db::embedded::{self, EmbeddedPostgres, Options};
use liveplan::db::logins;
use liveplan::server::boot;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

static CLUSTER: OnceCell<EmbeddedPostgres> = OnceCell::const_new();
static TEMPLATE: Mutex<bool> = Mutex::const_new(false);

async fn cluster() -> &'static EmbeddedPostgres {
    CLUSTER
        .get_or_init(|| async {
            let dir = directory();
            let options = Options {
                durable: false,
                ..embedded::options()
            };
            let cluster = EmbeddedPostgres::start(&dir, options).await.expect("a Postgres");
            watch_over(&dir);
            cluster
        })
        .await
}

/// Stops the Postgres of a directory when this process ends, however it ends; statics are never dropped.
pub fn watch_over(dir: &Path) {
    let watchdog = Command::new("setsid")
        .args(["sh", "-c", "while kill -0 $0 2>/dev/null; do sleep 0.3; done; kill -QUIT $(head -1 $1/pg/postmaster.pid); sleep 1; rm -rf $1"])
        .arg(std::process::id().to_string())
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a watchdog");
    // Nobody waits for the watchdog: it outlives this process.
    std::mem::forget(watchdog);
}

/// A directory that the account which Postgres runs as may enter.
pub fn directory() -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = std::env::temp_dir().join(format!("liveplan-it-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    dir
}

/// The URL of the same database with the server's login.
pub fn as_server(url: &str) -> String {
    let (owner, server) = ("//liveplan@", format!("//{}@", logins::EMBEDDED));
    assert_eq!(url.matches(owner).count(), 1, "{url}");
    url.replace(owner, &server)
}

/// The directory of the programs of the Postgres that the tests use.
pub async fn programs() -> PathBuf {
    cluster().await;
    let pid = std::fs::read_to_string(directory().join("pg/postmaster.pid")).expect("a postmaster");
    let program = std::fs::read_link(format!("/proc/{}/exe", pid.lines().next().expect("a process"))).expect("it runs");
    program.parent().expect("a directory").to_owned()
}

async fn run(url: &str, sql: &str) {
    let mut conn = liveplan::db::establish(url).await.expect("a connection");
    diesel::sql_query(sql).execute(&mut conn).await.expect(sql);
}

/// Creates an empty database and returns its URL.
pub async fn empty_database() -> String {
    // Roles belong to the whole cluster: only the template's migrations create them.
    drop(template().await);
    let cluster = cluster().await;
    let name = format!("t_{}", uuid::Uuid::new_v4().simple());
    run(&cluster.url("postgres"), &format!("CREATE DATABASE {name}")).await;
    cluster.url(&name)
}

/// Makes the migrated template, once. The guard keeps others from using it: a template must not be in use while it is
/// copied.
async fn template() -> MutexGuard<'static, bool> {
    let cluster = cluster().await;
    let mut made = TEMPLATE.lock().await;
    if !*made {
        run(&cluster.url("postgres"), "CREATE DATABASE template_liveplan").await;
        let template = cluster.url("template_liveplan");
        boot::migrate(&template, Some(&as_server(&template)))
            .await
            .expect("migrations");
        *made = true;
    }
    made
}

/// Creates a migrated database for one test and returns its URL, with the login of its owner, who is a superuser.
pub async fn fresh_database() -> String {
    let _template = template().await;
    copy_of(&cluster().await.url("template_liveplan")).await
}

/// Copies a database that nobody uses, and returns the copy's URL.
pub async fn copy_of(url: &str) -> String {
    let cluster = cluster().await;
    let original = url.rsplit_once('/').expect("a database").1;
    let original = original.split('?').next().unwrap_or_default();
    let name = format!("t_{}", uuid::Uuid::new_v4().simple());
    run(
        &cluster.url("postgres"),
        &format!("CREATE DATABASE {name} TEMPLATE {original}"),
    )
    .await;
    cluster.url(&name)
}
