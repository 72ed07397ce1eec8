//! A TCP load balancer: it polls the readiness of its nodes and gives each new connection to the next ready node in
//! turn.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The interval between readiness checks.
const ASK_EVERY: Duration = Duration::from_millis(100);

pub struct Balancer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    nodes: Vec<(SocketAddr, AtomicBool)>,
    next: AtomicUsize,
    /// When each connection arrived.
    came: Mutex<Vec<Instant>>,
}

impl Balancer {
    pub async fn before(nodes: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            nodes: nodes.iter().map(|node| (*node, AtomicBool::new(true))).collect(),
            next: AtomicUsize::new(0),
            came: Mutex::default(),
        });
        let asking = (0..nodes.len()).map(|n| tokio::spawn(ask(shared.clone(), n)));
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        let tasks = asking.chain([accepting]).collect();
        Self { address, shared, tasks }
    }

    /// When each connection arrived.
    pub fn came(&self) -> Vec<Instant> {
        self.shared.came.lock().expect("unpoisoned").clone()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn ask(shared: Arc<Shared>, n: usize) {
    // A new connection for each check, so that a restarted node is not asked over a connection to the old process.
    let http = reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .build()
        .expect("a client");
    let (node, ready) = &shared.nodes[n];
    loop {
        let answer = http
            .get(format!("http://{node}/readyz"))
            .timeout(Duration::from_secs(1))
            .send()
            .await;
        ready.store(answer.is_ok_and(|a| a.status().is_success()), Ordering::SeqCst);
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.came.lock().expect("unpoisoned").push(Instant::now());
        let shared = shared.clone();
        tokio::spawn(async move {
            for _ in 0..shared.nodes.len() {
                let turn = shared.next.fetch_add(1, Ordering::SeqCst);
                let (node, ready) = &shared.nodes[turn % shared.nodes.len()];
                if !ready.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(node).await else {
                    continue;
                };
                let (mut client, mut server) = (client, server);
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                return;
            }
        });
    }
}
