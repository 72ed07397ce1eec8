//! The results: printed, and written part by part to `docs/bench/results.json` with machine, date and commit. A part
//! that did not run keeps its previous results.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::stats;

/// The content of `results.json`.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct File {
    parts: BTreeMap<String, Part>,
}

/// The results of one part.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Part {
    machine: String,
    date: String,
    commit: String,
    /// Measured numbers, by name.
    numbers: BTreeMap<String, Value>,
    /// The lines printed.
    text: Vec<String>,
}

/// The results of this run.
pub struct Results {
    /// Runs with small counts, to check that everything works and not to measure. Nothing is written.
    pub small: bool,
    part: Part,
}

impl Results {
    pub fn new(small: bool) -> Self {
        Self {
            small,
            part: Part::default(),
        }
    }

    /// The count to use: `count`, or a twentieth of it in a small run.
    pub fn many(&self, count: usize) -> usize {
        if self.small { (count / 20).max(2) } else { count }
    }

    /// The number of rounds: `count`, or two in a small run.
    pub fn rounds(&self, count: usize) -> usize {
        if self.small { 2 } else { count }
    }

    pub fn say(&mut self, line: impl Into<String>) {
        let line = line.into();
        println!("{line}");
        self.part.text.push(line);
    }

    pub fn number(&mut self, name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).expect("a number");
        self.part.numbers.insert(name.to_owned(), value);
    }

    /// Ends a part and writes its results to the file.
    pub fn close(&mut self, name: &str) {
        let mut part = std::mem::take(&mut self.part);
        if self.small {
            return;
        }
        part.machine = stats::machine();
        part.date = liveplan::clock::Clock::default().now().format("%F %R UTC").to_string();
        part.commit = commit();
        let path = folder().join("results.json");
        let text = std::fs::read(&path).unwrap_or_default();
        let mut file: File = serde_json::from_slice(&text).unwrap_or_default();
        file.parts.insert(name.to_owned(), part);
        let text = serde_json::to_string_pretty(&file).expect("JSON") + "\n";
        std::fs::write(&path, text).expect("the results are written");
    }

    /// Writes a plot next to the results.
    pub fn plot(&self, name: &str, svg: &str) {
        if !self.small {
            std::fs::write(folder().join(name), svg).expect("the plot is written");
        }
    }
}

fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/bench");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The commit under test; a plus means that the sources differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .output();
        output
            .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
            .unwrap_or_default()
    };
    let changed = git(&["status", "--porcelain", "--", ".", ":!docs/bench"]);
    git(&["rev-parse", "--short", "HEAD"]) + if changed.is_empty() { "" } else { "+" }
}
