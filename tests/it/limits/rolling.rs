//! A rolling restart under load: two nodes behind a balancer are restarted in turn, while members tick over their
//! sockets and reconnect as SDKs do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::faults::{Floor, effects};
use crate::harness::balancer::Balancer;
use crate::harness::process::Node;
use crate::harness::redis::Redis;
use crate::harness::{Client, Socket, TestApp};

const MEMBERS: usize = 40;
const DRAIN: &str = "3";
/// The pause between a member's ticks.
const EVERY: Duration = Duration::from_millis(150);
/// The most connections that may arrive within 100 ms. Without spreading, half of the members or all would arrive at
/// once.
const AT_ONCE: usize = 12;

/// Counts over all members.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
    connects: AtomicUsize,
    refused: AtomicUsize,
}

struct Phone {
    member: Client,
    at: SocketAddr,
    meal: String,
    date: String,
    tally: Arc<Tally>,
    /// Attempts since the last connect reply.
    attempts: u32,
    keys: Vec<String>,
    codes: Vec<u16>,
}

impl Phone {
    async fn run(mut self) -> (Vec<String>, Vec<u16>) {
        let mut unanswered = None;
        while !self.tally.stop.load(Ordering::SeqCst) || unanswered.is_some() {
            if let Ok(mut socket) = self.connect().await {
                self.tick(&mut socket, &mut unanswered).await;
            }
            // Backoff as in the SDKs: 500 ms plus a random part whose maximum doubles with each failure, at most 20 s
            // in all.
            let step = Duration::from_millis(500) * 2_u32.pow(self.attempts.min(5));
            self.attempts += 1;
            let wait = Duration::from_millis(500) + step.mul_f64(rand::random_range(0.0..1.0));
            tokio::time::sleep(wait.min(Duration::from_secs(20))).await;
        }
        (self.keys, self.codes)
    }

    async fn connect(&mut self) -> Result<Socket, ()> {
        let opened = Socket::attempt(self.at).await;
        let Ok(mut socket) = opened else {
            self.tally.refused.fetch_add(1, Ordering::SeqCst);
            return Err(());
        };
        let token = self.member.token.as_deref();
        let reply = socket.try_call("connect", json!({"token": token})).await;
        match reply {
            Ok(reply) if reply["connect"].is_object() => {
                self.tally.connects.fetch_add(1, Ordering::SeqCst);
                self.attempts = 0;
                Ok(socket)
            }
            Ok(refused) => {
                assert_eq!(refused["error"]["temporary"], true, "{refused}");
                Err(())
            }
            Err(code) => {
                self.codes.extend(code);
                Err(())
            }
        }
    }

