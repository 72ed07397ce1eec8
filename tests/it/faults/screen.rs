//! A screen that behaves like an SDK: it applies publications, and when its socket or subscription ends, it returns and
//! recovers from its position.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use liveplan::events::merge;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::Client;

/// The time after the end of a fault within which a screen must be correct.
pub const RIGHT_WITHIN: Duration = Duration::from_secs(3);

/// What a screen has received so far.
#[derive(Clone, Default)]
pub struct Seen {
    pub shown: Value,
    epoch: String,
    pub offset: u64,
    /// How often it has subscribed, and how often it recovered instead of getting a snapshot.
    pub subscribed: usize,
    pub recovered: usize,
    /// Set when the server has ended its right permanently.
    pub ended: bool,
}

/// A screen on one channel.
pub struct Screen {
    who: Client,
    pub channel: String,
    seen: watch::Receiver<Seen>,
    at: watch::Sender<SocketAddr>,
    task: JoinHandle<()>,
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Screen {
    /// Opens a screen at a node and waits until it is subscribed.
    pub async fn open(who: &Client, at: SocketAddr, channel: String) -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        let (at, place) = watch::channel(at);
        let task = tokio::spawn(run(who.clone(), place, channel.clone(), sender));
        let mut screen = Self {
            who: who.clone(),
            channel,
            seen,
            at,
            task,
        };
        screen.waits_until("it is subscribed", |seen| seen.subscribed > 0).await;
        screen
    }

    /// Reconnects at another node from now on.
    pub fn move_to(&self, at: SocketAddr) {
        self.at.send_replace(at);
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits for at most 10 s until a condition holds; returns the time it took.
    pub async fn waits_until(&mut self, what: &str, asked: impl Fn(&Seen) -> bool) -> Duration {
        let began = Instant::now();
        let found = tokio::time::timeout(Duration::from_secs(10), self.seen.wait_for(asked)).await;
        assert!(
            found.is_ok_and(|f| f.is_ok()),
            "{}: waited 10 s until {what}",
            self.channel
        );
        began.elapsed()
    }

    /// Asserts that the screen equals a fresh snapshot, read from a live node, within three seconds.
    pub async fn becomes_right(&self, node: SocketAddr) {
        let began = Instant::now();
        let path = format!("/live/snapshots/{}", self.channel);
        loop {
            let fresh = self.who.at(node).get(&path).await.ok();
            let mut shown = self.seen().shown;
            // Presence is not part of the snapshot that REST returns.
            if let Some(shown) = shown.as_object_mut() {
                shown.retain(|name, _| name != "online" && name != "last_seen");
            }
            if shown == fresh["snapshot"] {
                return;
            }
            assert!(
                began.elapsed() < RIGHT_WITHIN,
                "{} shows {shown} and not {}",
                self.channel,
                fresh["snapshot"]
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn run(who: Client, at: watch::Receiver<SocketAddr>, channel: String, sender: watch::Sender<Seen>) {
    loop {
        let place = *at.borrow();
        // Whatever ended the socket, the next round reconnects; a node that does not answer is tried again after 100
        // ms.
        let _ = watch_once(&who, place, &channel, &sender).await;
        if sender.borrow().ended {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs one socket from its opening to its end.
async fn watch_once(who: &Client, at: SocketAddr, channel: &str, sender: &watch::Sender<Seen>) -> Result<(), ()> {
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{at}/connection/websocket"))
        .await
        .map_err(drop)?;
    let own = channel == format!("member:{}", who.account);
    let mut connect = json!({"token": who.token.as_deref()});
    if own && sender.borrow().subscribed > 0 {
        connect["subs"] = json!({channel: from(&sender.borrow())});
    }
    let mut commands = vec![json!({"id": 1, "connect": connect})];
    let subscribe = |seen: &Seen| {
        let mut request = if seen.subscribed > 0 { from(seen) } else { json!({}) };
        request["channel"] = channel.into();
        json!({"id": 2, "subscribe": request})
    };
    if !own {
        commands.push(subscribe(&sender.borrow()));
    }
    for command in commands {
        socket.send(Message::text(command.to_string())).await.map_err(drop)?;
    }
    loop {
        let message = socket.next().await.ok_or(())?.map_err(drop)?;
        let Message::Text(text) = message else { continue };
        for line in text.split('\n') {
            let message: Value = serde_json::from_str(line).map_err(drop)?;
            if message == json!({}) {
                socket.send(Message::text("{}")).await.map_err(drop)?;
            }
            if message["id"] == 1 && own {
                sender.send_modify(|seen| begin(seen, &message["connect"]["subs"][channel]));
            } else if message["id"] == 2 {
                if message["error"]["code"] == 103 {
                    sender.send_modify(|seen| seen.ended = true);
                }
                if !message["error"].is_null() {
                    return Err(());
                }
                sender.send_modify(|seen| begin(seen, &message["subscribe"]));
            }
            let push = &message["push"];
            if push["channel"] != channel {
                continue;
            }
            if push["pub"].is_object() {
                sender.send_modify(|seen| apply(seen, &push["pub"]));
            }
            match push["unsubscribe"]["code"].as_u64() {
                None => {}
                Some(2500..) => {
                    let again = subscribe(&sender.borrow()).to_string();
                    socket.send(Message::text(again)).await.map_err(drop)?;
                }
                Some(_) => {
                    sender.send_modify(|seen| seen.ended = true);
                    return Ok(());
                }
            }
        }
    }
}

fn from(seen: &Seen) -> Value {
    json!({"recover": true, "epoch": seen.epoch, "offset": seen.offset})
}

fn begin(seen: &mut Seen, result: &Value) {
    seen.subscribed += 1;
    result["epoch"].as_str().unwrap_or_default().clone_into(&mut seen.epoch);
    if result["recovered"] == true {
        seen.recovered += 1;
        for publication in result["publications"].as_array().into_iter().flatten() {
            apply(seen, publication);
        }
    } else {
        seen.shown = result["data"].clone();
    }
    seen.offset = seen.offset.max(result["offset"].as_u64().unwrap_or_default());
    if result["recovered"] != true {
        seen.offset = result["offset"].as_u64().unwrap_or_default();
    }
}

fn apply(seen: &mut Seen, publication: &Value) {
    let offset = publication["offset"].as_u64().unwrap_or_default();
    assert!(
        offset == 0 || offset > seen.offset,
        "{offset} came after {}",
        seen.offset
    );
    seen.offset = seen.offset.max(offset);
    merge::apply(&mut seen.shown, publication["data"]["patch"].clone());
}
