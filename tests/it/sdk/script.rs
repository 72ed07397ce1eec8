//! A scenario script of `tests/sdk`, run with an official SDK as a child process. It makes its own assertions and exits
//! without error when it has passed; to let the test act, it writes `cue <word>` and waits.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinHandle;

/// The longest time for a scenario, and for a cue.
const WITHIN: Duration = Duration::from_mins(2);

/// An official SDK.
#[derive(Clone, Copy, Debug)]
pub enum Sdk {
    /// npm's `centrifuge`.
    JavaScript,
    /// PyPI's `centrifuge-python`.
    Python,
}

impl Sdk {
    fn command(self, scenario: &str) -> Command {
        let root = root();
        let (program, script) = match self {
            Self::JavaScript => (PathBuf::from("node"), format!("tests/sdk/js/{scenario}.mjs")),
            Self::Python => (
                root.join("target/sdk-python/bin/python"),
                format!("tests/sdk/python/{scenario}.py"),
            ),
        };
        let mut command = Command::new(program);
        command.arg(root.join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// A command that runs source text, which finds the SDK as a script in `tests/sdk` would.
    fn command_of_source(self, source: &str) -> Command {
        let root = root();
        let mut command = match self {
            Self::JavaScript => {
                let mut node = Command::new("node");
                node.args(["--input-type=module", "--eval", source]);
                node
            }
            Self::Python => {
                let mut python = Command::new(root.join("target/sdk-python/bin/python"));
                python.args(["-c", source]);
                python
            }
        };
        // Examples use the environment's proxy as an app would, but the server is on this machine.
        command
            .current_dir(root.join("tests/sdk"))
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1");
        command
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Installs the SDKs' packages if they are missing.
pub async fn set_up() {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(|| async {
        let output = Command::new(root().join("tools/sdk"))
            .output()
            .await
            .expect("tools/sdk");
        assert!(
            output.status.success(),
            "tools/sdk: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    })
    .await;
}

/// A running script.
pub struct Script {
    name: String,
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::UnboundedReceiver<String>,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Script {
    /// Starts a scenario with its input.
    pub async fn start(sdk: Sdk, scenario: &str, given: &Value) -> Self {
        set_up().await;
        let mut command = sdk.command(scenario);
        command.env("SCENARIO", given.to_string());
        Self::spawn(format!("{scenario} ({sdk:?})"), command)
    }

    /// Starts source text that has no file of its own.
    pub async fn start_source(sdk: Sdk, source: &str) -> Self {
        set_up().await;
        Self::spawn(format!("{source}\n({sdk:?})"), sdk.command_of_source(source))
    }

    fn spawn(name: String, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the script starts");
        let said = Arc::default();
        let (sender, lines) = mpsc::unbounded_channel();
        let stdout = child.stdout.take().expect("stdout");
        let stderr = child.stderr.take().expect("stderr");
        Self {
            name,
            stdin: child.stdin.take().expect("stdin"),
            readers: vec![read(stdout, &said, Some(sender)), read(stderr, &said, None)],
            child,
            lines,
            said,
        }
    }

    /// Runs a scenario that needs no action of the test.
    pub async fn pass(sdk: Sdk, scenario: &str, given: &Value) {
        Self::start(sdk, scenario, given).await.passes().await;
    }

    /// The next line that the script writes.
    pub async fn line(&mut self) -> String {
        let line = tokio::time::timeout(WITHIN, self.lines.recv()).await;
        match line.expect("a line in time") {
            Some(line) => line,
            None => panic!("it ended: {}", self.output().await),
        }
    }

    /// Writes a line to the script.
    pub async fn tell(&mut self, line: &str) {
        if let Err(error) = self.stdin.write_all(format!("{line}\n").as_bytes()).await {
            panic!("{error}: {}", self.output().await);
        }
    }

    /// Waits for a cue.
    pub async fn cue(&mut self, word: &str) {
        assert_eq!(self.line().await, format!("cue {word}"));
    }

    /// Waits for the script's end and asserts its success.
    pub async fn passes(mut self) {
        let ended = tokio::time::timeout(WITHIN, self.child.wait()).await;
        if ended.is_err() {
            self.child.kill().await.expect("killed");
        }
        let output = self.output().await;
        let status = ended.expect("an end in time").expect("a status");
        assert!(status.success(), "the script failed: {output}");
    }

    /// The script's name and all its output, once it has ended.
    async fn output(&mut self) -> String {
        for reader in self.readers.drain(..) {
            reader.await.expect("read");
        }
        format!("{}\n{}", self.name, self.said.lock().expect("a lock"))
    }
}

/// Reads a stream to its end, into `said` and line by line to the listener.
fn read(
    stream: impl AsyncRead + Send + Unpin + 'static,
    said: &Arc<Mutex<String>>,
    listener: Option<mpsc::UnboundedSender<String>>,
) -> JoinHandle<()> {
    let said = said.clone();
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut said = said.lock().expect("a lock");
            said.push_str(&line);
            said.push('\n');
            if let Some(listener) = &listener {
                // The listener is gone once the test only waits for the end.
                let _ = listener.send(line);
            }
        }
    })
}
