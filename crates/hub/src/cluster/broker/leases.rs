//! Presence leases. Each node renews one lease per second, and writes its users into a list per log. Lists of nodes
//! without a valid lease are ignored, so all users of a dead node go offline together. If a list was lost or replaced, its
//! node writes it again as soon as it does not find its own entry.
//!
//! Leases and entries are sealed and expire, so that whoever can write to Redis cannot make anybody look online: forged
//! and altered ones do not open, and those that were put back are not fresh. Who overwrites or deletes them again and
//! again can make a node's users look offline, or keep its last entry for as long as that is valid.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::RedisResult;
use uuid::Uuid;

use super::BrokerInner;
use super::line::Line;
use crate::cluster::freshness::{Freshness, Moment};
use crate::cluster::keyring::Kind;
use crate::ids::{LogId, UserId};

/// How long a node without renewal still counts as alive.
const LEASE: Duration = Duration::from_secs(4);
/// How long an entry is valid. It is written again when its users change, and before it expires.
const ENTRY: Duration = Duration::from_secs(8);
/// Interval between two writes of an unchanged entry.
const ENTRY_AGAIN: Duration = Duration::from_secs(3);
/// Seconds that a log's list outlives its last use by any node.
const LIST_SECONDS: u64 = 3600;
/// The hash tag of keys that belong to no log.
const NODES: &str = "nodes";
/// Largest number of nodes that are read.
const MOST_NODES: usize = 1024;

/// Online users by log.
pub(crate) type Online = HashMap<LogId, HashSet<UserId>>;
/// A node's name in Redis, as read there.
type NodeName = Vec<u8>;

/// This node's side of the leases.
pub(crate) struct Leases {
    shared: Arc<BrokerInner>,
    me: String,
    /// This node's entry in each log's list, as last read there.
    said: HashMap<LogId, Entry>,
    /// The expiry that was written last. The next one is higher even if the system's clock was set back.
    expiry: u64,
    freshness: Freshness<NodeName>,
    entries: Freshness<(LogId, NodeName)>,
}

/// An entry that this node wrote.
#[derive(Clone, PartialEq, Eq)]
struct Entry {
    users: Vec<u8>,
    sealed: Vec<u8>,
    written: Instant,
}

/// The talk with one server about its logs.
struct Talk {
    line: Arc<Line>,
    logs: Vec<LogId>,
}

/// What a server's lists contain: each log's entries, by node.
type Lists = Vec<(LogId, HashMap<NodeName, Vec<u8>>)>;

impl Leases {
    pub(crate) fn new(shared: Arc<BrokerInner>) -> Self {
        Self {
            me: shared.node.to_string(),
            shared,
            said: HashMap::new(),
            expiry: 0,
            freshness: Freshness::new(LEASE),
            entries: Freshness::new(ENTRY),
        }
    }

    /// Publishes who is online here and returns who is online on other nodes, by log. Logs whose server failed are left
    /// out.
    pub async fn exchange(&mut self, here: &Online) -> Online {
        let now = Moment::now();
        self.freshness.forget_old(now);
        self.entries.forget_old(now);
        let living = match self.renew(now).await {
            Ok(living) => living,
            Err(error) => {
                self.failed(&error);
                return Online::new();
            }
        };
        let talks = self.talks(here);
        let entries: HashMap<LogId, Entry> = here
            .iter()
            .map(|(log, users)| (*log, self.entry(*log, users, now)))
            .collect();
        // Concurrently, so that a server that hangs delays only its own logs.
        let results = join_all(talks.iter().map(|talk| self.talk(talk, &entries))).await;
        let (mut elsewhere, mut said) = (Online::new(), HashMap::new());
        for (talk, result) in talks.iter().zip(results) {
            let lists = match result {
                Ok(lists) => lists,
                Err(error) => {
                    self.failed(&error);
                    continue;
                }
            };
            let mut dead = redis::pipe();
            for (log, list) in lists {
                let mut online = HashSet::new();
                for (node, sealed) in list {
                    if node == self.me.as_bytes() {
                        let mine = entries.get(&log).filter(|entry| entry.sealed == sealed);
                        said.extend(mine.map(|entry| (log, entry.clone())));
                    } else if living.contains(&node) {
                        online.extend(self.users(log, node, &sealed, now));
                    } else {
                        dead.cmd("HDEL").arg(list_of(log)).arg(node).ignore();
                    }
                }
                if entries.contains_key(&log) {
                    elsewhere.insert(log, online);
                }
            }
            if !dead.is_empty()
                && let Err(error) = talk.line.commands.query::<()>(&dead).await
            {
                self.failed(&error);
            }
        }
        self.said = said;
        elsewhere
    }

