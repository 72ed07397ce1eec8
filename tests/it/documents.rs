//! The documents are correct: links resolve, code blocks parse in their language, commands and paths exist, and the
//! README's examples run as they are written.

mod examples;
mod markdown;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use markdown::{Block, Document};

/// Maximum number of lines in the README.
const README_LINES: usize = 200;
/// Maximum number of lines in a decision: one page.
const DECISION_LINES: usize = 80;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All documents of the repository.
fn documents() -> Vec<Document> {
    let (mut found, mut to_look_at) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = to_look_at.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            let made =
                ["target", "node_modules", "dist", "dist-test", "data"].contains(&&*name) || name.starts_with('.');
            if path.is_dir() && !made {
                to_look_at.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(Document::read(&path));
            }
        }
    }
    assert!(found.len() > 30, "{} documents", found.len());
    found
}

fn document(name: &str) -> Document {
    Document::read(&root().join(name))
}

#[test]
fn every_link_resolves() {
    let mut broken = Vec::new();
    for document in documents() {
        let links = document.links();
        for link in links.iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let to = match path {
                "" => document.path.clone(),
                path => document.path.parent().expect("a folder").join(path),
            };
            let inside = to.canonicalize().is_ok_and(|to| to.starts_with(root()));
            if !inside || !(anchor.is_empty() || Document::read(&to).anchors().contains(anchor)) {
                broken.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new(), "broken links");
}

#[test]
fn every_code_block_names_its_language_and_parses() {
    let mut wrong = Vec::new();
    for document in documents() {
        for Block { language, code, line } in document.blocks() {
            let can_be_read = match language.as_str() {
                "sh" => is_shell(&code),
                "json" => serde_json::from_str::<serde_json::Value>(&code).is_ok(),
                "js" | "python" | "dart" | "swift" | "kotlin" | "rust" | "sql" | "toml" | "text" => true,
                _ => false,
            };
            if !can_be_read {
                wrong.push(format!("{}:{line}: `{language}`", document.path.display()));
            }
        }
    }
    assert_eq!(
        wrong,
        Vec::<String>::new(),
        "code blocks without a language, or that do not parse"
    );
}

/// Whether `bash -n` can parse the code; nothing is run.
fn is_shell(code: &str) -> bool {
    let bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn();
    let mut bash = bash.expect("bash");
    let mut stdin = bash.stdin.take().expect("stdin");
    stdin.write_all(code.as_bytes()).expect("written");
    drop(stdin);
    bash.wait().expect("an end").success()
}

#[test]
fn the_readme_begins_with_the_two_commands_and_is_short() {
    let readme = document("README.md");
    assert!(
        readme.text.lines().count() <= README_LINES,
        "the README has more than {README_LINES} lines"
    );
    let first = readme.blocks().into_iter().next().expect("a block of code");
    let commands: Vec<_> = markdown::commands(&first.code).collect();
    assert_eq!(
        (first.language.as_str(), commands),
        ("sh", vec!["make run", "make test"])
    );
}

/// The subcommands in the help of `liveplan`, or of one of its commands.
fn subcommands(of: &[&str]) -> BTreeSet<String> {
    let help = help(of);
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = listed.lines().take_while(|line| !line.is_empty());
    // Continuation lines of descriptions are indented further.
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

fn help(of: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_liveplan"))
        .args(of)
        .arg("--help")
        .output();
    String::from_utf8(output.expect("it runs").stdout).expect("text")
}

/// Returns the error in a `liveplan` command, given as its words.
fn fault_of(words: &[&str]) -> Option<String> {
    // The load tool is another program.
    if words.first() == Some(&"load") {
        return None;
    }
    let mut of = Vec::new();
    for word in words.iter().take_while(|word| !word.starts_with('-')) {
        if !subcommands(&of).contains(*word) {
            return Some(format!("there is no command {word}"));
        }
        of.push(*word);
    }
    let help = help(&of);
    let flags = words.iter().filter(|word| word.starts_with("--"));
    let unknown = flags
        .map(|flag| flag.split('=').next().unwrap_or_default())
        .find(|flag| !help.contains(*flag));
    unknown.map(|flag| format!("{} takes no {flag}", of.join(" ")))
}

#[test]
fn every_command_in_the_documents_exists() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).expect("a Makefile");
    let targets: BTreeSet<_> = makefile
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for document in documents() {
        let blocks = document.blocks();
        let of_blocks = blocks.iter().filter(|block| block.language == "sh");
        let of_blocks = of_blocks
            .flat_map(|block| markdown::commands(&block.code))
            .map(str::to_owned);
        for command in of_blocks.chain(document.spans()) {
            // Words such as `NAME=value` before the program's name set its environment.
            let words = command.split_whitespace().skip_while(|word| word.contains('='));
            let words: Vec<_> = words.take_while(|word| !word.contains(['<', '…', '|'])).collect();
            let fault = match words.as_slice() {
                ["make", target] if targets.contains(target) => None,
                ["make", target] => Some(format!("the Makefile has no {target}")),
                ["liveplan", words @ ..] if !words.is_empty() => fault_of(words),
                _ => continue,
            };
            seen += 1;
            wrong.extend(fault.map(|fault| format!("{}: {command}: {fault}", document.path.display())));
        }
    }
    assert!(seen > 20, "{seen} commands were found");
    assert_eq!(wrong, Vec::<String>::new(), "commands that do not exist");
}

