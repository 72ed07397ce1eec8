//! A Redis or Valkey for one test.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
    child: Child,
}

impl Redis {
    pub async fn start() -> Self {
        Self::of(Program::Redis).await
    }

    pub async fn of(program: Program) -> Self {
        let port = super::free_port();
        let child = Self::run(program, port);
        let redis = Self { port, program, child };
        redis.wait().await;
        redis
    }

    fn run(program: Program, port: u16) -> Child {
        Command::new(program.path())
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
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
        self.child = Self::run(self.program, self.port);
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

/// Sends a command to the server at a port.
pub async fn ask(port: u16, command: &[&str]) -> redis::RedisResult<redis::Value> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
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
