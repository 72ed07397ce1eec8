//! Presence leases. Each node renews one lease per second, and writes its users into a list per log. Lists of nodes
//! without a valid lease are ignored, so all users of a dead node go offline together. If a list was lost, its node
//! writes it again as soon as it does not find its own entry.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::join_all;
use redis::RedisResult;

use super::BrokerInner;
use super::line::Line;
use crate::ids::{LogId, UserId};

/// Seconds that a node without renewal still counts as alive.
const LEASE_SECONDS: u64 = 4;
/// Seconds that a log's list outlives its last use by any node.
const LIST_SECONDS: u64 = 3600;
/// The hash tag of keys that belong to no log.
const NODES: &str = "nodes";

/// Online users by log.
pub(crate) type Online = HashMap<LogId, HashSet<UserId>>;

/// This node's side of the leases.
pub(crate) struct Leases {
    shared: Arc<BrokerInner>,
    me: String,
    /// This node's entry in each log's list, as last read there.
    said: HashMap<LogId, String>,
}

impl Leases {
    pub(crate) fn new(shared: Arc<BrokerInner>) -> Self {
        Self {
            me: shared.node.to_string(),
            shared,
            said: HashMap::new(),
        }
    }

    /// Publishes who is online here and returns who is online on other nodes, by log. Logs whose server failed are left
    /// out.
    pub async fn exchange(&mut self, here: &Online) -> Online {
        let living = match self.renew().await {
            Ok(living) => living,
            Err(error) => {
                self.failed(&error);
                return Online::new();
            }
        };
        let routes = self.shared.routes();
        let mut by_line: Vec<(Arc<Line>, Vec<LogId>)> = Vec::new();
        let left: Vec<LogId> = self
            .said
            .keys()
            .filter(|log| !here.contains_key(log))
            .copied()
            .collect();
        for log in here.keys().chain(&left) {
            let Some(line) = routes.of(*log) else { continue };
            match by_line.iter_mut().find(|(l, _)| Arc::ptr_eq(l, line)) {
                Some((_, logs)) => logs.push(*log),
                None => by_line.push((line.clone(), vec![*log])),
            }
        }
        // Concurrently, so that a server that hangs delays only its own logs.
        let words: HashMap<LogId, String> = here.iter().map(|(log, users)| (*log, word(users))).collect();
        let talks = by_line
            .iter()
            .map(|(line, logs)| self.talk(line, logs, &words, &living));
        let mut elsewhere = Online::new();
        let mut said = HashMap::new();
        for result in join_all(talks).await {
            match result {
                Ok((online, confirmed)) => {
                    elsewhere.extend(online);
                    said.extend(confirmed);
                }
                Err(error) => self.failed(&error),
            }
        }
        self.said = said;
        elsewhere
    }

    fn failed(&self, error: &redis::RedisError) {
        self.shared.counters.lease_failures.inc();
        tracing::debug!(error.cause = %error, "cannot exchange presence leases");
    }

    /// Renews this node's lease, and returns the nodes with a valid lease.
    async fn renew(&self) -> RedisResult<HashSet<String>> {
        let routes = self.shared.routes();
        let Some(line) = routes.of_tag(NODES) else {
            return Err((redis::ErrorKind::Client, "no server owns the slot of the nodes' leases").into());
        };
        let all = format!("liveplan:{{{NODES}}}");
        let lease = |node: &str| format!("{all}:{node}");
        let (nodes,): (Vec<String>,) = line
            .commands
            .query(
                redis::pipe()
                    .cmd("SET")
                    .arg(lease(&self.me))
                    .arg(1)
                    .arg("EX")
                    .arg(LEASE_SECONDS)
                    .ignore()
                    .cmd("SADD")
                    .arg(&all)
                    .arg(&self.me)
                    .ignore()
                    .cmd("SMEMBERS")
                    .arg(&all),
            )
            .await?;
        let mut question = redis::pipe();
        question.cmd("MGET");
        for node in &nodes {
            question.arg(lease(node));
        }
        let (leases,): (Vec<Option<String>>,) = line.commands.query(&question).await?;
        let (mut living, mut dead) = (HashSet::new(), redis::pipe());
        for (node, lease) in nodes.into_iter().zip(leases) {
            if lease.is_some() {
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

    /// Writes this node's changed entries to one server, and reads the other nodes' entries. Returns the users online
    /// on other nodes, and this node's entries as they are now in Redis.
    async fn talk(
        &self,
        line: &Line,
        logs: &[LogId],
        words: &HashMap<LogId, String>,
        living: &HashSet<String>,
    ) -> RedisResult<(Online, HashMap<LogId, String>)> {
        let list = |log: &LogId| format!("liveplan:{{{log}}}:online");
        let mut commands = redis::pipe();
        for log in logs {
            match words.get(log) {
                None => commands.cmd("HDEL").arg(list(log)).arg(&self.me).ignore(),
                Some(word) if self.said.get(log) == Some(word) => &mut commands,
                Some(word) => commands.cmd("HSET").arg(list(log)).arg(&self.me).arg(word).ignore(),
            };
            commands.cmd("EXPIRE").arg(list(log)).arg(LIST_SECONDS).ignore();
            commands.cmd("HGETALL").arg(list(log));
        }
        let lists: Vec<HashMap<String, String>> = line.commands.query(&commands).await?;
        let (mut elsewhere, mut said, mut dead) = (Online::new(), HashMap::new(), redis::pipe());
        for (log, list_of) in logs.iter().zip(lists) {
            let mut online = HashSet::new();
            for (node, word) in list_of {
                if node == self.me {
                    said.insert(*log, word);
                } else if living.contains(&node) {
                    online.extend(word.split(',').filter_map(|a| a.parse::<UserId>().ok()));
                } else {
                    dead.cmd("HDEL").arg(list(log)).arg(node).ignore();
                }
            }
            if words.contains_key(log) {
                elsewhere.insert(*log, online);
            }
        }
        if !dead.is_empty() {
            let () = line.commands.query(&dead).await?;
        }
        Ok((elsewhere, said))
    }
}

/// Encodes users as a list in a stable order, so that equal sets have equal entries.
fn word(users: &HashSet<UserId>) -> String {
    let mut names: Vec<String> = users.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names.join(",")
}
