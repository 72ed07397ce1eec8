//! The load tool, against a demo gym and against a faulty server.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use liveplan_hub::protocol::{Codec, Event, Publication, Push, Reply};
use liveplan_hub::ws::frame;
use liveplan_load::door::{Joined, Position};
use liveplan_load::ledger::Faults;
use liveplan_load::swarm::{Speech, Swarm};
use liveplan_load::{self as load, Options};

use crate::harness::TestApp;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

/// Parses a command line for the load tool against this server.
fn options(app: &TestApp, line: &str) -> Options {
    let url = format!("http://{}", app.address);
    let words = ["load", "--url", &url].into_iter().chain(line.split_whitespace());
    Cli::try_parse_from(words).expect("options").options
}

async fn demo() -> TestApp {
    TestApp::start_with(|config| {
        config.demo = true;
        // The load is that of few accounts.
        (
            config.budgets.writes,
            config.budgets.commands,
            config.budgets.changes_of_a_meal,
        ) = (0, 0, 0);
    })
    .await
}

#[tokio::test]
async fn every_socket_gets_every_edit_once_and_in_order_in_both_codecs() {
    let app = demo().await;
    let pid = std::process::id();
    let line = format!("fanout --connections 30 --seconds 2 --burst 3 --codec both --pid {pid}");
    let report = load::run(&options(&app, &line)).await.expect("a run");
    assert!(report.is_right() && report.compared_with_log, "{report}");
    assert!(report.accepted > 0, "{report}");
    assert_eq!(
        (report.refused, report.deliveries),
        (0, report.accepted * 30),
        "{report}"
    );
    let (commit, sent) = (report.from_commit.expect("times"), report.from_send.expect("times"));
    assert!(
        commit.p50 > 0.0 && sent.p50 >= commit.p50 && commit.max >= commit.p999,
        "{report}"
    );
    let server = report.server.expect("the process was named");
    assert!(server.cpu_us_per_delivery.expect("deliveries") > 0.0 && server.resident_after > 0);
    app.stop().await;
}

#[tokio::test]
async fn ticks_in_bursts_or_at_a_rate_reach_every_subscriber() {
    let app = demo().await;
    for line in [
        "ticks --connections 22 --seconds 2 --burst 10 --codec both",
        "ticks --connections 22 --seconds 2 --rate 50 --codec protobuf",
    ] {
        let report = load::run(&options(&app, line)).await.expect("a run");
        assert!(report.is_right() && report.compared_with_log, "{report}");
        assert!(report.accepted > 0, "{report}");
        // Ten sockets watch the roster; each member's socket watches its own channel.
        assert_eq!(
            (report.refused, report.deliveries),
            (0, report.accepted * 11),
            "{report}"
        );
    }
    app.stop().await;
}

/// Puts a script in the place of the load tool and checks the arguments that it gets. The tool is another package,
/// which tests it.
#[test]
fn the_load_command_executes_the_load_tool_beside_it_or_explains_how_to_build_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (liveplan, tool) = (dir.path().join("liveplan"), dir.path().join("liveplan-load"));
    std::fs::hard_link(env!("CARGO_BIN_EXE_liveplan"), &liveplan).expect("the program, alone");
    let called = || {
        let arguments = ["ticks", "--rate", "5", "--email", "a b", "--help"];
        let mut command = Command::new(&liveplan);
        let ended = command
            .arg("load")
            .args(arguments)
            .env("PATH", "/no/such/directory")
            .output();
        let ended = ended.expect("the program");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
    };

    let (code, said, error) = called();
    assert_eq!((code, said.as_str()), (Some(1), ""), "{error}");
    assert!(error.contains("`cargo build --release -p liveplan-load`"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");

    std::fs::write(&tool, "#!/bin/sh\nprintf '%s|' \"$@\"\nexit 7\n").expect("written");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let (code, said, error) = called();
    assert_eq!(
        (code, said.as_str()),
        (Some(7), "ticks|--rate|5|--email|a b|--help|"),
        "{error}"
    );
}

#[tokio::test]
async fn a_remote_server_is_refused_unless_allowed() {
    let app = TestApp::start().await;
    let mut options = options(&app, "");
    options.url = vec!["http://192.0.2.1:8080".into()];
    let refused = load::run(&options).await.expect_err("it was not allowed");
    assert!(refused.to_string().contains("--allow-remote 192.0.2.1"), "{refused}");
    app.stop().await;
}

/// Returns the faults that the load tool finds with two subscribers of a channel whose log holds 1 to 4, when a server
/// sends the second subscriber these offsets, split into pieces.
async fn found(codec: Codec, sends: &[u64]) -> Faults {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let swarm = Swarm::start().expect("a swarm");
    let mut count = 0;
    for offsets in [&[1, 2, 3, 4][..], sends] {
        let socket = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (mut server, _) = listener.accept().expect("accepted");
        let position = Position {
            channel: "plan:x".into(),
            ..Position::default()
        };
        let joined = vec![Joined {
            position,
            ..Joined::default()
        }];
        swarm
            .join_bare(socket, Speech::Protocol(codec), Vec::new(), joined)
            .expect("joined");
        let mut bytes = Vec::new();
        for offset in offsets {
            let reply = Reply::push(Push {
                channel: "plan:x".into(),
                event: Some(Event::Publication(Publication {
                    data: "{}".into(),
                    offset: *offset,
                })),
            });
            bytes.extend_from_slice(&frame::message(codec, &codec.encode(&reply).expect("encoded")));
        }
        for piece in bytes.chunks(7) {
            server.write_all(piece).expect("sent");
        }
        count += offsets.len() as u64;
        assert!(swarm.reached(count, Duration::from_secs(10)).await, "they arrive");
    }
    swarm.judge().await.expect("a verdict").faults
}

#[tokio::test]
async fn gaps_repetitions_and_disorder_in_a_sockets_publications_are_found() {
    for codec in Codec::ALL {
        for (sends, expected) in [
            (&[1, 2, 3, 4][..], (0, 0, 0)),
            (&[1, 2, 4], (1, 0, 0)),
            (&[1, 2], (2, 0, 0)),
            (&[1, 2, 2, 3, 4], (0, 1, 0)),
            (&[1, 3, 2, 4], (0, 0, 1)),
            (&[2, 1, 1, 4], (1, 1, 1)),
        ] {
            let faults = found(codec, sends).await;
            assert_eq!(
                (faults.missing, faults.repeated, faults.disordered),
                expected,
                "{sends:?}: {faults}"
            );
            assert_eq!(faults.none(), faults.words.is_empty());
        }
    }
}
