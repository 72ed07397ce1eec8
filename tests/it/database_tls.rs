//! Postgres over TLS: nodes reach their database, and nothing that only pretends to be it.

use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use diesel::sql_types::{BigInt, Bool};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use liveplan::auth::Role;
use liveplan::db;
use liveplan::db::embedded::{self, EmbeddedPostgres, Options};
use liveplan::db::tls::with_authorities;
use tempfile::TempDir;

use crate::harness::TestApp;
use crate::harness::certificates::{Authority, Issued};
use crate::harness::postgres::watch_over;

/// The name in the certificate of the databases here.
const NAME: &str = "db.example";

/// A Postgres that listens on a loopback address of its own.
struct Server {
    postgres: EmbeddedPostgres,
    address: Ipv4Addr,
    _dir: TempDir,
}

impl Server {
    /// A server with TLS if it gets a certificate, and without if not.
    async fn start(issued: Option<&Issued>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // The account that runs Postgres must be able to enter.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
        let hba = dir.path().join("hba.conf");
        std::fs::write(&hba, "local all all trust\nhost all all 127.0.0.0/8 trust\n").expect("written");
        let address = Ipv4Addr::new(
            127,
            rand::random_range(1..255),
            rand::random(),
            rand::random_range(1..255),
        );
        let setting = |name: &str, value: &Path| (name.to_owned(), value.to_str().expect("text").to_owned());
        let options = Options {
            durable: false,
            extra: vec![
                ("listen_addresses".to_owned(), address.to_string()),
                setting("hba_file", &hba),
            ],
            ..embedded::options()
        };
        let postgres = EmbeddedPostgres::start(dir.path(), options).await.expect("a Postgres");
        watch_over(dir.path());
        if let Some(Issued { certificate, key }) = issued {
            // Postgres accepts a key only from the account that it runs as.
            let owner = std::fs::metadata(dir.path().join("pg")).expect("a cluster");
            for file in [certificate, key] {
                chown(file, Some(owner.uid()), Some(owner.gid())).expect("owned");
            }
            let mut conn = db::establish(&postgres.url("postgres")).await.expect("a connection");
            for (name, value) in [
                setting("ssl_cert_file", certificate),
                setting("ssl_key_file", key),
                ("ssl".to_owned(), "on".to_owned()),
            ] {
                conn.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'"))
                    .await
                    .expect("set");
            }
            conn.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
        }
        let server = Self {
            postgres,
            address,
            _dir: dir,
        };
        if issued.is_some() {
            let url = server.url(NAME, "&sslmode=require");
            crate::harness::until("the server offers TLS", async || db::establish(&url).await.is_ok()).await;
        }
        server
    }

    /// The URL of the server under a name that is not this machine's.
    fn url(&self, name: &str, parameters: &str) -> String {
        format!(
            "postgresql://liveplan@{name}/postgres?hostaddr={}{parameters}",
            self.address
        )
    }
}

#[derive(diesel::QueryableByName)]
struct Connections {
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = Bool)]
    all_secure: bool,
}

#[tokio::test]
async fn every_connection_of_a_node_to_a_remote_database_uses_tls() {
    let authority = Authority::new();
    let server = Server::start(Some(&authority.issue(&[NAME]))).await;
    let url = server.url(NAME, "");
    // Without the authority nothing connects, so the node's migrations need it too.
    let mut node = TestApp::node(&url, |config| config.database_ca_file = Some(authority.file())).await;
    // The test's own connections need it as well.
    node.database = with_authorities(&url, &authority.file()).expect("an address");
    let gym = node.gym().await;
    let author = node.person(gym, &[Role::Nutritionist]).await;
    let mut plan = crate::plans::publish(&author, node.food().await).await;
    let channel = format!("plan:{}", plan.id);
    let mut screen = author.socket().await;
    screen.subscribe(&channel).await;
    crate::plans::rename(&author, &mut plan, "Cena").await;
    let (_, event) = screen.publication(&channel).await;
    assert_eq!(event["type"], "meal.updated", "{event}");
    let seen: Connections = diesel::sql_query(
        "SELECT count(*) AS count, bool_and(ssl) AS all_secure FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE client_addr IS NOT NULL",
    )
    .get_result(
        &mut db::establish(&server.postgres.url("postgres"))
            .await
            .expect("a connection"),
    )
    .await
    .expect("a count");
    assert!(seen.count > 0 && seen.all_secure, "{} connections", seen.count);
    node.stop().await;
    server.postgres.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_server_that_is_not_the_database_gets_no_connection_unless_the_url_says_so() {
    let (authority, other) = (Authority::new(), Authority::new());
    let secure = Server::start(Some(&authority.issue(&[NAME]))).await;
    let plain = Server::start(None).await;
    let ca = |authority: &Authority| format!("&sslrootcert={}", authority.file().display());
    let (right, wrong) = (ca(&authority), ca(&other));
    for (what, url, connects) in [
        ("the right name and authority", secure.url(NAME, &right), true),
        ("another name", secure.url("db2.example", &right), false),
        ("another authority", secure.url(NAME, &wrong), false),
        ("no authority of the system", secure.url(NAME, ""), false),
        ("no TLS", plain.url(NAME, &right), false),
        (
            "verify-full by name",
            secure.url("db2.example", &format!("{right}&sslmode=verify-full")),
            false,
        ),
        (
            "verify-ca, another name",
            secure.url("db2.example", &format!("{right}&sslmode=verify-ca")),
            true,
        ),
        (
            "verify-ca, another authority",
            secure.url(NAME, &format!("{wrong}&sslmode=verify-ca")),
            false,
        ),
        (
            "verify-ca, no TLS",
            plain.url(NAME, &format!("{right}&sslmode=verify-ca")),
            false,
        ),
        ("require", secure.url("db2.example", "&sslmode=require"), true),
        (
            "require, another authority",
            secure.url(NAME, &format!("{wrong}&sslmode=require")),
            false,
        ),
        ("require, no TLS", plain.url(NAME, "&sslmode=require"), false),
        ("prefer", secure.url("db2.example", "&sslmode=prefer"), true),
        ("prefer, no TLS", plain.url(NAME, "&sslmode=prefer"), true),
        ("disable", plain.url(NAME, "&sslmode=disable"), true),
    ] {
        let connected = db::establish(&url).await;
        assert_eq!(connected.is_ok(), connects, "{what}: {:?}", connected.err());
        let maintenance = db::establish_for_maintenance(&url).await;
        assert_eq!(maintenance.is_ok(), connects, "{what}, for maintenance");
    }
    for server in [secure, plain] {
        server.postgres.stop().await.expect("stopped");
    }
}

#[tokio::test]
async fn a_file_without_certificates_stops_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ca.pem");
    let url = "postgres://u@db.example/d";
    assert!(with_authorities(url, &file).is_err(), "there is no file");
    std::fs::write(&file, "nothing").expect("written");
    assert!(with_authorities(url, &file).is_err(), "it has no certificate");
}
