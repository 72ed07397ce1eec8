//! A node as a process: the real binary, so that tests can kill it.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `liveplan serve` on its own port.
pub struct Node {
    pub address: SocketAddr,
    child: Child,
}

impl Node {
    /// Starts a node on a database and a Redis, and waits until it is ready.
    pub async fn start(database: &str, redis: &str) -> Self {
        Self::with(database, &[("REDIS_URL", redis)]).await
    }

    /// Starts a node on a database with more environment variables, and waits until it is ready.
    pub async fn with(database: &str, variables: &[(&str, &str)]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], super::free_port()));
        Self::at(address, database, variables).await
    }

    /// Starts a node at an address.
    pub async fn at(address: SocketAddr, database: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = liveplan(database);
        command.envs(variables.iter().copied());
        Self::run(address, command).await
    }

    /// Starts a node that has this address of a database only, not the owner's.
    pub async fn alone(database_url: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], super::free_port()));
        let mut command = binary();
        command.env("DATABASE_URL", database_url);
        Self::run(address, command).await
    }

    async fn run(address: SocketAddr, mut command: Command) -> Self {
        command
            .arg("serve")
            .env("BIND", address.to_string())
            .env("DRAIN_SECONDS", "0")
            .env("WORKERS", "1");
        let child = command.spawn().expect("the binary");
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

    /// Stops the process with SIGSTOP: its sockets stay open and nothing answers.
    pub fn pause(&self) {
        super::redis::signal(&self.child, "STOP");
    }

    /// Resumes the process after [`Node::pause`].
    pub fn resume(&self) {
        super::redis::signal(&self.child, "CONT");
    }

    /// Stops the node with SIGTERM, as a deployment does, waits for its end and returns the time it took.
    pub async fn stop(mut self) -> Duration {
        let began = Instant::now();
        super::redis::signal(&self.child, "TERM");
        while self.child.try_wait().expect("a status").is_none() {
            assert!(began.elapsed() < Duration::from_secs(40), "the node does not stop");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }

    /// Resident memory in bytes, and its peak since [`Node::forget_peak`].
    pub fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let kilobytes = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.trim().trim_end_matches(" kB").parse().expect("kB")
        };
        (kilobytes("VmRSS:") * 1024, kilobytes("VmHWM:") * 1024)
    }

    /// Resets the peak to the current value.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("reset");
    }

    /// The number of open files and sockets.
    pub fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("it runs")
            .count()
    }

    /// Kills the process with SIGKILL.
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
    let config = super::config(database);
    let mut command = binary();
    command
        .env("DATABASE_URL", config.database_url.expect("a database"))
        .env("DATABASE_OWNER_URL", config.database_owner_url.expect("an owner"));
    command
}

/// The binary with the tests' master key.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_liveplan"));
    let config = super::config("");
    command
        .env("MASTER_KEY", config.master_key.expect("the tests' key"))
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null());
    command
}
