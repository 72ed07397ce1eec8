//! Proxies for fault injection: one in front of Postgres that can cut, hold or silence connections, and one in front of
//! Redis that loses published messages or goes silent.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards connections to a Unix socket, counts round trips, and can cut all connections or hold back requests.
pub struct Cuttable {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    held: watch::Sender<bool>,
    silent: watch::Sender<bool>,
    trips: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Cuttable {
    /// Starts a proxy in front of the Postgres of a test's database.
    pub async fn before_postgres(database: &str) -> Self {
        let socket = socket_of(database);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (cut, is_cut) = watch::channel(false);
        let (held, is_held) = watch::channel(false);
        let (silent, is_silent) = watch::channel(false);
        let trips = Arc::<AtomicUsize>::default();
        let faults = (is_cut, is_held, is_silent);
        let task = tokio::spawn(Self::accept(listener, socket, faults, trips.clone()));
        Self {
            address,
            cut,
            held,
            silent,
            trips,
            task,
        }
    }

    async fn accept(
        listener: TcpListener,
        upstream: PathBuf,
        (is_cut, is_held, is_silent): (watch::Receiver<bool>, watch::Receiver<bool>, watch::Receiver<bool>),
        trips: Arc<AtomicUsize>,
    ) {
        while let Ok((client, _)) = listener.accept().await {
            let (upstream, mut is_cut, trips) = (upstream.clone(), is_cut.clone(), trips.clone());
            let (is_held, is_silent) = (is_held.clone(), is_silent.clone());
            tokio::spawn(async move {
                if *is_cut.borrow_and_update() {
                    return;
                }
                let Ok(server) = UnixStream::connect(upstream).await else {
                    return;
                };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let waiting = AtomicBool::new(false);
                let asked = || {
                    // Everything that is sent before an answer arrives belongs to one round trip.
                    if !waiting.swap(true, Ordering::SeqCst) {
                        trips.fetch_add(1, Ordering::SeqCst);
                    }
                };
                let answered = || waiting.store(false, Ordering::SeqCst);
                tokio::select! {
                    _ = pass(from_client, to_server, asked, vec![is_held, is_silent.clone()]) => {}
                    _ = pass(from_server, to_client, answered, vec![is_silent]) => {}
                    _ = is_cut.wait_for(|cut| *cut) => {}
                }
            });
        }
    }

    /// The URL of the same database through the proxy.
    pub fn url(&self, database: &str) -> String {
        url_at(self.address, database)
    }

    /// The number of round trips to the database.
    pub fn trips(&self) -> usize {
        self.trips.load(Ordering::SeqCst)
    }

    /// Holds back requests from now on; answers to earlier requests still pass.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Releases the requests that were held back.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Turns silence on or off: nothing passes in either direction, connections stay open and new ones are accepted, as
    /// when a network drops every packet. When it ends, everything sent meanwhile passes, as TCP retransmits it.
    pub fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// Closes every connection and refuses new ones.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Accepts connections again.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The Unix socket that a test's Postgres listens on.
pub fn socket_of(database: &str) -> PathBuf {
    let config: tokio_postgres::Config = database.parse().expect("a database URL");
    let port = config.get_ports().first().copied().unwrap_or(5432);
    match config.get_hosts().first() {
        Some(tokio_postgres::config::Host::Unix(dir)) => dir.join(format!(".s.PGSQL.{port}")),
        other => panic!("the tests' Postgres listens on a Unix socket, not on {other:?}"),
    }
}

/// The URL of the same database at another address.
pub fn url_at(address: SocketAddr, database: &str) -> String {
    let config: tokio_postgres::Config = database.parse().expect("a database URL");
    let (user, name) = (config.get_user().expect("a user"), config.get_dbname().expect("a name"));
    format!("postgresql://{user}@{address}/{name}")
}

/// Forwards bytes, calls `before` for each part, and waits while any of `held` is true.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    before: impl Fn(),
    mut held: Vec<watch::Receiver<bool>>,
) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    while from.read_buf(&mut buffer).await? > 0 {
        before();
        for held in &mut held {
            // An error means that the proxy has ended; forwarding then continues.
            let _ = held.wait_for(|held| !*held).await;
        }
        to.write_all(&buffer).await?;
        buffer.clear();
    }
    Ok(())
}

