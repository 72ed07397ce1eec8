//! Delivery of a log's ordered changes to this node's subscriptions, in one bundle per channel.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::HubInner;
use crate::fanout::encoded::{Bundle, Encoded};
use crate::fanout::subscription::Doubt;
use crate::ids::LogId;
use crate::log::change::{Committed, LoggedEvent, whose_access};

/// A channel's messages, and the commit times of their changes.
#[derive(Default)]
struct OfChannel {
    messages: Vec<Encoded>,
    committed: Vec<std::time::Instant>,
}

/// Puts the rights of users whose access a change affects in doubt from that change on: their subscriptions hold back
/// until a check. Must run before anybody can be sent the change.
pub(crate) fn doubt_access(hub: &HubInner, log: LogId, change: &Committed) {
    for user in change.events.iter().filter_map(|event| whose_access(&event.channel)) {
        for connection in hub.connections.of_user(log, user) {
            connection.doubt(Some(log), change.seq);
        }
    }
}

/// Delivers changes to this node's subscriptions, bundled by channel, and re-authorises the connections of users with
/// access events.
pub(crate) async fn deliver(hub: &Arc<HubInner>, log: LogId, changes: Vec<Committed>) {
    let mut channels: HashMap<Arc<str>, OfChannel> = HashMap::new();
    for change in changes {
        for LoggedEvent { channel, payload } in change.events {
            if let Some(user) = whose_access(&channel) {
                // Events before the access event belong to the right that still held, so they are delivered first.
                hand_out(hub, log, std::mem::take(&mut channels)).await;
                for connection in hub.connections.of_user(log, user) {
                    connection.authorise_again();
                }
                continue;
            }
            let message = Encoded::publication(&channel, &payload, change.seq);
            let there = channels.entry(channel).or_default();
            there.messages.push(message);
            there.committed.extend(change.committed_at);
        }
    }
    hand_out(hub, log, channels).await;
}

/// Delivers channels in the order of their first messages.
async fn hand_out(hub: &Arc<HubInner>, log: LogId, channels: HashMap<Arc<str>, OfChannel>) {
    let mut channels: Vec<_> = channels.into_iter().collect();
    channels.sort_by_key(|(_, there)| there.messages.first().map(Encoded::offset));
    for (channel, OfChannel { messages, committed }) in channels {
        let count = messages.len() as u64;
        let frames = hub.registry.deliver_all(log, &channel, &Bundle::new(messages)).await;
        if frames > 0 {
            for at in committed {
                hub.counters.delivery_seconds.observe(at.elapsed(), frames / count);
            }
        }
    }
}

/// Ends all subscriptions of a log in small batches, so that clients do not all come back at once. The missing changes
/// may include access events, so every connection is re-authorised too.
pub(crate) fn lose_all(hub: &Arc<HubInner>, log: LogId) {
    hub.counters.let_go.inc();
    let subscriptions = hub.registry.subscriptions_of(log);
    for subscription in &subscriptions {
        // A later publication would hide from the client that earlier ones are missing.
        subscription.doubt(Doubt::FOR_GOOD);
    }
    // Weak, so that connections that end meanwhile release their files at once.
    let subscriptions: Vec<_> = subscriptions.iter().map(Arc::downgrade).collect();
    let connections: Vec<_> = hub.connections.of_log(log).iter().map(Arc::downgrade).collect();
    hub.runtime.spawn(async move {
        for batch in subscriptions.chunks(50) {
            for subscription in batch.iter().filter_map(Weak::upgrade) {
                subscription.lose();
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(10..60))).await;
        }
        for batch in connections.chunks(50) {
            for connection in batch.iter().filter_map(Weak::upgrade) {
                connection.authorise_again();
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(10..60))).await;
        }
    });
}
