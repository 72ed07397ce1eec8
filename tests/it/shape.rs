//! The repository's structure is as its documents say: the README's map, the dependencies between folders and crates,
//! the table of errors, and the schema that queries are written against.

mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use diesel::sql_types::{Bool, Text};
use diesel_async::RunQueryDsl as _;
use liveplan::error::Code;

use crate::harness::postgres;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lists a folder's entries.
fn entries(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// The Rust files below a folder, or the file itself, with their text before their unit tests.
fn sources(of: &str) -> Vec<(PathBuf, String)> {
    let product = |text: String| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    let sources = sources_of(&root().join(of)).into_iter();
    sources.map(|(path, text)| (path, product(text))).collect()
}

/// The Rust files below a folder, or the file itself.
fn sources_of(of: &Path) -> Vec<(PathBuf, String)> {
    let (mut found, mut to_look_at) = (Vec::new(), vec![of.to_owned()]);
    while let Some(path) = to_look_at.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder");
            to_look_at.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            found.push((path, text));
        }
    }
    assert!(!found.is_empty(), "there is no {}", of.display());
    found
}

#[test]
fn the_readmes_map_matches_the_folders() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("a README");
    let map = readme
        .split("## The map")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .expect("a map");
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut named = BTreeSet::new();
    for row in rows {
        let cell = row.split('|').next().unwrap_or_default();
        named.extend(
            format!("`{cell}")
                .split('`')
                .skip(1)
                .step_by(2)
                .map(|path| path.trim_end_matches('/').to_owned()),
        );
    }
    assert!(named.len() > 10, "too few entries were read from the map: {named:?}");
    for path in &named {
        assert!(
            root().join(path).exists(),
            "the README names {path}, which does not exist"
        );
    }
    for path in entries("src").into_iter().chain(entries("crates")) {
        let name = path.strip_prefix(root()).expect("one of ours").to_string_lossy();
        assert!(
            !path.is_dir() || named.contains(&*name),
            "the README's map lacks {name}"
        );
    }
}

#[test]
fn the_crate_maps_name_every_module() {
    for lib in ["src/lib.rs", "crates/hub/src/lib.rs"] {
        let text = std::fs::read_to_string(root().join(lib)).expect("a crate");
        let (doc, code): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("//!"));
        let doc = doc.join("\n");
        let modules = code
            .iter()
            .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        let modules: BTreeSet<_> = modules.collect();
        for module in &modules {
            let link = format!("[`{module}`]");
            assert!(doc.contains(&link), "{module} is not in the map of {lib}");
        }
        // Every name in the map that is a plain identifier must be a module.
        for named in doc.split("[`").skip(1).filter_map(|rest| rest.split("`]").next()) {
            let crate_of_its_own = named.starts_with("liveplan_");
            let word = named.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !crate_of_its_own;
            assert!(
                !word || modules.contains(named),
                "the map of {lib} names {named}, which does not exist"
            );
        }
    }
}

/// The workspace packages that each package depends on, from the manifests.
fn workspace_dependencies() -> BTreeMap<String, Vec<String>> {
    let manifests: BTreeMap<String, String> = entries("crates")
        .into_iter()
        .chain([root().to_owned()])
        .map(|folder| {
            let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
            let named = manifest.split("[package]\nname = \"").nth(1);
            let name = named.and_then(|rest| rest.split('"').next()).expect("a name");
            (name.to_owned(), manifest)
        })
        .collect();
    let of = |manifest: &String| {
        let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let lines = section.lines().take_while(|line| !line.starts_with('['));
        let names = lines.filter_map(|line| line.split([' ', '.', '=']).next());
        names
            .map(str::to_owned)
            .filter(|name| manifests.contains_key(name))
            .collect()
    };
    manifests
        .iter()
        .map(|(name, manifest)| (name.clone(), of(manifest)))
        .collect()
}

#[test]
fn crates_depend_on_each_other_in_one_direction() {
    let known = [
        ("embedded-postgres", &[][..]),
        ("liveplan-client", &[]),
        ("liveplan-hub", &[]),
        ("liveplan-nutrition", &[]),
        (
            "liveplan",
            &[
                "embedded-postgres",
                "liveplan-client",
                "liveplan-hub",
                "liveplan-nutrition",
            ],
        ),
        ("liveplan-load", &["liveplan-client", "liveplan-hub"]),
    ];
    let known = known.map(|(name, of)| (name.to_owned(), of.iter().map(ToString::to_string).collect()));
    assert_eq!(workspace_dependencies(), BTreeMap::from(known));
    // The load tool uses the hub's protocol messages only.
    for (path, source) in sources("crates/load/src") {
        let names_it = source.contains("liveplan_hub::");
        assert!(!names_it || path.ends_with("wire.rs"), "{}", path.display());
    }
}

