//! Tests of the program itself: its help, and its exit code when the server drops the sockets.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Parser;
use liveplan::config::Config;
use liveplan::server::{self, Started};
use liveplan_client::Device;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_liveplan-load");

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    config: Config,
}

#[test]
fn the_help_shows_the_name_under_which_the_program_was_called() {
    let help = Command::new(PROGRAM).arg0("liveplan load").arg("--help").output();
    let help = String::from_utf8(help.expect("the program").stdout).expect("text");
    for part in [
        "Load a running server with real sockets",
        "Usage: liveplan load [OPTIONS] [MODE]",
        "liveplan load ticks --connections 45 --burst 10 --codec both",
        "--allow-remote <HOST>",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
}

#[tokio::test]
async fn a_run_fails_if_the_server_closes_sockets() {
    let dir = tempfile::tempdir().expect("a directory");
    // The account that runs Postgres must be able to enter.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let data_dir = dir.path().to_str().expect("text");
    let words = [
        "serve",
        "--bind",
        "127.0.0.1:0",
        "--data-dir",
        data_dir,
        "--drain-seconds",
        "0",
    ];
    let config = Config {
        database_url: None,
        database_owner_url: None,
        redis_url: None,
        metrics_bind: None,
        demo: true,
        throwaway: true,
        ..Settings::parse_from(words).config
    };
    let (sender, started) = mpsc::channel();
    let server = std::thread::spawn(move || server::run(config, move |started| drop(sender.send(started))));
    let started = tokio::task::spawn_blocking(move || started.recv_timeout(Duration::from_mins(1))).await;
    let Started { address, stop, .. } = started.expect("joined").expect("the server starts");
    let url = format!("http://{address}");
    let member = Device::sign_in(&url, "member01@demo.test", "demo")
        .await
        .expect("a member");
    let today = async || member.get("/follows/today").await.expect("a day");
    let before = today().await;

    let line = "ticks --connections 14 --rate 20 --seconds 60 --json --url";
    let child = Command::new(PROGRAM)
        .args(line.split(' '))
        .arg(&url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    // The first tick shows that all sockets are open.
    let since = Instant::now();
    while today().await == before {
        assert!(since.elapsed() < Duration::from_mins(1), "no tick was recorded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.now();

    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
    let ended = ended.expect("joined").expect("ended");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let report: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert!(report["lost"].as_u64() > Some(0), "{report}");
    server
        .join()
        .expect("joined")
        .expect("the server shuts down without an error");
}
