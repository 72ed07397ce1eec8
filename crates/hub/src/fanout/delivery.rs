//! Where a log's ordered changes go: to this node's subscriptions, those of a channel together.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::HubInner;
use crate::fanout::encoded::{Bundle, Encoded};
use crate::fanout::subscription::Doubt;
use crate::ids::LogId;
use crate::log::change::{Committed, LoggedEvent, whose_access};

/// A channel's messages, and when their changes were committed.
#[derive(Default)]
struct OfChannel {
    messages: Vec<Encoded>,
    committed: Vec<std::time::Instant>,
}

/// Holds back what comes from a change on of those whose access it changes, until their rights were checked again. Before anybody
/// can be given the change.
pub(crate) fn doubt_access(hub: &HubInner, log: LogId, change: &Committed) {
    for user in change.events.iter().filter_map(|event| whose_access(&event.channel)) {
        for connection in hub.connections.of_user(log, user) {
            connection.doubt(Some(log), change.seq);
        }
    }
}

/// Hands changes to this node's subscriptions, those of a channel together, and has rights checked again where access changed.
pub(crate) async fn deliver(hub: &Arc<HubInner>, log: LogId, changes: Vec<Committed>) {
    let mut channels: HashMap<Arc<str>, OfChannel> = HashMap::new();
    for change in changes {
        for LoggedEvent { channel, payload } in change.events {
            if let Some(user) = whose_access(&channel) {
                // What came before is theirs to see.
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

/// Channels go in the order of their first messages.
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

/// Lets a log's subscriptions go, a few at a time, so that they do not all come back at once. Among what is missing may be
/// words of changed access, so every connection is checked too.
pub(crate) fn lose_all(hub: &Arc<HubInner>, log: LogId) {
    hub.counters.let_go.inc();
    let subscriptions = hub.registry.subscriptions_of(log);
    for subscription in &subscriptions {
        // None of them may get what comes after what is missing: it would look as if nothing were.
        subscription.doubt(Doubt::FOR_GOOD);
    }
    // Those that go meanwhile are not kept: with them their files.
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
