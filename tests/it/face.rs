//! The public interface stays stable: error codes, metric names, environment variables, the command line and the bytes
//! on the wire are each compared with a recorded file in `tests/it/face`. The API's description has its own file,
//! `docs/openapi.json`, and its own test in `server::docs`.
//!
//! A change in one of these files is visible to clients, dashboards or operators. To record the files again:
//! `UPDATE_FACE=1 cargo test --test it face`.

mod command_line;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use liveplan::error::Code;
use liveplan_hub::protocol::close::{Close, Unsubscribe};
use liveplan_hub::protocol::{ErrorReply, ProtocolError};
use serde_json::json;

use crate::harness::TestApp;
use crate::harness::metrics::Scrape;
use crate::harness::redis::Redis;

/// Compares `text` with a recorded file, or records it.
#[track_caller]
fn check(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/face").join(file);
    if std::env::var_os("UPDATE_FACE").is_some() {
        std::fs::write(path, text).expect("written");
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (recorded, now) = (lines(&recorded), lines(text));
    let without = |all: &[String], of: &[String], sign: &str| {
        let of: BTreeSet<_> = of.iter().collect();
        let left = all.iter().filter(|line| !of.contains(line));
        left.fold(String::new(), |text, line| text + sign + line + "\n")
    };
    assert!(
        recorded == now,
        "{} differs; if the change is intended, record it with UPDATE_FACE=1:\n{}{}",
        path.display(),
        without(&recorded, &now, "- "),
        without(&now, &recorded, "+ "),
    );
}

#[test]
fn error_codes_keep_their_numbers_and_statuses() {
    let mut text = String::from("# REST and the socket: name, number on the socket, HTTP status\n");
    for code in Code::ALL {
        let _ = writeln!(text, "{} {} {}", code.name(), code.number(), code.status());
    }
    text.push_str("\n# The protocol's own errors\n");
    for error in [
        ProtocolError::UnknownChannel,
        ProtocolError::AlreadySubscribed,
        ProtocolError::LimitExceeded,
        ProtocolError::BadRequest,
        ProtocolError::NotAvailable,
        ProtocolError::TooManyRequests,
        ProtocolError::Unrecoverable,
    ] {
        let ErrorReply {
            code,
            message,
            temporary,
        } = error.into();
        let name = message.split(':').next().unwrap_or_default();
        let _ = writeln!(text, "{name} {code}{}", if temporary { " temporary" } else { "" });
    }
    text.push_str("\n# Close codes\n");
    for close in [
        Close::Normal,
        Close::Protocol,
        Close::NotUtf8,
        Close::TooBig,
        Close::Shutdown,
        Close::ServerError,
        Close::Expired,
        Close::Slow,
        Close::InsufficientState,
        Close::NoPong,
        Close::TooManyRequests,
        Close::StateInvalidated,
        Close::InvalidToken,
        Close::BadRequest,
        Close::Stale,
        Close::ForceDisconnect,
        Close::ConnectionLimit,
    ] {
        let _ = writeln!(text, "{} {}", close.code(), close.reason());
    }
    text.push_str("\n# Ends of subscriptions\n");
    for end in [
        Unsubscribe::Server,
        Unsubscribe::InsufficientState,
        Unsubscribe::Expired,
    ] {
        let _ = writeln!(text, "{} {}", end.code(), end.reason());
    }
    check("codes.txt", &text);
}

/// Lists each metric with its type and its label names.
fn families(scrape: &str) -> String {
    let mut families: BTreeMap<&str, (&str, BTreeSet<&str>)> = BTreeMap::new();
    for line in scrape.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.insert(name, (kind, BTreeSet::new()));
        } else if let Some((series, labels)) = line.split_once('{') {
            let family = ["", "_bucket", "_total"]
                .iter()
                .find_map(|end| series.strip_suffix(end).filter(|name| families.contains_key(name)));
            let (_, known) = family.and_then(|name| families.get_mut(name)).expect("a type");
            let labels = labels.split("\",").filter_map(|label| label.split_once("=\""));
            known.extend(labels.map(|(label, _)| label));
        }
    }
    let mut text = String::new();
    for (name, (kind, labels)) in families {
        let labels: String = labels.into_iter().flat_map(|label| [" ", label]).collect();
        let _ = writeln!(text, "{name} {kind}{labels}");
    }
    text
}

#[test]
fn label_names_are_parsed_from_series() {
    let scrape = "# TYPE a counter\na_total 1\n# TYPE b gauge\nb{x=\"1\",y=\"} 2\"} 1\n# TYPE c histogram\nc_bucket{le=\"+Inf\"} 0\n";
    assert_eq!(families(scrape), "a counter\nb gauge x y\nc histogram le\n");
}

#[tokio::test]
async fn metrics_keep_their_names_types_and_labels() {
    let redis = Redis::start().await;
    let app = TestApp::start_with(|config| config.redis_url = Some(redis.url())).await;
    // A close code is a label, so that metric appears only after a socket was closed.
    let mut refused = app.nobody().raw_socket().await;
    refused.send("connect", json!({"token": "none"})).await;
    refused.closed().await;
    drop(refused);
    let closed = |scrape: &Scrape| scrape.names().any(|name| name.contains("live_sockets_closed"));
    let scrape = Scrape::until(app.metrics, "a close is counted", closed).await;
    check("metrics.txt", &families(&scrape.text));
    app.stop().await;
}
