//! The embedded Postgres: its user, database and messages carry liveplan's names. Its supervisor's crate tests how it
//! runs.

use std::path::{Path, PathBuf};

use liveplan::config::Config;
use liveplan::server::boot;

use crate::harness;

/// A data directory that the account which Postgres runs as may enter.
fn data_dir() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
    dir
}

fn config(data_dir: &Path) -> Config {
    Config {
        database_url: None,
        data_dir: data_dir.to_owned(),
        throwaway: true,
        ..harness::config("")
    }
}

async fn refusal(config: &Config) -> String {
    match boot::database(config).await {
        Ok(_) => panic!("it was not refused"),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test]
async fn without_a_database_url_the_server_creates_a_database_in_its_data_directory() {
    let dir = data_dir();
    let booted = boot::boot(&config(dir.path())).await.expect("a server");
    assert!(dir.path().join("pg/PG_VERSION").exists());
    booted.stop().await;
    let database = boot::database(&config(dir.path())).await.expect("a database");
    let owner_url = database.owner_url.expect("the owner's address");
    for (url, user) in [(&owner_url, "liveplan"), (&database.url, "liveplan_serve")] {
        assert!(
            url.starts_with(&format!("postgresql://{user}@")) && url.ends_with("/liveplan"),
            "{url}"
        );
        liveplan::db::establish(url).await.expect("a connection");
    }
    database
        .postgres
        .expect("one of its own")
        .stop()
        .await
        .expect("stopped");
}

#[tokio::test]
async fn refusals_of_the_embedded_postgres_name_liveplans_settings_and_commands() {
    let dir = data_dir();
    let without = Config {
        pg_bindir: Some(PathBuf::from("/no/such/directory")),
        ..config(dir.path())
    };
    let said = refusal(&without).await;
    for way in ["let `make` fetch one", "PG_BINDIR", "DATABASE_URL"] {
        assert!(said.contains(way), "{said}");
    }

    std::fs::create_dir(dir.path().join("pg")).expect("a directory");
    std::fs::write(dir.path().join("pg/PG_VERSION"), "12\n").expect("written");
    let said = refusal(&config(dir.path())).await;
    for way in ["PostgreSQL 12", "`liveplan backup`", "`liveplan restore`"] {
        assert!(said.contains(way), "{said}");
    }
}