/// The dependencies that the crate of pure rules may have.
#[test]
fn the_nutrition_rules_use_neither_async_nor_clock_nor_io() {
    let manifest = std::fs::read_to_string(root().join("crates/nutrition/Cargo.toml")).expect("a manifest");
    let section = manifest.split("\n[dependencies]\n").nth(1).expect("dependencies");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names: Vec<_> = lines
        .filter_map(|line| line.split([' ', '.', '=']).next())
        .filter(|name| !name.is_empty() && *name != "#")
        .collect();
    assert_eq!(names, ["chrono", "chrono-tz", "serde", "utoipa"]);
    for (path, source) in sources("crates/nutrition/src") {
        let code: Vec<_> = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        for word in ["async", "await", "::now(", "std::fs", "std::net", "std::env", "unsafe"] {
            assert!(
                !code.iter().any(|line| line.contains(word)),
                "{} says {word}",
                path.display()
            );
        }
    }
}

/// The packages in the lock file, each with its versions.
fn locked_versions() -> BTreeMap<String, Vec<String>> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("a lock file");
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock.split("[[package]]\n").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name));
            line.expect("a field").trim_matches([' ', '=', '"']).to_owned()
        };
        versions.entry(field("name")).or_default().push(field("version"));
    }
    versions
}

#[test]
fn each_cryptographic_primitive_has_one_library_and_unused_ones_are_absent() {
    let versions = locked_versions();
    assert!(versions.len() > 200, "{} packages", versions.len());
    for unused in ["rsa", "p256", "p384", "aws-lc-rs", "openssl", "native-tls"] {
        assert_eq!(versions.get(unused), None, "{unused}");
    }
    for once in [
        "chacha20",
        "curve25519-dalek",
        "digest",
        "ed25519-dalek",
        "hmac",
        "rand",
        "ring",
        "rustls",
        "sha2",
    ] {
        assert_eq!(
            versions.get(once).map(Vec::len),
            Some(1),
            "{once}: {:?}",
            versions.get(once)
        );
    }
}

/// The features of each package as cargo compiles it for these arguments. A package that is compiled twice has two
/// sets.
fn features(of: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = std::process::Command::new(cargo);
    tree.current_dir(root())
        .args([
            "tree",
            "--locked",
            "--offline",
            "--prefix",
            "none",
            "--format",
            "{p}|{f}",
        ])
        .args(of);
    let tree = tree.output().expect("cargo");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let tree = String::from_utf8(tree.stdout).expect("text");
    // An empty line separates the trees of two members.
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, features) = line.trim_end_matches(" (*)").split_once('|').expect("a package");
        packages
            .entry(package.to_owned())
            .or_default()
            .insert(features.to_owned());
    }
    packages
}

#[test]
fn builds_and_tests_compile_every_dependency_once() {
    let tests = features(&["--workspace", "--edges", "normal,build,dev"]);
    for smaller in [
        &["--package", "liveplan", "--edges", "normal,build"][..],
        &["--package", "liveplan", "--edges", "normal,build,dev"],
        // As `cargo doc` does.
        &["--workspace", "--edges", "normal,build"],
    ] {
        let build = features(smaller);
        assert!(build.len() > 200, "{} packages", build.len());
        for (package, features) in build {
            assert!(
                features.is_subset(&tests[&package]),
                "{package} is compiled a second time: {smaller:?} needs {features:?}, all tests together {:?}. Name the \
                 features that are missing in Cargo.toml, as for num-traits",
                tests[&package]
            );
        }
    }
}

#[test]
fn the_postgres_supervisor_names_nothing_of_this_product() {
    for (path, source) in sources("crates/embedded-postgres") {
        for word in ["liveplan", "LIVEPLAN", "gym", "DATABASE_URL", "DATA_DIR"] {
            assert!(!source.contains(word), "{} says {word}", path.display());
        }
    }
}

/// Splits a line's identifiers into lower-case words in the singular, whatever their case style.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in line.chars() {
        if !c.is_alphabetic() || (c.is_uppercase() && small) {
            words.push(String::new());
        }
        small = c.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c.is_alphabetic()) {
            word.extend(c.to_lowercase());
        }
    }
    let singular = |word: String| word.strip_suffix('s').map(str::to_owned).unwrap_or(word);
    words.into_iter().map(singular).collect()
}