    fn failed(&self, error: &redis::RedisError) {
        self.shared.counters.lease_failures.inc();
        tracing::debug!(error.cause = %error, "cannot exchange presence leases");
    }

    /// The next expiry of a record that is valid for this long.
    fn expiry(&mut self, now: Moment, valid: Duration) -> u64 {
        self.expiry = now.plus(valid).max(self.expiry.saturating_add(1));
        self.expiry
    }

    /// Renews this node's lease, and returns the nodes with a valid lease.
    async fn renew(&mut self, now: Moment) -> RedisResult<HashSet<NodeName>> {
        let routes = self.shared.routes();
        let Some(line) = routes.of_tag(NODES) else {
            return Err((redis::ErrorKind::Client, "no server owns the slot of the nodes' leases").into());
        };
        let all = format!("liveplan:{{{NODES}}}:leases");
        let lease = |node: &[u8]| [format!("liveplan:{{{NODES}}}:lease:").as_bytes(), node].concat();
        let mine = lease(self.me.as_bytes());
        let expiry = self.expiry(now, LEASE);
        let sealed = self
            .shared
            .keyring
            .seal(Kind::Presence, &[&mine], &expiry.to_be_bytes());
        let mut renewal = redis::pipe();
        renewal
            .cmd("SET")
            .arg(&mine)
            .arg(sealed)
            .arg("EX")
            .arg(LEASE.as_secs())
            .ignore();
        renewal.cmd("SADD").arg(&all).arg(&self.me).ignore();
        renewal.cmd("SRANDMEMBER").arg(&all).arg(MOST_NODES);
        let (nodes,): (Vec<NodeName>,) = line.commands.query(&renewal).await?;
        let mut question = redis::pipe();
        question.cmd("MGET");
        for node in &nodes {
            question.arg(lease(node));
        }
        let (leases,): (Vec<Option<Vec<u8>>>,) = line.commands.query(&question).await?;
        let (mut living, mut dead) = (HashSet::new(), redis::pipe());
        for (node, sealed) in nodes.into_iter().zip(leases) {
            let alive = sealed.is_some_and(|sealed| self.is_valid(&node, &lease(&node), &sealed, now));
            if alive {
                living.insert(node);
            } else {
                dead.cmd("SREM").arg(&all).arg(node).ignore();
            }
        }
        if !dead.is_empty() {
            let () = line.commands.query(&dead).await?;
        }
        Ok(living)
    }

    fn is_valid(&mut self, node: &[u8], lease: &[u8], sealed: &[u8], now: Moment) -> bool {
        let keyring = &self.shared.keyring;
        let Some(body) = keyring.open(Kind::Presence, &[lease], sealed) else {
            return false;
        };
        let expires = body.try_into().map(u64::from_be_bytes);
        let valid = expires.is_ok_and(|expires| self.freshness.accepts(node.to_vec(), expires, now));
        if !valid {
            keyring.refuse(Kind::Presence);
        }
        valid
    }

    /// The logs to talk about, by server: those with users or sequencers here, and those that just lost them.
    fn talks(&self, here: &Online) -> Vec<Talk> {
        let routes = self.shared.routes();
        let mut talks: Vec<Talk> = Vec::new();
        let left = self.said.keys().filter(|log| !here.contains_key(log));
        for log in here.keys().chain(left) {
            let Some(line) = routes.of(*log) else { continue };
            match talks.iter_mut().find(|talk| Arc::ptr_eq(&talk.line, line)) {
                Some(talk) => talk.logs.push(*log),
                None => talks.push(Talk {
                    line: line.clone(),
                    logs: vec![*log],
                }),
            }
        }
        talks
    }

