//! A Redis cluster for one test: three masters that share the slots.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::Value;
use tempfile::TempDir;

use super::certificates::Authority;
use super::redis::{Program, ask, ask_by, signal, tls_arguments};

/// The slots of each server, first and last.
const RANGES: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

pub struct Cluster {
    program: Program,
    servers: Vec<Server>,
    /// The authority of the servers' certificates, if they accept TLS only.
    authority: Option<Vec<u8>>,
}

struct Server {
    port: u16,
    dir: TempDir,
    arguments: Vec<String>,
    child: Child,
}

impl Cluster {
    pub async fn start(program: Program) -> Self {
        let plain = |port: u16| vec!["--port".to_owned(), port.to_string()];
        Self::of(program, None, plain).await
    }

    /// A cluster that accepts TLS only, between its servers too.
    pub async fn with_tls(program: Program, authority: &Authority) -> Self {
        let pem = std::fs::read(authority.file()).expect("an authority");
        Self::of(program, Some(pem), |port| {
            let mut arguments = tls_arguments(port, authority, &["127.0.0.1"]);
            arguments.extend(["--tls-cluster", "yes", "--tls-replication", "yes"].map(str::to_owned));
            arguments
        })
        .await
    }

    async fn of(program: Program, authority: Option<Vec<u8>>, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        let servers = (0..3)
            .map(|_| {
                let port = cluster_port();
                let dir = tempfile::tempdir().expect("a directory");
                let arguments = arguments(port);
                let child = run(program, &arguments, &dir);
                Server {
                    port,
                    dir,
                    arguments,
                    child,
                }
            })
            .collect();
        let cluster = Self {
            program,
            servers,
            authority,
        };
        for (server, (first, last)) in cluster.servers.iter().zip(RANGES) {
            let range = [first.to_string(), last.to_string()];
            cluster.when(server.port, &["PING"], |_| true).await;
            cluster
                .tell(server.port, &["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]])
                .await;
            let port = cluster.servers[0].port.to_string();
            cluster
                .tell(server.port, &["CLUSTER", "MEET", "127.0.0.1", &port])
                .await;
        }
        cluster.is_whole().await;
        cluster
    }

    /// Names two of the three servers, so that the client has to discover the third.
    pub fn url(&self) -> String {
        let [a, b, _] = &self.servers[..] else {
            panic!("three servers")
        };
        let scheme = if self.authority.is_some() { "rediss" } else { "redis" };
        format!("{scheme}+cluster://127.0.0.1:{},127.0.0.1:{}", a.port, b.port)
    }

    /// The index of the server that holds a gym's channel.
    pub async fn server_of(&self, gym: liveplan::ids::GymId) -> usize {
        let slot = self.slot_of(gym).await;
        RANGES.iter().position(|(_, last)| slot <= *last).expect("a slot")
    }

    async fn slot_of(&self, gym: liveplan::ids::GymId) -> u16 {
        let key = format!("liveplan:{{{gym}}}:live");
        match self.tell(self.servers[0].port, &["CLUSTER", "KEYSLOT", &key]).await {
            Value::Int(slot) => u16::try_from(slot).expect("a slot"),
            other => panic!("not a slot: {other:?}"),
        }
    }

    /// Moves a gym's slot to another server, as an operator would.
    pub async fn move_slot_of(&self, gym: liveplan::ids::GymId) {
        let slot = self.slot_of(gym).await.to_string();
        let from = self.server_of(gym).await;
        let to = (from + 1) % 3;
        let (from_id, to_id) = (self.id(from).await, self.id(to).await);
        let (from, to) = (self.servers[from].port, self.servers[to].port);
        self.tell(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id])
            .await;
        self.tell(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id])
            .await;
        // The keys of presence move with the slot.
        let port = to.to_string();
        loop {
            let keys = match self.tell(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await {
                Value::Array(keys) => keys,
                other => panic!("not keys: {other:?}"),
            };
            let Some(Value::BulkString(key)) = keys.first() else {
                break;
            };
            let key = String::from_utf8(key.clone()).expect("text");
            self.tell(from, &["MIGRATE", "127.0.0.1", &port, &key, "0", "1000", "REPLACE"])
                .await;
        }
        for server in [to, from] {
            self.tell(server, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
        }
    }

    async fn id(&self, server: usize) -> String {
        match self.tell(self.servers[server].port, &["CLUSTER", "MYID"]).await {
            Value::BulkString(id) => String::from_utf8(id).expect("text"),
            other => panic!("not an id: {other:?}"),
        }
    }

    /// Kills a server, as in a crash.
    pub fn kill(&mut self, server: usize) {
        let child = &mut self.servers[server].child;
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    /// Starts a server again after [`Cluster::kill`]; it still knows its slots.
    pub async fn restart(&mut self, server: usize) {
        let Server {
            dir, arguments, child, ..
        } = &mut self.servers[server];
        *child = run(self.program, arguments, dir);
        self.is_whole().await;
    }

    /// Stops a server's process with SIGSTOP.
    pub fn pause(&self, server: usize) {
        signal(&self.servers[server].child, "STOP");
    }

    pub fn resume(&self, server: usize) {
        signal(&self.servers[server].child, "CONT");
    }

    async fn is_whole(&self) {
        let whole = |info: &str| info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3");
        for server in &self.servers {
            self.when(server.port, &["CLUSTER", "INFO"], |answer| match answer {
                Value::BulkString(info) => whole(&String::from_utf8_lossy(info)),
                Value::VerbatimString { text, .. } => whole(text),
                _ => false,
            })
            .await;
        }
    }

    async fn tell(&self, port: u16, command: &[&str]) -> Value {
        self.ask(port, command)
            .await
            .unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    async fn ask(&self, port: u16, command: &[&str]) -> redis::RedisResult<Value> {
        let Some(pem) = &self.authority else {
            return ask(port, command).await;
        };
        let certificates = redis::TlsCertificates {
            client_tls: None,
            root_cert: Some(pem.clone()),
        };
        let client = redis::Client::build_with_tls(format!("rediss://127.0.0.1:{port}"), certificates)?;
        ask_by(&client, command).await
    }

    async fn when(&self, port: u16, command: &[&str], asked: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while !self.ask(port, command).await.is_ok_and(|answer| asked(&answer)) {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{command:?} did not get the expected answer within 30 s"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
    }
}

fn run(program: Program, arguments: &[String], dir: &TempDir) -> Child {
    Command::new(program.path())
        .current_dir(dir.path())
        .args(arguments)
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"])
        // The other servers keep serving when one is down.
        .args(["--cluster-require-full-coverage", "no"])
        .stdout(Stdio::null())
        .spawn()
        .expect("a server")
}

/// A free port whose cluster bus port, 10,000 above, is free too.
fn cluster_port() -> u16 {
    loop {
        let port = super::free_port();
        if let Some(bus) = port.checked_add(10_000)
            && TcpListener::bind(("127.0.0.1", bus)).is_ok()
        {
            return port;
        }
    }
}
