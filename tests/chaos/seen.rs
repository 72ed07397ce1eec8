//! A client's view of its channels, and what it records.

use std::collections::BTreeMap;

use liveplan::events::merge;
use serde_json::Value;

use crate::wire::{Position, Started};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not subscribed at the moment.
    Away,
    /// A subscribe is under way; `again` if the channel was wanted once more meanwhile.
    Asking {
        again: bool,
    },
    Live,
    /// Refused or ended permanently by the server.
    Ended(u64),
}

/// A channel as the client knows it.
#[derive(Clone, Debug)]
pub struct Channel {
    pub state: State,
    pub shown: Value,
    pub position: Option<Position>,
    pub server_side: bool,
}

/// Everything that a client has received and recorded.
#[derive(Default)]
pub struct Seen {
    pub channels: BTreeMap<String, Channel>,
    pub connected: bool,
    /// The close code that forbids a reconnect.
    pub terminal: Option<u16>,
    pub attempts: usize,
    pub connections: usize,
    pub recovered: usize,
    pub snapshots: usize,
    pub publications: usize,
    /// Counts by code: closes, unsubscribes and refusals.
    pub codes: BTreeMap<u64, usize>,
    /// Events that must never happen.
    pub violations: Vec<String>,
}

/// The channels that a client chooses to watch.
#[derive(Clone, Debug)]
pub enum Watches {
    /// The plan that its own channel says it follows.
    ItsPlan { own: String },
    /// The members on its roster.
    ItsRoster { own: String },
    /// A fixed list of channels.
    Fixed(Vec<String>),
}

impl Seen {
    /// Starts or recovers a channel from the server's answer.
    pub fn begin(&mut self, name: &str, result: Started, server_side: bool) {
        let channel = self
            .channels
            .entry(name.to_owned())
            .or_insert_with(|| Channel::new(server_side));
        channel.state = State::Live;
        let known = channel.position.as_ref();
        let same_epoch = known.is_some_and(|known| known.epoch == result.epoch);
        if result.recovered {
            self.recovered += 1;
            if !same_epoch {
                self.violations.push(format!("{name}: recovered into another epoch"));
            }
            for (offset, data) in result.missed {
                apply(channel, &mut self.violations, name, offset, data);
                self.publications += 1;
            }
            return;
        }
        self.snapshots += 1;
        if let Some(known) = known.filter(|known| same_epoch && result.offset < known.offset) {
            let text = format!("{name}: a snapshot at {} after {}", result.offset, known.offset);
            self.violations.push(text);
        }
        if result.data["fetch"] == true {
            self.violations.push(format!("{name}: too big for a reply"));
        }
        channel.shown = result.data;
        channel.position = Some(Position {
            epoch: result.epoch,
            offset: result.offset,
        });
    }

    /// Applies a publication to its channel, which must be live.
    pub fn publish(&mut self, name: &str, offset: u64, data: Value) {
        self.publications += 1;
        let Some(channel) = self.channels.get_mut(name).filter(|c| c.state == State::Live) else {
            let state = self.channels.get(name).map(|c| c.state);
            self.violations
                .push(format!("{name}: publication {offset} on a channel that is {state:?}"));
            return;
        };
        apply(channel, &mut self.violations, name, offset, data);
    }
}

impl Channel {
    pub fn new(server_side: bool) -> Self {
        Self {
            state: State::Away,
            shown: Value::Null,
            position: None,
            server_side,
        }
    }
}

/// The plan channel of the follow in a member's own channel.
pub fn plan_of(member: &Value) -> Option<String> {
    let plan = member["follow"]["plan_id"].as_str()?;
    Some(format!("plan:{plan}"))
}

fn apply(channel: &mut Channel, violations: &mut Vec<String>, name: &str, offset: u64, mut data: Value) {
    if offset > 0 {
        match &mut channel.position {
            Some(position) if offset > position.offset => position.offset = offset,
            position => violations.push(format!("{name}: {offset} came after {position:?}")),
        }
    }
    merge::apply(&mut channel.shown, data["patch"].take());
}
