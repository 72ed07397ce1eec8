//! The keeper maintains the lines: one to each server that owns slots, each listening to the wanted logs in its slots.
//! No other task changes either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use rand::seq::SliceRandom as _;
use redis::{ConnectionAddr, ConnectionInfo};

use super::line::Line;
use super::link::{self, Link};
use super::servers::{self, Range, slot_of};
use super::{BrokerCounters, BrokerInner, PLAIN, SHARDED};
use crate::HubInner;
use crate::cluster::client::{self, Servers};
use crate::ids::LogId;

/// Interval between queries for a cluster's servers in normal operation, and after trouble.
const ASK_EVERY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(250));

/// Maps logs to lines.
#[derive(Default)]
pub(crate) struct Routes {
    lines: Vec<Arc<Line>>,
    /// First slot, last slot, and index of the line. A single server has all slots.
    ranges: Vec<(u16, u16, usize)>,
}

impl Routes {
    /// Returns the line to a log's server.
    pub fn of(&self, log: LogId) -> Option<&Arc<Line>> {
        self.of_tag(&log.to_string())
    }

    /// Returns the line to a hash tag's server.
    pub fn of_tag(&self, tag: &str) -> Option<&Arc<Line>> {
        let slot = slot_of(tag);
        let found = self
            .ranges
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&slot))?;
        self.lines.get(found.2)
    }

    /// True if there are lines, and all of them work.
    pub fn are_up(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.is_up())
    }

    /// Splits logs by line; the result has the order of `lines`.
    fn spread(&self, logs: impl Iterator<Item = LogId>) -> Vec<BTreeSet<LogId>> {
        let mut spread = vec![BTreeSet::new(); self.lines.len()];
        for log in logs {
            let line = self
                .of(log)
                .and_then(|of| self.lines.iter().position(|l| Arc::ptr_eq(l, of)));
            if let Some(logs) = line.and_then(|index| spread.get_mut(index)) {
                logs.insert(log);
            }
        }
        spread
    }
}

/// Maintains the lines until the hub is dropped.
pub(crate) async fn run(servers: Servers, shared: Arc<BrokerInner>, hub: Weak<HubInner>) {
    let mut keeper = Keeper {
        shared,
        hub,
        known: Vec::new(),
    };
    match &servers {
        Servers::One(info) => {
            let whole = [(0, u16::MAX, (**info).clone())];
            keeper.set_lines(&whole, PLAIN);
        }
        Servers::Cluster(seeds) => keeper.ask(seeds).await,
    }
    while keeper.hub.strong_count() > 0 {
        keeper.spread();
        let trouble = tokio::select! {
            () = keeper.shared.wanted_changed.notified() => continue,
            () = keeper.shared.trouble.notified() => true,
            () = tokio::time::sleep(ASK_EVERY.0) => false,
        };
        if let Servers::Cluster(seeds) = &servers {
            keeper.ask(seeds).await;
            // Failures come in bursts; one query answers all of a burst.
            if trouble {
                tokio::time::sleep(ASK_EVERY.1).await;
            }
        }
    }
    // Dropping the lines ends their tasks.
    keeper.replace(Routes::default());
}

struct Keeper {
    shared: Arc<BrokerInner>,
    hub: Weak<HubInner>,
    /// The cluster's slot ranges, as last read.
    known: Vec<Range>,
}

impl Keeper {
    /// Sets the wanted logs of each line.
    fn spread(&self) {
        let routes = self.shared.routes();
        let wanted: Vec<LogId> = self.shared.wanted().keys().copied().collect();
        for (line, logs) in routes.lines.iter().zip(routes.spread(wanted.into_iter())) {
            line.want(logs);
        }
    }

    /// Asks a cluster for the owners of its slots and opens a line to each. Any server may be down, so the first that
    /// answers is believed; if its answer is wrong, lines fail and the keeper asks again.
    async fn ask(&mut self, seeds: &[ConnectionInfo]) {
        let Some(seed) = seeds.first() else { return };
        let at = |host: &str, port| client::at(seed, host, port);
        let mut known: Vec<ConnectionInfo> = self.known.iter().map(|r| at(&r.host, r.port)).collect();
        known.extend_from_slice(seeds);
        known.shuffle(&mut rand::rng());
        let mut asked = BTreeSet::new();
        for server in known {
            if !asked.insert(link::name(&server)) {
                continue;
            }
            self.shared.counters.topologies.inc();
            let Some(ranges) = describe(&server, &self.shared.counters).await else {
                continue;
            };
            if ranges != self.known {
                let lines: Vec<_> = ranges.iter().map(|r| (r.first, r.last, at(&r.host, r.port))).collect();
                self.set_lines(&lines, SHARDED);
                tracing::info!(redis.servers = ?self.shared.routes().lines.iter().map(|l| &l.name).collect::<Vec<_>>(), "the cluster's servers changed");
                self.known = ranges;
            }
            return;
        }
        tracing::warn!("no server of the Redis cluster answers; other nodes find changes by their sweeps");
    }

    /// Replaces the lines. A line to a server that stays is kept.
    fn set_lines(&self, ranges: &[(u16, u16, ConnectionInfo)], verbs: super::Verbs) {
        let before = self.shared.routes();
        let mut routes = Routes::default();
        let mut index: BTreeMap<String, usize> = BTreeMap::new();
        for (first, last, info) in ranges {
            let name = link::name(info);
            let line = *index.entry(name.clone()).or_insert_with(|| {
                let there = before.lines.iter().find(|line| line.name == name).cloned();
                let start = || Arc::new(Line::start(info, verbs, &self.shared, &self.hub));
                routes.lines.push(there.unwrap_or_else(start));
                routes.lines.len() - 1
            });
            routes.ranges.push((*first, *last, line));
        }
        self.replace(routes);
    }

    fn replace(&self, routes: Routes) {
        *self.shared.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
    }
}

/// Asks a server for the cluster's slot ranges; returns `None` if its answer is of no use.
async fn describe(server: &ConnectionInfo, counters: &Arc<BrokerCounters>) -> Option<Vec<Range>> {
    let mut question = redis::pipe();
    question.cmd("CLUSTER").arg("SLOTS");
    let answer: Vec<redis::Value> = match Link::new(server.clone(), counters).query(&question).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(redis.server = link::name(server), error.cause = %error, "cannot read the cluster's slots");
            return None;
        }
    };
    let (ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) = server.addr() else {
        return None;
    };
    let mut ranges = servers::ranges(answer.first()?, host)?;
    // Sorted for comparison, because servers list the ranges in any order.
    ranges.sort_by_key(|range| range.first);
    (!ranges.is_empty()).then_some(ranges)
}
