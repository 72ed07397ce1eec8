//! The owners of a cluster's slots. Pure.

use redis::Value;

/// Number of slots in a cluster.
const SLOTS: u16 = 16384;

/// A range of slots (first and last, inclusive) and the server that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub first: u16,
    pub last: u16,
    pub host: String,
    pub port: u16,
}

/// Returns the slot of a hash tag.
pub(crate) fn slot_of(tag: &str) -> u16 {
    // CRC-16/XMODEM, as in the cluster specification.
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    });
    crc % SLOTS
}

/// Parses the answer to `CLUSTER SLOTS`. An empty host stands for `asked`, the host that was asked.
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
    use super::*;

    #[test]
    fn slots_match_the_cluster_specification() {
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12182);
        assert_eq!(slot_of(""), 0);
    }

    #[test]
    fn the_master_of_each_range_is_read() {
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
