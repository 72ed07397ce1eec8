//! Which Redis there is, and which of its servers answers for a log. Pure, but for the one question to a cluster.

use anyhow::Context as _;
use redis::{ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, Value};

/// Slots that a cluster's keys are spread over.
const SLOTS: u16 = 16384;

/// What `REDIS_URL` names.
#[derive(Clone)]
pub(crate) enum Servers {
    /// One server.
    One(ConnectionInfo),
    /// A cluster, and those of its servers that are asked first.
    Cluster(Vec<ConnectionInfo>),
}

/// A range of slots, first and last, and the server that answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub first: u16,
    pub last: u16,
    pub host: String,
    pub port: u16,
}

impl Servers {
    /// Reads `redis://…` or `redis+cluster://user:password@host:port,host:port`; `valkey` for `redis` means the same.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let cluster = ["redis+cluster://", "valkey+cluster://"];
        let Some(rest) = cluster.iter().find_map(|scheme| url.strip_prefix(scheme)) else {
            return Ok(Self::One(resp3(url)?));
        };
        let (user, hosts) = match rest.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), rest),
        };
        anyhow::ensure!(
            !hosts.contains('/'),
            "a cluster has no numbered databases: REDIS_URL ends with a port"
        );
        let seeds = hosts.split(',').map(|host| resp3(&format!("redis://{user}{host}")));
        Ok(Self::Cluster(seeds.collect::<anyhow::Result<_>>()?))
    }
}

/// RESP3 is what carries messages on a connection that also takes commands.
fn resp3(url: &str) -> anyhow::Result<ConnectionInfo> {
    // The error would show the URL's password.
    let info = url
        .into_connection_info()
        .ok()
        .context("REDIS_URL is not redis://host:port or redis+cluster://host:port,host:port")?;
    anyhow::ensure!(
        info.addr().is_supported(),
        "REDIS_URL: this build speaks to Redis without TLS only"
    );
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

/// The slot of a hash tag.
pub(crate) fn slot_of(tag: &str) -> u16 {
    // CRC-16/XMODEM, as the cluster specification has it.
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    });
    crc % SLOTS
}

/// Reads the answer to `CLUSTER SLOTS`; an empty host is the one that was asked.
pub(crate) fn ranges(answer: &Value, asked: &str) -> Option<Vec<Range>> {
    let Value::Array(ranges) = answer else { return None };
    ranges
        .iter()
        .map(|range| {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = range.as_slice() else {
                return None;
            };
            let [host, Value::Int(port), ..] = master.as_slice() else {
                return None;
            };
            let host = match host {
                Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
                _ => asked.to_owned(),
            };
            Some(Range {
                first: u16::try_from(*first).ok()?,
                last: u16::try_from(*last).ok()?,
                host,
                port: u16::try_from(*port).ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use redis::ConnectionAddr;

    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12182);
        assert_eq!(slot_of(""), 0);
    }

    #[test]
    fn one_server_and_a_cluster_are_told_apart() {
        for url in ["redis://localhost", "valkey://u:p@localhost:7000/3"] {
            assert!(matches!(Servers::parse(url), Ok(Servers::One(_))), "{url}");
        }
        let Ok(Servers::Cluster(seeds)) = Servers::parse("valkey+cluster://u:p@a:7000,b:7001") else {
            panic!("a cluster");
        };
        let addresses: Vec<_> = seeds.iter().map(|s| s.addr().clone()).collect();
        let address = |host: &str, port| ConnectionAddr::Tcp(host.into(), port);
        assert_eq!(addresses, [address("a", 7000), address("b", 7001)]);
        assert!(seeds.iter().all(|s| s.redis_settings().username() == Some("u")));
        assert!(seeds.iter().all(|s| s.redis_settings().password() == Some("p")));
    }

    #[test]
    fn what_cannot_work_is_refused_and_shows_no_password() {
        for url in [
            "postgres://u:secret@x",
            "redis+cluster://u:secret@a:7000,b:x",
            "redis+cluster://u:secret@a:7000/1",
            "rediss://u:secret@a",
        ] {
            let error = Servers::parse(url).err().map(|e| format!("{e:#}"));
            assert!(
                error.as_ref().is_some_and(|e| !e.contains("secret")),
                "{url}: {error:?}"
            );
        }
    }

    #[test]
    fn an_answer_names_the_master_of_each_range() {
        let text = |s: &str| Value::BulkString(s.as_bytes().to_vec());
        let server =
            |host, port| Value::Array(vec![text(host), Value::Int(port), text("id"), Value::Array(Vec::new())]);
        let range = |first, last, servers: Vec<Value>| {
            Value::Array([vec![Value::Int(first), Value::Int(last)], servers].concat())
        };
        let answer = Value::Array(vec![
            range(0, 5, vec![server("a", 1), server("replica", 2)]),
            range(6, 16383, vec![server("", 3)]),
        ]);
        let read = ranges(&answer, "asked").unwrap_or_default();
        let hosts: Vec<_> = read
            .iter()
            .map(|r| (r.first, r.last, r.host.as_str(), r.port))
            .collect();
        assert_eq!(hosts, [(0, 5, "a", 1), (6, 16383, "asked", 3)]);
        assert_eq!(ranges(&Value::Okay, "asked"), None);
    }
}
