//! The servers that the hub is compared with: processes that read `COUNT NUMBER` from standard input and send that many
//! messages to every socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use liveplan_hub::protocol::Codec;
use liveplan_load::door;
use liveplan_load::process::cpu;
use liveplan_load::stream::{self, Frame};
use liveplan_load::swarm::{Speech, Swarm};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::node::free_port;

/// How long a burst may take to reach every socket.
pub const WITHIN: Duration = Duration::from_secs(20);

/// The kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bare epoll loop.
    Floor,
    /// npm ws.
    Ws,
    /// Socket.IO with its Redis adapter.
    SocketIo,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "bare epoll loop",
            Self::Ws => "npm ws",
            Self::SocketIo => "Socket.IO, Redis adapter",
        }
    }
}

/// A running server.
pub struct Peer {
    pub kind: Kind,
    child: Child,
    input: ChildStdin,
    port: u16,
}

/// The folder of the peers' npm packages, if they are installed.
pub fn packages() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    folder.join("node_modules").is_dir().then_some(folder)
}

impl Peer {
    /// Starts a server that sends these texts; none if it cannot run on this machine.
    pub fn start(kind: Kind, texts: &Path, redis: Option<&str>) -> Option<Self> {
        let port = free_port();
        let mut command = match kind {
            Kind::Floor => {
                let mut command = Command::new(std::env::current_exe().ok()?);
                command.arg("floor");
                command
            }
            Kind::Ws | Kind::SocketIo => {
                let file = if kind == Kind::Ws { "ws.mjs" } else { "socketio.mjs" };
                let mut command = Command::new("node");
                command.env("NODE_ENV", "production").arg(packages()?.join(file));
                command
            }
        };
        command.arg(port.to_string()).arg(texts).args(redis);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let input = child.stdin.take()?;
        let mut ready = String::new();
        BufReader::new(child.stdout.take()?).read_line(&mut ready).ok()?;
        assert_eq!(ready.trim(), "ready", "{} starts", kind.name());
        Some(Self {
            kind,
            child,
            input,
            port,
        })
    }

    /// Opens sockets, one after the other, and adds them to the swarm.
    pub async fn connect(&self, count: usize, swarm: &Swarm) {
        for _ in 0..count {
            let address = format!("127.0.0.1:{}", self.port);
            let path = if self.kind == Kind::SocketIo {
                "/socket.io/?EIO=4&transport=websocket"
            } else {
                "/"
            };
            let (mut socket, mut rest) = door::bare(&address, path).await.expect("a socket");
            if self.kind == Kind::SocketIo {
                // Engine.IO opens, the client asks for the default namespace, and the server confirms it.
                let connect = stream::masked(Codec::Json, b"40");
                socket.write_all(&connect).await.expect("sent");
                loop {
                    match stream::frame(&rest).expect("a frame") {
                        Some((frame, length)) => {
                            let granted = matches!(frame, Frame::Data(text) if text.starts_with(b"40"));
                            rest.drain(..length);
                            if granted {
                                break;
                            }
                        }
                        None => assert!(
                            socket.read_buf(&mut rest).await.expect("read") > 0,
                            "the server closed the connection"
                        ),
                    }
                }
            }
            let speech = Speech::Frames { ping: b"2", pong: b"3" };
            let socket = socket.into_std().expect("a socket");
            swarm.join_bare(socket, speech, rest, Vec::new()).expect("joined");
        }
    }

    /// Sends bursts of messages of one text. Each burst follows a call of `change` and waits until all sockets have the
    /// previous one. Returns this server's CPU time per delivery in microseconds.
    pub async fn window(
        &mut self,
        swarm: &mut Swarm,
        sockets: usize,
        [bursts, burst, text]: [usize; 3],
        mut change: impl AsyncFnMut(&mut Swarm),
    ) -> f64 {
        let before = cpu(self.child.id()).expect("it runs");
        for _ in 0..bursts {
            change(swarm).await;
            let wanted = swarm.deliveries() + (sockets * burst) as u64;
            // Write the line at once: the floor takes every read for complete lines.
            let line = format!("{burst} {text}\n");
            self.input.write_all(line.as_bytes()).expect("it listens");
            let all = swarm.reached(wanted, WITHIN).await;
            assert!(
                all,
                "{} did not send to all sockets: {} messages are missing; {:?}",
                self.kind.name(),
                wanted - swarm.deliveries(),
                swarm.judge().await.expect("a verdict").ends
            );
        }
        let used = cpu(self.child.id()).expect("it runs").saturating_sub(before);
        super::stats::micros(used, sockets * bursts * burst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