    /// This node's entry for a log: the one that is in Redis, if it still says the same and does not expire soon.
    fn entry(&mut self, log: LogId, users: &HashSet<UserId>, now: Moment) -> Entry {
        let users = encode(users);
        let same = |said: &&Entry| said.users == users && now.instant.duration_since(said.written) < ENTRY_AGAIN;
        if let Some(said) = self.said.get(&log).filter(same) {
            return said.clone();
        }
        let body = [&self.expiry(now, ENTRY).to_be_bytes()[..], &users].concat();
        let sealed = self.shared.keyring.seal(
            Kind::Presence,
            &place(log, self.me.as_bytes()).each_ref().map(|p| &p[..]),
            &body,
        );
        Entry {
            users,
            sealed,
            written: now.instant,
        }
    }

    /// The users in another node's entry. An entry that is forged, altered or put back has none.
    fn users(&mut self, log: LogId, node: NodeName, sealed: &[u8], now: Moment) -> Vec<UserId> {
        let keyring = &self.shared.keyring;
        let place = place(log, &node);
        let Some(body) = keyring.open(Kind::Presence, &place.each_ref().map(|p| &p[..]), sealed) else {
            return Vec::new();
        };
        let users = decode(body).filter(|(expires, _)| self.entries.accepts((log, node), *expires, now));
        if users.is_none() {
            keyring.refuse(Kind::Presence);
        }
        users.map(|(_, users)| users).unwrap_or_default()
    }

    /// Writes this node's changed entries to one server, and reads all entries of its logs.
    async fn talk(&self, talk: &Talk, entries: &HashMap<LogId, Entry>) -> RedisResult<Lists> {
        let mut commands = redis::pipe();
        for log in &talk.logs {
            let list = list_of(*log);
            match entries.get(log) {
                None => commands.cmd("HDEL").arg(&list).arg(&self.me).ignore(),
                Some(entry) if self.said.get(log) == Some(entry) => &mut commands,
                Some(entry) => commands
                    .cmd("HSET")
                    .arg(&list)
                    .arg(&self.me)
                    .arg(&entry.sealed)
                    .ignore(),
            };
            commands.cmd("EXPIRE").arg(&list).arg(LIST_SECONDS).ignore();
            commands.cmd("HGETALL").arg(&list);
        }
        let lists: Vec<HashMap<NodeName, Vec<u8>>> = talk.line.commands.query(&commands).await?;
        Ok(talk.logs.iter().copied().zip(lists).collect())
    }
}

/// The key of a log's list.
fn list_of(log: LogId) -> String {
    format!("liveplan:{{{log}}}:presence")
}

/// The place of a node's entry: key and field.
fn place(log: LogId, node: &[u8]) -> [Vec<u8>; 2] {
    [list_of(log).into_bytes(), node.to_vec()]
}

/// Encodes users in a stable order, so that equal sets have equal entries.
fn encode(users: &HashSet<UserId>) -> Vec<u8> {
    let mut ids: Vec<[u8; 16]> = users.iter().map(|user| *user.0.as_bytes()).collect();
    ids.sort_unstable();
    ids.concat()
}

/// Decodes the body of an entry: its expiry and its users.
fn decode(body: &[u8]) -> Option<(u64, Vec<UserId>)> {
    let (expires, users) = body.split_first_chunk()?;
    let (ids, rest) = users.as_chunks();
    let users = ids.iter().map(|id| UserId(Uuid::from_bytes(*id))).collect();
    rest.is_empty().then_some((u64::from_be_bytes(*expires), users))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_a_round_trip_and_a_malformed_one_is_refused() {
        let users: HashSet<_> = [UserId::random(), UserId::random()].into();
        let body = [&7_u64.to_be_bytes()[..], &encode(&users)].concat();
        let (expires, read) = decode(&body).expect("an entry");
        assert_eq!((expires, read.into_iter().collect::<HashSet<_>>()), (7, users));
        for cut in (0..8).chain(9..24) {
            assert_eq!(decode(&body[..cut]), None);
        }
    }
}