/// Loses every `n`th published message (0: none), and can make subscriptions ineffective.
pub struct Lossy {
    address: SocketAddr,
    fault: Arc<Fault>,
    silent: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Fault {
    every: AtomicUsize,
    lost: AtomicUsize,
    deaf: AtomicBool,
    deafened: AtomicUsize,
}

impl Lossy {
    /// Starts a proxy in front of a Redis. A message to lose is published to a channel that nobody listens to.
    pub async fn before_redis(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let fault = Arc::<Fault>::default();
        let put_in = fault.clone();
        let (silent, is_silent) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                let (fault, is_silent) = (put_in.clone(), is_silent.clone());
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    // When one side closes, the other is closed too.
                    tokio::select! {
                        _ = pass_commands(from_client, to_server, &fault, is_silent.clone()) => {}
                        _ = pass(from_server, to_client, || {}, vec![is_silent]) => {}
                    }
                });
            }
        });
        Self {
            address,
            fault,
            silent,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Turns silence on or off: see [`Cuttable::silence`].
    pub fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// Loses every `n`th message from now on.
    pub fn lose_every(&self, n: usize) {
        self.fault.every.store(n, Ordering::SeqCst);
    }

    /// Whether subscriptions from now on go to channels that nobody publishes to.
    pub fn deafen(&self, deaf: bool) {
        self.fault.deaf.store(deaf, Ordering::SeqCst);
    }

    /// The number of subscriptions that were made ineffective.
    pub fn deafened(&self) -> usize {
        self.fault.deafened.load(Ordering::SeqCst)
    }

    /// The number of messages that were lost.
    pub fn lost(&self) -> usize {
        self.fault.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards one command at a time; the channel of a message to lose is overwritten.
async fn pass_commands(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    fault: &Fault,
    mut silent: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (mut buffer, mut published) = (Vec::new(), 0_usize);
    loop {
        while let Some((length, parts)) = command(&buffer) {
            let mut command: Vec<u8> = buffer.drain(..length).collect();
            if command[parts[0].clone()].eq_ignore_ascii_case(b"PUBLISH") {
                published += 1;
                let every = fault.every.load(Ordering::SeqCst);
                if every > 0 && published.is_multiple_of(every) {
                    command[parts[1].clone()].fill(b'x');
                    fault.lost.fetch_add(1, Ordering::SeqCst);
                }
            }
            let subscribes = command[parts[0].clone()].eq_ignore_ascii_case(b"SUBSCRIBE");
            if subscribes && fault.deaf.load(Ordering::SeqCst) {
                command[parts[1].clone()].fill(b'x');
                fault.deafened.fetch_add(1, Ordering::SeqCst);
            }
            // An error means that the proxy has ended; forwarding then continues.
            let _ = silent.wait_for(|silent| !*silent).await;
            to.write_all(&command).await?;
        }
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Parses the first command of a buffer: its length and the ranges of its words, or `None` while it is incomplete.
fn command(buffer: &[u8]) -> Option<(usize, Vec<std::ops::Range<usize>>)> {
    let line = |at: usize, mark: u8| -> Option<(usize, usize)> {
        let end = at + buffer.get(at..)?.windows(2).position(|w| w == b"\r\n")?;
        assert_eq!(buffer[at], mark, "the command is not an array of strings");
        let number = std::str::from_utf8(&buffer[at + 1..end]).ok()?.parse().ok()?;
        Some((number, end + 2))
    };
    let (count, mut at) = line(0, b'*')?;
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, start) = line(at, b'$')?;
        at = start + length + 2;
        if buffer.len() < at {
            return None;
        }
        parts.push(start..start + length);
    }
    Some((at, parts))
}