#[test]
fn every_path_in_the_documents_exists() {
    let tops = [
        "src",
        "crates",
        "tests",
        "benches",
        "docs",
        "tools",
        "static",
        "fuzz",
        "migrations",
    ];
    let made = ["static/dist", "static/node_modules"];
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for document in documents()
        .iter()
        .filter(|document| !document.path.starts_with(root().join("static")))
    {
        for span in document.spans() {
            let is_path = span.split_once('/').is_some_and(|(top, _)| tops.contains(&top));
            if !is_path || span.contains([' ', '<', '*', '{', '…']) || made.iter().any(|made| span.starts_with(made))
            {
                continue;
            }
            seen += 1;
            // A path may go on with a module: `src/db::pool`.
            let path = root().join(span.split("::").next().unwrap_or_default());
            if !path.exists() {
                wrong.push(format!("{}: {span}", document.path.display()));
            }
        }
    }
    assert!(seen > 50, "{seen} paths were found");
    assert_eq!(wrong, Vec::<String>::new(), "paths that do not exist");
}

#[test]
fn every_decision_is_one_page_of_three_parts_and_is_in_the_index() {
    let index = document("docs/decisions/README.md").links();
    let entries = std::fs::read_dir(root().join("docs/decisions")).expect("a folder");
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    pages.retain(|path| !path.ends_with("README.md"));
    pages.sort();
    for (number, path) in (1..).zip(&pages) {
        let page = Document::read(path);
        let name = path.file_name().expect("a name").to_string_lossy();
        assert!(
            name.starts_with(&format!("{number:04}-")),
            "{name} should have the number {number}"
        );
        assert!(
            page.text.starts_with(&format!("# {number}. ")),
            "the title of {name} lacks its number"
        );
        assert!(index.iter().any(|link| **link == *name), "{name} is not in the index");
        let parts: Vec<_> = page.text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(parts, ["Context", "Decision", "Consequences"], "{name}");
        assert!(
            page.text.lines().count() <= DECISION_LINES,
            "{name} is longer than one page"
        );
    }
    assert!(pages.len() > 20, "{} decisions", pages.len());
}

#[test]
fn the_glossary_defines_every_italic_term_of_the_architecture() {
    let architecture = document("docs/architecture.md");
    let glossary = architecture.text.split("## Glossary").nth(1).expect("a glossary");
    let rows = glossary
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let terms: Vec<_> = rows.skip(1).map(str::to_lowercase).collect();
    assert!(
        terms.is_sorted() && terms.len() > 40,
        "the glossary is not sorted: {terms:?}"
    );
    // Another form of a term, such as `swept`, is recognised by its first four letters.
    let begins = |word: &str| word.chars().take(4).collect::<String>().to_lowercase();
    let missing: Vec<_> = architecture
        .italics()
        .into_iter()
        .filter(|word| word != "italics" && !terms.iter().any(|term| begins(term) == begins(word)))
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "terms without a definition");
}

