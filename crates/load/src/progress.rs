//! A progress line on the terminal; nothing if standard error is not a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Options;
use super::swarm::{Meter, Swarm};

const EVERY: Duration = Duration::from_millis(200);
const WIDTH: usize = 24;

/// The progress line; dropping it erases the line.
pub(super) struct Progress {
    shown: Option<JoinHandle<()>>,
    run: Arc<Mutex<Option<(Instant, Duration)>>>,
}

impl Progress {
    pub(super) fn start(options: &Options, swarm: &Swarm) -> Self {
        let run = Arc::new(Mutex::new(None));
        let shown = std::io::stderr().is_terminal().then(|| {
            let (run, meter, sockets) = (run.clone(), swarm.meter(), options.connections);
            tokio::spawn(async move {
                loop {
                    let now = run.lock().ok().and_then(|run| *run);
                    let line = line(
                        now.map(|(began, whole): (Instant, _)| (began.elapsed(), whole)),
                        &meter,
                        sockets,
                    );
                    // Ignore a terminal that has gone away.
                    let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
                    tokio::time::sleep(EVERY).await;
                }
            })
        });
        Self { shown, run }
    }

    /// All sockets are open; the run takes this long from now on.
    pub(super) fn runs_for(&self, whole: Duration) {
        if let Ok(mut run) = self.run.lock() {
            *run = Some((Instant::now(), whole));
        }
    }

    pub(super) fn end(self) {
        drop(self);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(shown) = self.shown.take() {
            shown.abort();
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// The text of the line: first the sockets opened, then the time elapsed.
fn line(run: Option<(Duration, Duration)>, meter: &Meter, sockets: u32) -> String {
    let open = meter.sockets().min(u64::from(sockets));
    let (part, whole, what) = match run {
        None => (open, u64::from(sockets), format!("{open} of {sockets} sockets open")),
        Some((passed, whole)) => (
            passed.as_secs().min(whole.as_secs()),
            whole.as_secs(),
            format!(
                "{} of {} s, {sockets} sockets, {} deliveries, {} sockets lost",
                passed.as_secs().min(whole.as_secs()),
                whole.as_secs(),
                meter.deliveries(),
                meter.lost()
            ),
        ),
    };
    let filled = usize::try_from(part * WIDTH as u64 / whole.max(1))
        .unwrap_or(WIDTH)
        .min(WIDTH);
    format!("[{}{}] {what}", "#".repeat(filled), ".".repeat(WIDTH - filled))
}
