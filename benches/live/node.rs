//! Processes that a benchmark starts: a liveplan server and a Redis.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The master key of every server in the benchmarks.
pub const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A running `liveplan serve`. Dropping it kills it.
pub struct Node {
    pub address: String,
    child: Child,
}

/// A free port.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

impl Node {
    /// Starts a node on a database and waits until it is ready.
    pub async fn start(database: &str, environment: &[(&str, &str)]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let child = Command::new(env!("CARGO_BIN_EXE_liveplan"))
            .arg("serve")
            .env("BIND", &address)
            .env("DATABASE_URL", database.replacen("//liveplan@", "//liveplan_serve@", 1))
            .env("DATABASE_OWNER_URL", database)
            .env("MASTER_KEY", KEY)
            .env("DRAIN_SECONDS", "0")
            .env("RUST_LOG", "warn")
            // All clients share one address, and often one gym, so the limits are out of the way.
            .env("HTTP_CONNECTIONS", "1000000")
            .env("HTTP_CONNECTIONS_PER_ADDRESS", "1000000")
            .env("LIVE_SOCKETS", "1000000")
            .env("LIVE_SOCKETS_PER_ADDRESS", "1000000")
            .env("LIVE_SOCKETS_PER_GYM", "1000000")
            .env("LIVE_SOCKETS_PER_ACCOUNT", "1000000")
            .env("BUDGET_READS_PER_MINUTE", "0")
            .env("BUDGET_WRITES_PER_MINUTE", "0")
            .env("BUDGET_EXPENSIVE_READS_PER_MINUTE", "0")
            .env("BUDGET_COMMANDS_PER_MINUTE", "0")
            .env("BUDGET_CHANGES_OF_A_MEAL", "0")
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server");
        let node = Self { address, child };
        let ready = format!("http://{}/readyz", node.address);
        for attempt in 0.. {
            let answer = reqwest::get(&ready).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            assert!(attempt < 300, "the server is not ready after 30 s");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        node
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Shuts it down with SIGTERM and waits.
    pub fn stop(mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A private `redis-server`, if the machine has one. Dropping it kills it.
pub struct Redis {
    pub url: String,
    child: Child,
}

impl Redis {
    pub async fn start() -> Option<Self> {
        let port = free_port();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self {
            url: format!("redis://127.0.0.1:{port}"),
            child,
        };
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(redis);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
