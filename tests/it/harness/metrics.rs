//! A node's metrics, read as Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A scrape: each series, by its name with labels, and its value.
pub struct Scrape {
    pub text: String,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads a node's metrics, and fails on a line that Prometheus would reject.
    pub async fn of(address: SocketAddr) -> Self {
        let answer = reqwest::get(format!("http://{address}/metrics"))
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        Self::parse(answer.text().await.expect("a body"))
    }

    fn parse(text: String) -> Self {
        let (mut series, mut described, mut typed) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a name and a help");
                assert!(!help.is_empty() && described.insert(name.to_owned()), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a type");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(
                    described.contains(name) && typed.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "{line}"
                );
            } else {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                let value: f64 = value.parse().expect("a number");
                let bare = name.split('{').next().unwrap_or_default();
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| bare.strip_suffix(end).filter(|family| typed.contains_key(*family)))
                    .unwrap_or(bare);
                assert!(typed.contains_key(family), "{line} has no type");
                assert!(name.starts_with("liveplan_"), "{line}");
                assert!(series.insert(name.to_owned(), value).is_none(), "{line} is repeated");
            }
        }
        assert!(series.len() > 50, "{} series", series.len());
        Self { text, series }
    }

    /// The value of a series, named without the prefix `liveplan_`.
    #[track_caller]
    pub fn value(&self, name: &str) -> f64 {
        self.find(name)
            .unwrap_or_else(|| panic!("there is no {name} in {}", self.text))
    }

    /// The value of a series, if it exists.
    pub fn find(&self, name: &str) -> Option<f64> {
        self.series.get(&format!("liveplan_{name}")).copied()
    }

    /// The names of all labels.
    pub fn labels(&self) -> BTreeSet<&str> {
        let labels = self.series.keys().filter_map(|name| name.split_once('{'));
        labels
            .filter_map(|(_, rest)| rest.split_once('='))
            .map(|(name, _)| name)
            .collect()
    }

    /// The names of all series.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// Scrapes until a condition holds, for at most 10 s; `what` completes "waited 10 s until …".
    pub async fn until(address: SocketAddr, what: &str, so: impl Fn(&Self) -> bool) -> Self {
        let began = Instant::now();
        loop {
            let scrape = Self::of(address).await;
            if so(&scrape) {
                return scrape;
            }
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "waited 10 s until {what}: {}",
                scrape.text
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
