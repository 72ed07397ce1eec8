//! Other nodes: what this one commits goes to them through Redis pub/sub, one channel a gym. It is only the fast path:
//! what it loses the sweep finds within a second. Without Redis there are no others.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{HubInner, wire};
use crate::events::Committed;
use crate::ids::{AccountId, GymId};

/// Messages that may wait to be published; over it they are dropped, and the other nodes' sweeps find them.
const OUTBOX: usize = 4096;
/// Pushes that may wait to be looked at; over it they are dropped, and this node's own sweep finds them.
const INBOX: usize = 4096;
/// Seconds that a node's word on who is online is believed.
const LEASE_SECONDS: u64 = 4;

/// The way to other nodes.
pub enum Broker {
    /// There are none.
    Local,
    /// Through Redis.
    Redis(RedisBroker),
}

/// See [`Broker::Redis`].
pub struct RedisBroker {
    node: Uuid,
    publish: mpsc::Sender<(GymId, Vec<u8>)>,
    wanted: Arc<Mutex<HashSet<GymId>>>,
    reconcile: mpsc::Sender<()>,
    presence: ConnectionManager,
    up: Arc<AtomicBool>,
}

/// Pushes of the subscribing connection.
pub type Incoming = mpsc::Receiver<PushInfo>;

impl Broker {
    /// Connects to Redis where there is one.
    pub async fn connect(url: Option<&str>, node: Uuid) -> anyhow::Result<(Self, Option<Incoming>)> {
        let Some(url) = url else { return Ok((Self::Local, None)) };
        // RESP3 is what carries pushes on the connection that commands use.
        let resp3 = if url.contains("protocol=") {
            url.to_owned()
        } else {
            format!("{url}{}protocol=resp3", if url.contains('?') { '&' } else { '?' })
        };
        let client = redis::Client::open(resp3).context("REDIS_URL is not a Redis URL")?;
        let (sender, incoming) = mpsc::channel(INBOX);
        // Never waits, and an error would end the connection: what does not fit is dropped.
        let offer = move |push: PushInfo| match sender.try_send(push) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(closed @ mpsc::error::TrySendError::Closed(_)) => Err(closed),
        };
        let patient = ConnectionManagerConfig::new()
            .set_number_of_retries(usize::MAX)
            .set_max_delay(Duration::from_secs(1));
        let subscriber = client
            .get_connection_manager_with_config(patient.set_push_sender(offer).set_automatic_resubscription())
            .await
            .context("cannot connect to Redis")?;
        let brisk = || {
            ConnectionManagerConfig::new()
                .set_number_of_retries(1)
                .set_max_delay(Duration::from_millis(200))
                .set_response_timeout(Some(Duration::from_secs(1)))
                .set_connection_timeout(Some(Duration::from_secs(1)))
        };
        let publisher = client.get_connection_manager_with_config(brisk()).await?;
        let presence = client.get_connection_manager_with_config(brisk()).await?;
        let (publish, to_publish) = mpsc::channel(OUTBOX);
        let (reconcile, reconciled) = mpsc::channel(1);
        let up = Arc::new(AtomicBool::new(true));
        let wanted = Arc::<Mutex<HashSet<GymId>>>::default();
        tokio::spawn(publish_all(publisher, to_publish, up.clone()));
        tokio::spawn(keep_subscribed(subscriber, wanted.clone(), reconciled));
        Ok((
            Self::Redis(RedisBroker {
                node,
                publish,
                wanted,
                reconcile,
                presence,
                up,
            }),
            Some(incoming),
        ))
    }

    /// Sends a change to the other nodes, without waiting.
    pub fn publish(&self, change: &Committed) {
        if let Self::Redis(redis) = self {
            // A full queue drops it; the sweep finds it.
            let _ = redis.publish.try_send((change.gym, wire::encode(redis.node, change)));
        }
    }

    /// Listens for a gym's changes from now on.
    pub fn listen(&self, gym: GymId) {
        if let Self::Redis(redis) = self {
            let new = redis.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(gym);
            if new {
                let _ = redis.reconcile.try_send(());
            }
        }
    }

    /// Listens for the changes of these gyms only.
    pub fn reconcile(&self, gyms: &[GymId]) {
        if let Self::Redis(redis) = self {
            *redis.wanted.lock().unwrap_or_else(PoisonError::into_inner) = gyms.iter().copied().collect();
            let _ = redis.reconcile.try_send(());
        }
    }

    /// Whether the last message could be published.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Local => true,
            Self::Redis(redis) => redis.up.load(Ordering::Relaxed),
        }
    }

    /// Writes who is online here and reads who is online on other nodes. A node's word runs out as a whole.
    pub async fn exchange_presence(
        &self,
        here: &HashMap<GymId, HashSet<AccountId>>,
    ) -> HashMap<GymId, HashSet<AccountId>> {
        let Self::Redis(redis) = self else {
            return HashMap::new();
        };
        let mut elsewhere = HashMap::new();
        for (gym, accounts) in here {
            match redis.exchange(*gym, accounts).await {
                Ok(others) => {
                    elsewhere.insert(*gym, others);
                }
                Err(error) => tracing::debug!(gym.id = %gym, error.cause = %error, "cannot exchange who is online"),
            }
        }
        elsewhere
    }
}

