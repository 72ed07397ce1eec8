//! A Redis or Valkey for one test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::certificates::Authority;

/// The server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Redis,
    Valkey,
}

impl Program {
    /// The program's path. `tools/valkey` fetches Valkey once.
    pub fn path(self) -> PathBuf {
        if self == Self::Redis {
            return "redis-server".into();
        }
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let fetched = Command::new(root.join("tools/valkey")).output().expect("tools/valkey");
        assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
        String::from_utf8(fetched.stdout).expect("a path").trim().into()
    }
}

pub struct Redis {
    pub port: u16,
    program: Program,
    arguments: Vec<String>,
    child: Child,
}

impl Redis {
    pub async fn start() -> Self {
        Self::of(Program::Redis).await
    }

    pub async fn of(program: Program) -> Self {
        let port = super::free_port();
        Self::at(program, port, vec!["--port".into(), port.to_string()]).await
    }

    /// A Redis that accepts TLS only, with a certificate for these names.
    pub async fn with_tls(authority: &Authority, names: &[&str]) -> Self {
        let port = super::free_port();
        Self::at(Program::Redis, port, tls_arguments(port, authority, names)).await
    }

    async fn at(program: Program, port: u16, arguments: Vec<String>) -> Self {
        let child = Self::run(program, &arguments);
        let redis = Self {
            port,
            program,
            arguments,
            child,
        };
        redis.wait().await;
        redis
    }

    fn run(program: Program, arguments: &[String]) -> Child {
        Command::new(program.path())
            .args(arguments)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("a server")
    }

    async fn wait(&self) {
        let began = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "the server does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills the server, as in a crash.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Starts the server again after [`Redis::kill`], empty.
    pub async fn restart(&mut self) {
        self.child = Self::run(self.program, &self.arguments);
        self.wait().await;
    }

    /// Stops the process with SIGSTOP: its sockets stay open and nothing answers.
    pub fn pause(&self) {
        signal(&self.child, "STOP");
    }

    /// Resumes the process after [`Redis::pause`].
    pub fn resume(&self) {
        signal(&self.child, "CONT");
    }

    /// Sends a command.
    pub async fn ask(&self, command: &[&str]) -> redis::Value {
        ask(self.port, command)
            .await
            .unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    /// The number of connections that subscribe to a gym's channel.
    pub async fn listeners(&self, gym: liveplan::ids::GymId) -> i64 {
        let channel = format!("liveplan:{{{gym}}}:live");
        match self.ask(&["PUBSUB", "NUMSUB", &channel]).await {
            redis::Value::Array(answer) => match answer.get(1) {
                Some(redis::Value::Int(count)) => *count,
                other => panic!("not a count: {other:?}"),
            },
            other => panic!("not a list: {other:?}"),
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The arguments of a server that listens with TLS only.
pub fn tls_arguments(port: u16, authority: &Authority, names: &[&str]) -> Vec<String> {
    let issued = authority.issue(names);
    let path = |path: &Path| path.to_str().expect("a path").to_owned();
    let arguments = [
        ("--port", "0".to_owned()),
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", path(&issued.certificate)),
        ("--tls-key-file", path(&issued.key)),
        ("--tls-ca-cert-file", path(&authority.file())),
        ("--tls-auth-clients", "no".to_owned()),
    ];
    arguments
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
}

/// Sends a command to the server at a port.
pub async fn ask(port: u16, command: &[&str]) -> redis::RedisResult<redis::Value> {
    ask_by(&redis::Client::open(format!("redis://127.0.0.1:{port}"))?, command).await
}

/// Sends a command to a client's server.
pub async fn ask_by(client: &redis::Client, command: &[&str]) -> redis::RedisResult<redis::Value> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut message = redis::cmd(command[0]);
    for word in &command[1..] {
        message.arg(*word);
    }
    message.query_async(&mut connection).await
}

/// Sends a signal to a process that a test started.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .status()
        .expect("kill");
    assert!(status.success(), "the process does not exist");
}