    /// Ticks until the socket ends. An unanswered tick is sent again under its key over the next socket.
    async fn tick(&mut self, socket: &mut Socket, unanswered: &mut Option<String>) {
        loop {
            let key = match unanswered.take() {
                Some(key) => key,
                None if self.tally.stop.load(Ordering::SeqCst) => return,
                None => uuid::Uuid::new_v4().to_string(),
            };
            // Each tick changes the completion.
            let portion = self.keys.len() % 900 + 1;
            let data = json!({"key": key, "meal_id": self.meal, "date": self.date, "status": "partial", "portion_permille": portion});
            let reply = socket
                .try_call("rpc", json!({"method": "meal.complete", "data": data}))
                .await;
            match reply {
                Ok(reply) if reply["rpc"].is_object() => {
                    self.keys.push(key);
                    self.tally.acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                Ok(reply) => {
                    assert_eq!(reply["error"]["temporary"], true, "{reply}");
                    *unanswered = Some(key);
                }
                Err(code) => {
                    *unanswered = Some(key);
                    self.codes.extend(code);
                    return;
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// The most connections that arrived within 100 ms.
fn most_at_once(came: &[Instant]) -> usize {
    let within = |n: usize| {
        came[n..]
            .iter()
            .take_while(|at| **at - came[n] < Duration::from_millis(100))
            .count()
    };
    (0..came.len()).map(within).max().unwrap_or_default()
}

#[tokio::test]
async fn a_rolling_restart_loses_no_command_repeats_none_and_causes_no_reconnect_storm() {
    let redis = Redis::start().await;
    let maker = TestApp::start().await;
    let floor = Floor::make(&maker, MEMBERS).await;
    let database = maker.database.clone();
    maker.stop().await;
    let url = redis.url();
    let variables = [("REDIS_URL", url.as_str()), ("DRAIN_SECONDS", DRAIN)];
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(Node::with(&database, &variables).await);
    }
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    let balancer = Balancer::before(&addresses).await;
    let tally = Arc::<Tally>::default();
    let phones: Vec<_> = floor
        .members
        .iter()
        .map(|member| {
            let phone = Phone {
                member: member.clone(),
                at: balancer.address,
                meal: floor.plan.meal.clone(),
                date: floor.today.clone(),
                tally: tally.clone(),
                attempts: 0,
                keys: Vec::new(),
                codes: Vec::new(),
            };
            tokio::spawn(phone.run())
        })
        .collect();
    let began = Instant::now();
    let more = async |of: usize| {
        let from = tally.acknowledged.load(Ordering::SeqCst);
        while tally.acknowledged.load(Ordering::SeqCst) < from + of {
            assert!(
                began.elapsed() < Duration::from_mins(2),
                "no tick was acknowledged for too long"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    more(MEMBERS * 3).await;
    let calm = balancer.came().len();
    for address in &addresses {
        let at = nodes.iter().position(|node| node.address == *address).expect("it runs");
        let took = nodes.remove(at).stop().await;
        assert!(took < Duration::from_secs(20), "the node stopped only after {took:?}");
        nodes.push(Node::at(*address, &database, &variables).await);
        more(MEMBERS * 3).await;
    }
    tally.stop.store(true, Ordering::SeqCst);
    let (mut keys, mut codes) = (Vec::new(), Vec::new());
    for phone in phones {
        let (of_one, closes) = phone.await.expect("no panic");
        keys.extend(of_one);
        codes.extend(closes);
    }
    assert_eq!(keys.len(), tally.acknowledged.load(Ordering::SeqCst));
    assert_eq!(effects(&database, &keys).await, vec![1; keys.len()]);
    // Every socket was closed with the reason, once by each node that it was connected to: at most twice per member.
    assert!(codes.iter().all(|code| *code == 3001), "{codes:?}");
    assert!((MEMBERS..=2 * MEMBERS).contains(&codes.len()), "{} closes", codes.len());
    let came = balancer.came().split_off(calm);
    let most = most_at_once(&came);
    assert!(most <= AT_ONCE, "{most} connections arrived within 100 ms");
    assert!(
        came.len() <= 3 * MEMBERS,
        "a reconnect storm of {} connections",
        came.len()
    );
    eprintln!(
        "{} ticks, {} closes, {} connections, at most {most} within 100 ms, {} refused",
        keys.len(),
        codes.len(),
        came.len(),
        tally.refused.load(Ordering::SeqCst)
    );
}

impl Socket {
    /// Opens a socket if a node answers.
    async fn attempt(address: SocketAddr) -> Result<Self, ()> {
        let stream = tokio::net::TcpStream::connect(address).await.map_err(drop)?;
        Self::upgraded(stream, address).await.map_err(drop)
    }

    /// The reply to a command; if the socket ended instead, the close code, if there was one.
    async fn try_call(&mut self, method: &str, body: Value) -> Result<Value, Option<u16>> {
        use futures_util::{SinkExt as _, StreamExt as _};
        let id = self.take_id();
        // A socket that has been closed takes no more commands, but its close can still be read.
        let _ = self
            .stream
            .send(Message::text(json!({"id": id, method: body}).to_string()))
            .await;
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(20), self.stream.next()).await;
            match frame.expect("an answer or an end in time") {
                Some(Ok(Message::Text(text))) => {
                    for line in text.split('\n') {
                        let message: Value = serde_json::from_str(line).expect("JSON");
                        if message == json!({}) {
                            let _ = self.stream.send(Message::text("{}")).await;
                        } else if message["id"] == id {
                            return Ok(message);
                        }
                    }
                }
                Some(Ok(Message::Close(Some(frame)))) => return Err(Some(frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}
