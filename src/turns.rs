//! Work that keeps a core busy, such as hashing a password: on blocking threads, so that workers go on, and few at a time, so
//! that workers have cores to go on with.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::{Code, Error, Result};

/// How long work may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Turns of one kind of work, as many at a time as half of the cores.
pub struct Turns {
    free: Semaphore,
    refusal: Code,
}

impl Turns {
    /// Turns; work that waits too long for one is refused with this code, and told to wait as long again.
    #[must_use]
    pub fn new(refusal: Code) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            free: Semaphore::new((cores / 2).max(1)),
            refusal,
        }
    }

    /// Does work when its turn has come.
    ///
    /// # Errors
    /// The code of these turns, where none comes in time.
    pub async fn take<T: Send + 'static>(&'static self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let internal = |e: anyhow::Error| Error::new(Code::Internal).caused_by(e);
        let turn = self.within(self.free.acquire()).await?;
        let turn = turn.map_err(|e| internal(e.into()))?;
        // The turn goes with the work: a client that leaves does not make room for another while its own still runs.
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|e| internal(e.into()))
    }

    /// Waits for what another makes in a turn, as long as for a turn.
    ///
    /// # Errors
    /// The code of these turns, where it takes longer.
    pub async fn within<T>(&self, wait: impl Future<Output = T>) -> Result<T> {
        let late = |_| Error::new(self.refusal).with("seconds", PATIENCE.as_secs());
        tokio::time::timeout(PATIENCE, wait).await.map_err(late)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn work_leaves_the_worker_and_half_of_the_cores_alone() {
        static TURNS: LazyLock<Turns> = LazyLock::new(|| Turns::new(Code::Busy));
        static AT_ONCE: AtomicUsize = AtomicUsize::new(0);
        let (worker, most) = (std::thread::current().id(), TURNS.free.available_permits());
        let work = || {
            TURNS.take(|| {
                let now = AT_ONCE.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::sleep(Duration::from_millis(5));
                AT_ONCE.fetch_sub(1, Ordering::SeqCst);
                (std::thread::current().id(), now)
            })
        };
        for done in join_all((0..16).map(|_| work())).await {
            let (thread, at_once) = done.expect("its turn");
            assert!(thread != worker && at_once <= most, "{at_once} of {most}");
        }
    }
}
