//! A node as a process: the binary itself, so that it can be killed.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `liveplan serve` on a port of its own.
pub struct Node {
    pub address: SocketAddr,
    child: Child,
}

impl Node {
    /// Starts one on a database and a Redis, and waits until it is ready.
    pub async fn start(database: &str, redis: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], super::free_port()));
        let child = liveplan(database)
            .arg("serve")
            .env("BIND", address.to_string())
            .env("REDIS_URL", redis)
            .env("DRAIN_SECONDS", "0")
            .env("WORKERS", "1")
            .spawn()
            .expect("the binary");
        let mut node = Self { address, child };
        let began = Instant::now();
        while !node.is_ready().await {
            assert!(began.elapsed() < Duration::from_secs(30), "the node does not get ready");
            assert!(node.child.try_wait().expect("a status").is_none(), "the node has ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        node
    }

    async fn is_ready(&self) -> bool {
        let answer = reqwest::get(format!("http://{}/readyz", self.address)).await;
        answer.is_ok_and(|a| a.status().is_success())
    }

    /// Stops it where it is: its sockets stay open and nothing answers.
    pub fn pause(&self) {
        super::redis::signal(&self.child, "STOP");
    }

    /// Lets it go on after [`Node::pause`].
    pub fn resume(&self) {
        super::redis::signal(&self.child, "CONT");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, configured for a database.
pub fn liveplan(database: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_liveplan"));
    let config = super::config(database);
    command
        .env("DATABASE_URL", database)
        .env("MASTER_KEY", config.master_key.expect("the tests' key"))
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null());
    command
}
