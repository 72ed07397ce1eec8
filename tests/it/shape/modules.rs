//! The dependencies between top-level modules, read from the sources as Rust tokens: `use` trees and paths in code,
//! types, attributes and macros, through `crate::` and `super::`, including unit tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::root;

/// The product's modules in order; each depends only on those before it.
const PRODUCT: [&str; 32] = [
    // Machinery.
    "telemetry",
    "error",
    "ids",
    "clock",
    "config",
    "turns",
    "parts",
    "gather",
    "db",
    "http",
    "cache",
    "events",
    "auth",
    "idempotency",
    "quota",
    "budget",
    "app",
    // Nouns.
    "gyms",
    "accounts",
    "foods",
    "assignments",
    "plans",
    "completions",
    "follows",
    "meals",
    "rosters",
    "members",
    // Modules that put the nouns together.
    "channels",
    "demo",
    "simulate",
    "server",
    "conformance",
];

/// A module and one that it names, with a file where it does.
type Arrows = BTreeMap<(String, String), PathBuf>;

#[test]
fn each_module_depends_only_on_those_before_it() {
    holds(&root().join("src"), &PRODUCT);
}

fn holds(src: &Path, order: &[&str]) {
    let (modules, arrows) = arrows(src);
    let listed: BTreeSet<_> = order.iter().map(ToString::to_string).collect();
    assert_eq!(modules, listed, "a module is missing from the order");
    let place = |module: &str| order.iter().position(|m| *m == module);
    let wrong: Vec<_> = arrows
        .iter()
        .filter(|((from, to), _)| place(to) >= place(from))
        .map(|((from, to), file)| format!("{from} names {to} in {}", file.display()))
        .collect();
    assert_eq!(wrong, Vec::<String>::new(), "modules that name a later module");
}

/// The modules of a crate and the dependencies between them.
fn arrows(src: &Path) -> (BTreeSet<String>, Arrows) {
    let mut arrows = Arrows::new();
    let mut modules = BTreeSet::new();
    for (file, text) in super::sources_of(src) {
        let inside = file.strip_prefix(src).expect("inside");
        let mut module: Vec<String> = inside
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        let top = module[0].clone();
        if top == "main" || top == "lib" {
            continue;
        }
        modules.insert(top.clone());
        let tokens: TokenStream = text
            .parse()
            .unwrap_or_else(|e| panic!("{} is no Rust: {e}", file.display()));
        for named in named(tokens, &module) {
            if named != top {
                arrows.entry((top.clone(), named)).or_insert_with(|| inside.to_owned());
            }
        }
    }
    // A name after `crate::` may also be an item of the crate's root.
    arrows.retain(|(_, to), _| modules.contains(to));
    (modules, arrows)
}

/// The top-level names that a module's tokens reach through `crate::` or `super::`.
fn named(tokens: TokenStream, module: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(word) if word == "mod" => {
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    let inner: Vec<_> = module.iter().cloned().chain([name.to_string()]).collect();
                    found.extend(self::named(body.stream(), &inner));
                    at += 3;
                    continue;
                }
            }
            TokenTree::Ident(word) if (word == "crate" || word == "super") && colons(&tokens, at + 1) => {
                let base = if word == "crate" {
                    &[][..]
                } else {
                    &module[..module.len().saturating_sub(1)]
                };
                path(&tokens[at + 3..], base.to_vec(), &mut found);
            }
            TokenTree::Group(group) => found.extend(self::named(group.stream(), module)),
            _ => {}
        }
        at += 1;
    }
    found
}

fn colons(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(tokens.get(at)) && colon(tokens.get(at + 1))
}

/// Resolves a path, or a tree of paths, to the name below the crate's root.
fn path(tokens: &[TokenTree], mut base: Vec<String>, found: &mut BTreeSet<String>) {
    match tokens.first() {
        Some(TokenTree::Ident(word)) if word == "super" => {
            base.pop();
            if colons(tokens, 1) {
                path(&tokens[3..], base, found);
            }
        }
        _ if !base.is_empty() => drop(found.insert(base.swap_remove(0))),
        Some(TokenTree::Ident(word)) => drop(found.insert(word.to_string())),
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
            let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
            for tree in tokens.split(comma) {
                path(tree, base.clone(), found);
            }
        }
        _ => {}
    }
}

#[test]
fn names_are_found_in_every_kind_of_path() {
    let source = "
        use crate::{auth, db::{self, schema::gyms}, error::Result};
        use super::super::plans::{Plan, day};
        use super::store;
        // crate::foods
        /// [`crate::exports`]
        fn f() -> crate::ids::Id { vec![crate::clock::now(), \"crate::imports\"] }
        pub(crate) mod tests { use super::super::super::config; use super::*; }
    ";
    let module = ["meals", "write"].map(str::to_owned);
    let found: Vec<_> = named(source.parse().expect("Rust"), &module).into_iter().collect();
    assert_eq!(
        found,
        ["auth", "clock", "config", "db", "error", "ids", "meals", "plans"]
    );
}