/// The sections of OWASP ASVS 5.0.0 that have requirements of level 1 or 2, and how many: in each, they come first.
#[rustfmt::skip]
const ASVS: [(&str, u32); 75] = [
    ("1.1", 2), ("1.2", 9), ("1.3", 11), ("1.4", 3), ("1.5", 2), ("2.1", 3), ("2.2", 3), ("2.3", 4), ("2.4", 1),
    ("3.2", 2), ("3.3", 4), ("3.4", 6), ("3.5", 5), ("3.7", 2), ("4.1", 3), ("4.2", 1), ("4.3", 2), ("4.4", 4),
    ("5.1", 1), ("5.2", 3), ("5.3", 2), ("5.4", 3), ("6.1", 3), ("6.2", 12), ("6.3", 4), ("6.4", 4), ("6.5", 5),
    ("6.6", 3), ("6.8", 4), ("7.1", 3), ("7.2", 4), ("7.3", 2), ("7.4", 5), ("7.5", 2), ("7.6", 2), ("8.1", 2),
    ("8.2", 3), ("8.3", 1), ("8.4", 1), ("9.1", 3), ("9.2", 4), ("10.1", 2), ("10.2", 2), ("10.3", 4), ("10.4", 11),
    ("10.5", 5), ("10.6", 2), ("10.7", 3), ("11.1", 2), ("11.2", 3), ("11.3", 3), ("11.4", 4), ("11.5", 1), ("11.6", 1),
    ("12.1", 3), ("12.2", 2), ("12.3", 4), ("13.1", 1), ("13.2", 5), ("13.3", 2), ("13.4", 5), ("14.1", 2), ("14.2", 4),
    ("14.3", 3), ("15.1", 3), ("15.2", 3), ("15.3", 7), ("16.1", 1), ("16.2", 5), ("16.3", 4), ("16.4", 3), ("16.5", 3),
    ("17.1", 1), ("17.2", 4), ("17.3", 2),
];

/// The requirements that a text names, alone or as a range such as `1.2.1 to 1.2.9`.
fn requirements(text: &str) -> BTreeSet<String> {
    let parse = |word: &str| -> Option<(String, u32)> {
        let (section, number) = word.trim_matches([',', '.', ':', ';', '(', ')']).rsplit_once('.')?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let (chapter, of) = section.split_once('.')?;
        (digits(chapter) && digits(of)).then_some((section.to_owned(), number.parse().ok()?))
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut found = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        let Some((section, first)) = parse(word) else { continue };
        let range = words.get(at + 1..at + 3).filter(|next| next[0] == "to");
        let last = range.and_then(|next| parse(next[1])).filter(|(to, _)| *to == section);
        let last = last.map_or(first, |(_, last)| last);
        found.extend((first..=last).map(|number| format!("{section}.{number}")));
    }
    found
}

#[test]
fn the_page_on_security_answers_every_requirement_and_lists_those_that_do_not_hold() {
    let page = document("docs/security.md").text;
    let (before, chapters) = page.split_once("\n## Requirements").expect("the chapters");
    let answered = requirements(chapters);
    let all = ASVS
        .iter()
        .flat_map(|(section, count)| (1..=*count).map(move |n| format!("{section}.{n}")));
    let missing: Vec<_> = all.filter(|requirement| !answered.contains(requirement)).collect();
    assert_eq!(missing, Vec::<String>::new(), "requirements without an answer");
    let (_, list) = before.split_once("\n## What does not hold yet").expect("the list");
    let rows = chapters
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let open = rows.filter(|(_, rest)| rest.starts_with("part") || rest.starts_with("no"));
    let open: BTreeSet<_> = open.flat_map(|(numbers, _)| requirements(numbers)).collect();
    assert_eq!(requirements(list), open, "the list of those that do not hold");
}
