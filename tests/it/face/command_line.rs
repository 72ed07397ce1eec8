//! Commands, flags and environment variables, parsed from the help that the programs print.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

use clap::{CommandFactory as _, Parser};
use liveplan_load::Options;

use super::check;

/// The load tool's command line. Its program is in another package.
#[derive(Parser)]
#[command(name = "liveplan load")]
struct LoadTool {
    #[command(flatten)]
    options: Options,
}

/// The parts of a help text that are compared.
#[derive(Debug, Default, PartialEq, Eq)]
struct Help {
    subcommands: Vec<String>,
    /// Arguments and flags, each with its possible values, environment variable and default.
    options: Vec<String>,
}

impl Help {
    fn of(text: &str) -> Self {
        let (mut help, mut section) = (Self::default(), "");
        for line in text.lines() {
            let indent = line.len() - line.trim_start().len();
            let line = line.trim();
            if indent == 0 && line.ends_with(':') {
                section = line;
            } else if section == "Commands:" && indent == 2 {
                help.subcommands.extend(line.split(' ').next().map(str::to_owned));
            } else if ["Arguments:", "Options:"].contains(&section) {
                if (1..=6).contains(&indent) {
                    // A short help has the description on the same line.
                    help.options.extend(line.split("  ").next().map(str::to_owned));
                } else if let Some(option) = help.options.last_mut() {
                    if let Some(variable) = line.strip_prefix("[env: ") {
                        let name = variable.split(['=', ']']).next().unwrap_or_default();
                        let _ = write!(option, " {name}");
                    } else if line.starts_with("[default: ") {
                        let _ = write!(option, " {line}");
                    } else if let Some((value, _)) = line.strip_prefix("- ").and_then(|rest| rest.split_once(':')) {
                        let _ = write!(option, " {value}");
                    }
                }
            }
        }
        help
    }

    /// The program's help for these words, in an empty environment.
    fn asked(words: &[&str]) -> Self {
        let program = env!("CARGO_BIN_EXE_liveplan");
        let asked = Command::new(program).env_clear().args(words).arg("--help").output();
        let asked = asked.expect("the program");
        assert!(asked.status.success(), "{words:?}");
        Self::of(&String::from_utf8(asked.stdout).expect("text"))
    }
}

#[test]
fn options_are_parsed_from_help() {
    let help = "Does it.\n\nUsage: x\n\nCommands:\n  run  Runs it\n\nArguments:\n  [MODE]\n          How\n\n          Possible values:\n          - \
                fast: At once\n          - slow: Later\n          \n          [default: fast]\n\nOptions:\n      --bind <BIND>\n          \
                Where\n          \n          [env: BIND=]\n          [default: 1:2]\n\n  -h, --help  Print help\n";
    let expected = Help {
        subcommands: vec!["run".into()],
        options: vec![
            "[MODE] fast slow [default: fast]".into(),
            "--bind <BIND> BIND [default: 1:2]".into(),
            "-h, --help".into(),
        ],
    };
    assert_eq!(Help::of(help), expected);
}

/// The server's configuration, which several commands share.
fn configuration() -> Vec<String> {
    let own = ["--conformance", "-h, --help"];
    let mut options = Help::asked(&["serve"]).options;
    options.retain(|option| !own.contains(&option.as_str()));
    options
}

#[test]
fn variables_keep_their_names_and_defaults() {
    let secrets = liveplan::config::SECRETS.map(|name| format!("{name}, never a flag"));
    let lines = [configuration(), secrets.to_vec()].concat();
    check("variables.txt", &(lines.join("\n") + "\n"));
}

#[test]
fn commands_keep_their_names_and_flags() {
    let configuration = configuration();
    let shared: BTreeSet<_> = configuration.iter().collect();
    let (mut text, mut to_ask) = (String::new(), vec![vec![]]);
    while let Some(words) = to_ask.pop() {
        let help = if words == ["load"] {
            let mut tool = LoadTool::command();
            Help::of(&tool.render_long_help().to_string())
        } else {
            Help::asked(&words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let name: String = words.iter().flat_map(|word| [" ", word]).collect();
        let _ = writeln!(text, "liveplan{name}");
        let (common, own): (Vec<_>, Vec<_>) = help.options.iter().partition(|option| shared.contains(option));
        if common.len() == shared.len() {
            let _ = writeln!(text, "  all that variables.txt has");
        } else {
            assert_eq!(
                common,
                Vec::<&String>::new(),
                "liveplan{name} has only some of the configuration's options"
            );
        }
        for option in own {
            let _ = writeln!(text, "  {option}");
        }
        let subcommands = help.subcommands.into_iter().filter(|name| name != "help").rev();
        to_ask.extend(subcommands.map(|name| [words.clone(), vec![name]].concat()));
    }
    check("commands.txt", &text);
}
