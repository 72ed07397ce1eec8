//! The servers that the hub is held against: processes that take `COUNT NUMBER` on their standard input and send so many
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

/// How long everybody may take to get a burst.
pub const WITHIN: Duration = Duration::from_secs(20);

/// Which one.
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

/// A running one.
pub struct Peer {
    pub kind: Kind,
    child: Child,
    input: ChildStdin,
    port: u16,
}

/// Where the peers' packages are, if they are installed.
pub fn packages() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    folder.join("node_modules").is_dir().then_some(folder)
}

impl Peer {
    /// Starts one that sends these texts; none where it cannot run on this machine.
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

    /// Opens sockets, one after the other, for the swarm.
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
                // It greets, is asked for the default namespace, and grants it.
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
                        None => assert!(socket.read_buf(&mut rest).await.expect("read") > 0, "it ended"),
                    }
                }
            }
            let speech = Speech::Frames { ping: b"2", pong: b"3" };
            let socket = socket.into_std().expect("a socket");
            swarm.join_bare(socket, speech, rest, Vec::new()).expect("joined");
        }
    }

    /// Sends so many bursts of so many messages of a text, each after `change` was made elsewhere and when everybody has the one
    /// before; processor time of this server for each delivery, in microseconds.
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
            // In one piece: the floor takes what it reads for whole lines.
            let line = format!("{burst} {text}\n");
            self.input.write_all(line.as_bytes()).expect("it listens");
            let all = swarm.reached(wanted, WITHIN).await;
            assert!(
                all,
                "{} sends to all: {} messages are missing; {:?}",
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