#[test]
fn the_hub_names_no_noun_of_this_product() {
    assert_eq!(words("GymLogs: plan_of(x)"), ["gym", "log", "", "plan", "of", "x", ""]);
    let nouns = [
        "gym",
        "account",
        "member",
        "trainer",
        "nutritionist",
        "plan",
        "meal",
        "food",
        "roster",
    ];
    for (path, source) in sources("crates/hub") {
        for line in source.lines() {
            // Help texts about bounds use the operator's words, and so do the keys of log fields.
            let told = path.ends_with("limits.rs") && ["///", "#[arg("].iter().any(|p| line.trim().starts_with(p));
            let line = line.replace("gym.id", "").replace("account.id", "");
            let noun = words(&line).into_iter().find(|word| nouns.contains(&&**word));
            assert!(told || noun.is_none(), "{} says {noun:?}: {line}", path.display());
        }
    }
}

#[test]
fn every_error_code_is_used() {
    let mut made: BTreeSet<String> = BTreeSet::new();
    for (path, source) in sources("src") {
        let mut code = String::new();
        let mut inside_temporary = false;
        for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
            // `temporary` compares codes and makes none.
            inside_temporary |= path.ends_with("src/error/mod.rs") && line.contains("fn temporary");
            inside_temporary &= line != "    }";
            if !inside_temporary {
                code.push_str(line);
                code.push('\n');
            }
        }
        for (at, _) in code.match_indices("Code::") {
            let name: String = code[at + 6..].chars().take_while(char::is_ascii_alphanumeric).collect();
            let before = code[..at].trim_end();
            let after = code[at + 6 + name.len()..].trim_start();
            let asked = before.ends_with("==")
                || before.ends_with("!=")
                || ["=>", "if ", "| "].iter().any(|p| after.starts_with(p));
            if !asked {
                made.insert(name);
            }
        }
    }
    let unused: Vec<_> = Code::ALL
        .iter()
        .map(|code| format!("{code:?}"))
        .filter(|code| !made.contains(code))
        .collect();
    assert_eq!(unused, Vec::<String>::new(), "codes that are never used");
}

#[derive(diesel::QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    table: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Bool)]
    nullable: bool,
    #[diesel(sql_type = Bool)]
    in_key: bool,
}

/// A table in the spelling of `schema.rs`.
fn spelled(table: &str, columns: &[Column], key: &[&str]) -> String {
    let mut text = format!("{table} ({}) {{\n", key.join(", "));
    for Column {
        name, kind, nullable, ..
    } in columns
    {
        let element = |name: &str| {
            let mut chars = name.chars();
            let first = chars.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(chars).collect::<String>()
        };
        let mut kind = match kind.strip_prefix('_') {
            // Postgres cannot declare an array's elements NOT NULL.
            Some(of) => format!("Array<Nullable<{}>>", element(of)),
            None => element(kind),
        };
        if *nullable {
            kind = format!("Nullable<{kind}>");
        }
        let name = if name == "type" {
            text.push_str("        #[sql_name = \"type\"]\n");
            "type_"
        } else {
            name
        };
        let _ = writeln!(text, "        {name} -> {kind},");
    }
    text + "    }"
}

#[tokio::test]
async fn the_schema_matches_the_migrations() {
    let url = postgres::fresh_database().await;
    let mut conn = liveplan::db::establish(&url).await.expect("a connection");
    let columns: Vec<Column> = diesel::sql_query(
        "SELECT c.relname::text AS table, a.attname::text AS name, t.typname::text AS kind, NOT a.attnotnull AS nullable,
                coalesce(a.attnum = ANY (k.conkey), false) AS in_key
         FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         JOIN pg_type t ON t.oid = a.atttypid
         LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND c.relname <> '__diesel_schema_migrations'
         ORDER BY c.relname, a.attnum",
    )
    .load(&mut conn)
    .await
    .expect("the catalog");
    let mut tables: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for column in columns {
        tables.entry(column.table.clone()).or_default().push(column);
    }
    let in_database: BTreeMap<_, _> = tables
        .into_iter()
        .map(|(name, columns)| {
            let key: Vec<_> = columns.iter().filter(|c| c.in_key).map(|c| c.name.as_str()).collect();
            let text = spelled(&name, &columns, &key);
            (name, text)
        })
        .collect();
    let schema = std::fs::read_to_string(root().join("src/db/schema.rs")).expect("a schema");
    let in_code: BTreeMap<_, _> = schema
        .split("diesel::table! {\n    ")
        .skip(1)
        .filter_map(|table| table.split("\n}").next())
        .map(|table| {
            let name = table.split(' ').next().unwrap_or_default().to_owned();
            (name, table.trim_end().to_owned())
        })
        .collect();
    let names = |tables: &BTreeMap<String, String>| tables.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&in_code), names(&in_database));
    for (name, table) in &in_database {
        assert_eq!(&in_code[name], table, "{name}");
    }
    let together = schema
        .split("allow_tables_to_appear_in_same_query!")
        .nth(1)
        .expect("a list");
    for name in in_database.keys() {
        assert!(
            together.contains(&format!("    {name},")),
            "allow_tables_to_appear_in_same_query! lacks {name}"
        );
    }
}
