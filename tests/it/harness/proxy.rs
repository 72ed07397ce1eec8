//! Proxies that a fault can be put into: one before Postgres that can be cut, held or silent, one before Redis that loses what is
//! published, or is silent.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes connections on to a Unix socket, counts what goes there and back, and can cut them all or hold what they ask.
pub struct Cuttable {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    held: watch::Sender<bool>,
    silent: watch::Sender<bool>,
    trips: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Cuttable {
    /// Before the Postgres of a test's database.
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
                    // What is sent before an answer comes is of one trip.
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

    /// The address of the same database through the proxy.
    pub fn url(&self, database: &str) -> String {
        url_at(self.address, database)
    }

    /// How often something was asked of the database and waited for.
    pub fn trips(&self) -> usize {
        self.trips.load(Ordering::SeqCst)
    }

    /// Holds back whatever is asked from now on; answers to what was asked before come through.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets go of what was held back.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Whether nothing passes either way. Connections stay open and new ones are accepted, as by a machine behind a network that
    /// loses everything; what was sent meanwhile passes when it is over, as TCP sends it again.
    pub fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// Ends every connection and lets none through.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The socket that a test's Postgres listens on.
pub fn socket_of(database: &str) -> PathBuf {
    let config: tokio_postgres::Config = database.parse().expect("a database URL");
    let port = config.get_ports().first().copied().unwrap_or(5432);
    match config.get_hosts().first() {
        Some(tokio_postgres::config::Host::Unix(dir)) => dir.join(format!(".s.PGSQL.{port}")),
        other => panic!("the tests' Postgres listens on a Unix socket, not on {other:?}"),
    }
}

/// The address of the same database at another place.
pub fn url_at(address: SocketAddr, database: &str) -> String {
    let config: tokio_postgres::Config = database.parse().expect("a database URL");
    let (user, name) = (config.get_user().expect("a user"), config.get_dbname().expect("a name"));
    format!("postgresql://{user}@{address}/{name}")
}

/// Passes bytes on, with a word before each part, and none while they are held.
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
            // The proxy's end lets go too.
            let _ = held.wait_for(|held| !*held).await;
        }
        to.write_all(&buffer).await?;
        buffer.clear();
    }
    Ok(())
}

/// Of a number of published messages, every `n`th is lost; 0 loses none. Subscriptions may lead nowhere.
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
    /// Before a Redis. What is published through it goes to a channel that nobody listens to, as often as it is to be lost.
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
                    // Either end's end is the other's too.
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

    /// Whether nothing passes either way: see [`Cuttable::silence`].
    pub fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// Loses every `n`th message from now on.
    pub fn lose_every(&self, n: usize) {
        self.fault.every.store(n, Ordering::SeqCst);
    }

    /// Whether subscriptions from now on lead to channels that nobody publishes to.
    pub fn deafen(&self, deaf: bool) {
        self.fault.deaf.store(deaf, Ordering::SeqCst);
    }

    /// How many subscriptions led nowhere.
    pub fn deafened(&self) -> usize {
        self.fault.deafened.load(Ordering::SeqCst)
    }

    /// How many messages were lost.
    pub fn lost(&self) -> usize {
        self.fault.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes commands on, one at a time, with the channel of a message that is to be lost spoilt.
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
            // The proxy's end lets go too.
            let _ = silent.wait_for(|silent| !*silent).await;
            to.write_all(&command).await?;
        }
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// The first command of a buffer: its length and where its words are; none while it is not whole.
fn command(buffer: &[u8]) -> Option<(usize, Vec<std::ops::Range<usize>>)> {
    let line = |at: usize, mark: u8| -> Option<(usize, usize)> {
        let end = at + buffer.get(at..)?.windows(2).position(|w| w == b"\r\n")?;
        assert_eq!(buffer[at], mark, "a command is an array of strings");
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
