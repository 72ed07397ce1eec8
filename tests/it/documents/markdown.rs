//! As much of Markdown as our documents use: code blocks, code spans, links, headings, italics.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A Markdown document.
pub struct Document {
    pub path: PathBuf,
    pub text: String,
}

/// A code block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    pub language: String,
    pub code: String,
    /// The line of its opening fence.
    pub line: usize,
}

impl Document {
    pub fn read(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            text: std::fs::read_to_string(path).expect("a document"),
        }
    }

    /// The document's code blocks.
    pub fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut open): (Vec<Block>, bool) = (Vec::new(), false);
        for (number, line) in (1..).zip(self.text.lines()) {
            match (line.trim_start().strip_prefix("```"), open) {
                (Some(_), true) => open = false,
                (Some(language), false) => {
                    open = true;
                    blocks.push(Block {
                        language: language.trim().to_owned(),
                        code: String::new(),
                        line: number,
                    });
                }
                (None, true) => {
                    if let Some(block) = blocks.last_mut() {
                        block.code.push_str(line);
                        block.code.push('\n');
                    }
                }
                (None, false) => {}
            }
        }
        assert!(!open, "{}: a code block has no end", self.path.display());
        blocks
    }

    /// The text outside of code blocks.
    fn prose(&self) -> String {
        let mut inside = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
            } else if !inside {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        prose
    }

    /// The code spans, each on one line.
    pub fn spans(&self) -> Vec<String> {
        let prose = self.prose();
        let spans = prose.split('`').skip(1).step_by(2);
        spans
            .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// The text outside of code blocks and spans.
    fn words(&self) -> String {
        let prose = self.prose();
        let words: Vec<_> = prose.split('`').step_by(2).collect();
        words.join("code")
    }

    /// The targets of links and images.
    pub fn links(&self) -> Vec<String> {
        let words = self.words();
        let mut links = Vec::new();
        for (before, after) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
            let starts = words.match_indices(before).map(|(at, _)| &words[at + before.len()..]);
            links.extend(starts.filter_map(|rest| rest.split(after).next()).map(str::to_owned));
        }
        links
    }

    /// The anchors of headings, as GitHub makes them.
    pub fn anchors(&self) -> BTreeSet<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|line| anchor(line.trim_start_matches('#').trim()))
            .collect()
    }

    /// The texts in italics.
    pub fn italics(&self) -> Vec<String> {
        let words = self.words().replace("**", "");
        let marked = words.split('*').skip(1).step_by(2);
        marked.map(str::to_owned).collect()
    }
}

fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    let text: String = heading.to_lowercase().chars().filter(kept).collect();
    text.replace(' ', "-")
}

/// The commands of a script, without comments.
pub fn commands(script: &str) -> impl Iterator<Item = &str> {
    let lines = script
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty())
}

#[test]
fn markdown_is_parsed() {
    let text = "# What `it` is\nSee [the\nmap](a.md#b-c), *twice*, **not** `[x](y)`.\n<img src=\"p.png\">\n```sh\nmake x # y\n```\n## A `b`, c\n";
    let document = Document {
        path: "it.md".into(),
        text: text.into(),
    };
    assert_eq!(document.links(), ["a.md#b-c", "p.png"]);
    assert_eq!(document.spans(), ["it", "[x](y)", "b"]);
    assert_eq!(document.italics(), ["twice"]);
    let anchors: Vec<_> = document.anchors().into_iter().collect();
    assert_eq!(anchors, ["a-b-c", "what-it-is"]);
    let blocks = document.blocks();
    assert_eq!(
        (blocks.len(), blocks[0].language.as_str(), blocks[0].line),
        (1, "sh", 5)
    );
    assert_eq!(commands(&blocks[0].code).collect::<Vec<_>>(), ["make x"]);
}