impl RedisBroker {
    async fn exchange(&self, gym: GymId, accounts: &HashSet<AccountId>) -> redis::RedisResult<HashSet<AccountId>> {
        let mut redis = self.presence.clone();
        let nodes = format!("liveplan:{{{gym}}}:nodes");
        let lease = |node: &str| format!("liveplan:{{{gym}}}:online:{node}");
        let word: Vec<String> = accounts.iter().map(ToString::to_string).collect();
        let me = self.node.to_string();
        let known: Vec<String> = redis::pipe()
            .cmd("SET")
            .arg(lease(&me))
            .arg(word.join(","))
            .arg("EX")
            .arg(LEASE_SECONDS)
            .ignore()
            .cmd("SADD")
            .arg(&nodes)
            .arg(&me)
            .ignore()
            .cmd("EXPIRE")
            .arg(&nodes)
            .arg(3600)
            .ignore()
            .cmd("SMEMBERS")
            .arg(&nodes)
            .query_async::<(Vec<String>,)>(&mut redis)
            .await?
            .0;
        let others: Vec<&String> = known.iter().filter(|node| **node != me).collect();
        let mut online = HashSet::new();
        if others.is_empty() {
            return Ok(online);
        }
        let mut ask = redis::cmd("MGET");
        for node in &others {
            ask.arg(lease(node));
        }
        let words: Vec<Option<String>> = ask.query_async(&mut redis).await?;
        for (node, word) in others.into_iter().zip(words) {
            match word {
                Some(word) => online.extend(word.split(',').filter_map(|a| a.parse::<AccountId>().ok())),
                None => {
                    // A node that has gone: once, not with every exchange.
                    let () = redis::cmd("SREM").arg(&nodes).arg(node).query_async(&mut redis).await?;
                }
            }
        }
        Ok(online)
    }
}

fn channel_of(gym: GymId) -> String {
    format!("liveplan:{{{gym}}}:live")
}

/// Publishes what comes, many at a time in one round trip.
async fn publish_all(mut redis: ConnectionManager, mut queue: mpsc::Receiver<(GymId, Vec<u8>)>, up: Arc<AtomicBool>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, 256).await > 0 {
        let mut pipe = redis::pipe();
        for (gym, message) in batch.drain(..) {
            pipe.cmd("PUBLISH").arg(channel_of(gym)).arg(message).ignore();
        }
        let result: redis::RedisResult<()> = pipe.query_async(&mut redis).await;
        if up.swap(result.is_ok(), Ordering::Relaxed) && result.is_err() {
            tracing::warn!("cannot reach Redis; changes reach other nodes by their sweeps until it is back");
        }
    }
}

/// Makes the subscriptions those that are wanted. The one task that subscribes, so that orders cannot cross.
async fn keep_subscribed(
    mut redis: ConnectionManager,
    wanted: Arc<Mutex<HashSet<GymId>>>,
    mut reconciled: mpsc::Receiver<()>,
) {
    let mut have: HashSet<GymId> = HashSet::new();
    while reconciled.recv().await.is_some() {
        let want = wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for gym in want.difference(&have).copied().collect::<Vec<_>>() {
            if redis.subscribe(channel_of(gym)).await.is_ok() {
                have.insert(gym);
            }
        }
        for gym in have.difference(&want).copied().collect::<Vec<_>>() {
            if redis.unsubscribe(channel_of(gym)).await.is_ok() {
                have.remove(&gym);
            }
        }
    }
}

/// Hands on what other nodes publish.
pub(super) async fn receive(hub: Weak<HubInner>, mut incoming: Incoming) {
    while let Some(push) = incoming.recv().await {
        let Some(hub) = hub.upgrade() else { return };
        match push.kind {
            PushKind::Message => {
                let Some(Value::BulkString(message)) = push.data.get(1) else {
                    continue;
                };
                match wire::decode(message) {
                    Some((node, change)) if node.to_string() != hub.node => hub.take(change),
                    Some(_) => {}
                    None => tracing::warn!("a message of another version or damaged; the sweep finds what it said"),
                }
            }
            PushKind::Disconnection | PushKind::Subscribe => hub.sweep_soon(),
            _ => {}
        }
    }
}
