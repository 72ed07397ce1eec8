//! One log line for a socket's open and one for its close.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faults::Floor;
use crate::harness::process::liveplan;
use crate::harness::{TestApp, free_port};

/// A node as a process, with its log.
pub(super) struct LoggedNode {
    pub(super) address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    child: Child,
    reader: Option<JoinHandle<()>>,
}

impl LoggedNode {
    /// Starts a node with this `RUST_LOG` on a database, and waits until it is ready.
    pub(super) async fn start(database: &str, filter: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut child = liveplan(database)
            .arg("serve")
            .env("BIND", address.to_string())
            .env("RUST_LOG", filter)
            .env("LOG_FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let lines = BufReader::new(child.stderr.take().expect("a log"));
        let log = Arc::<Mutex<Vec<String>>>::default();
        let reader = std::thread::spawn({
            let log = log.clone();
            move || {
                for line in lines.lines().map_while(Result::ok) {
                    log.lock().expect("the log").push(line);
                }
            }
        });
        let began = Instant::now();
        while !reqwest::get(format!("http://{address}/readyz"))
            .await
            .is_ok_and(|a| a.status().is_success())
        {
            assert!(began.elapsed() < Duration::from_secs(30), "the node does not get ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            address,
            log,
            child,
            reader: Some(reader),
        }
    }

    /// Waits until this many lines contain the words.
    pub(super) async fn until(&self, words: &str, times: usize) {
        let count = || {
            let log = self.log.lock().expect("the log");
            log.iter().filter(|line| line.contains(words)).count()
        };
        let began = Instant::now();
        while count() < times {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "the log has {} lines with {words:?}, not {times}",
                count()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the node and returns its log.
    pub(super) fn end(mut self) -> Vec<String> {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
        let reader = self.reader.take().expect("a reader");
        reader.join().expect("all of the log");
        let log = self.log.lock().expect("the log");
        log.clone()
    }
}

impl Drop for LoggedNode {
    fn drop(&mut self) {
        // Both fail if the node has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_socket_logs_one_line_at_open_and_one_at_close_and_never_its_token() {
    let maker = TestApp::start().await;
    let mut floor = Floor::make(&maker, 1).await;
    let node = LoggedNode::start(&maker.database, "debug,tokio_postgres=warn").await;
    let address = node.address;
    floor.author = floor.author.at(address);
    let channel = format!("plan:{}", floor.plan.id);
    let mut socket = floor.author.socket().await;
    socket.subscribe(&channel).await;
    floor.rename("Uno").await;
    socket.publication(&channel).await;
    socket.stream.close(None).await.expect("closed");
    let id = socket.connected["connect"]["client"]
        .as_str()
        .expect("an id")
        .to_owned();
    drop(socket);
    let mut stranger = maker.nobody().at(address).raw_socket().await;
    stranger.send("connect", serde_json::json!({"token": "none"})).await;
    assert_eq!(stranger.closed().await, 3500);
    drop(stranger);
    node.until("socket closed", 2).await;
    let log = node.end();
    let token = floor.author.token.as_deref().expect("signed in");
    assert!(log.iter().all(|line| !line.contains(token)), "the token is in the log");
    let of_socket = |line: &&Value| line["fields"]["connection.id"] == *id && line["level"] == "INFO";
    let events: Vec<Value> = log.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let said: Vec<&Value> = events.iter().filter(of_socket).collect();
    let words: Vec<_> = said.iter().map(|line| line["fields"]["message"].as_str()).collect();
    assert_eq!(words, [Some("socket opened"), Some("socket closed")], "{said:?}");
    assert_eq!(said[0]["fields"]["connection.codec"], "json");
    let end = &said[1]["fields"];
    assert_eq!(
        (&end["close.code"], &end["close.reason"]),
        (&1000.into(), &"bye".into())
    );
    assert_eq!(end["account.id"], floor.author.account.to_string());
    // Two commands (`connect` and `subscribe`) and one delivery.
    assert_eq!((&end["commands"], &end["deliveries"]), (&2.into(), &1.into()));
    assert!(end["bytes"].as_u64().is_some_and(|n| n > 500), "{end}");
    assert!(end["duration_ms"].as_u64().is_some_and(|n| n > 0), "{end}");
    let refused = |line: &&Value| line["fields"]["close.code"] == 3500;
    assert_eq!(events.iter().filter(refused).count(), 1);
    maker.stop().await;
}
