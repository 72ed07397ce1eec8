//! A Redis of a test's own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Redis {
    pub port: u16,
    child: Child,
}

impl Redis {
    pub async fn start() -> Self {
        let port = super::free_port();
        let child = Self::run(port);
        let redis = Self { port, child };
        redis.wait().await;
        redis
    }

    fn run(port: u16) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server")
    }

    async fn wait(&self) {
        let began = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "redis-server does not answer"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Brings it back after [`Redis::kill`], empty.
    pub async fn restart(&mut self) {
        self.child = Self::run(self.port);
        self.wait().await;
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
