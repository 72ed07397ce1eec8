//! Runs CPU-bound work, such as password hashing, on blocking threads, so that it does not block the workers. Only a
//! few run at a time, so that cores remain free for the workers. [`Turns`] are for work of signed-in callers, a
//! [`lane::Lane`] is for work that strangers can ask for.

pub mod lane;

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::{Code, Error, Result};

/// How long work may wait for a permit.
const PATIENCE: Duration = Duration::from_secs(10);

/// The cores of this machine.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Permits for one kind of work: half as many as there are cores, at least one.
pub struct Turns {
    free: Semaphore,
    refusal: Code,
}

impl Turns {
    /// Permits for one kind of work. Work that waits longer than 10 s fails with `refusal`, and `seconds` in it as the
    /// time to wait before a retry.
    #[must_use]
    pub fn new(refusal: Code) -> Self {
        Self {
            free: Semaphore::new((cores() / 2).max(1)),
            refusal,
        }
    }

    /// Runs `work` once a permit is free.
    ///
    /// # Errors
    /// The refusal, if no permit is free in time.
    pub async fn take<T: Send + 'static>(&'static self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let internal = |e: anyhow::Error| Error::new(Code::Internal).caused_by(e);
        let turn = self.within(self.free.acquire()).await?;
        let turn = turn.map_err(|e| internal(e.into()))?;
        // The work holds the permit: a client that disconnects must not free it while its work still runs.
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|e| internal(e.into()))
    }

    /// Waits for the result of another caller's work, as long as for a permit.
    ///
    /// # Errors
    /// The refusal, if it takes longer.
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
    async fn work_runs_off_the_worker_and_on_half_of_the_cores_at_most() {
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
            let (thread, at_once) = done.expect("a permit");
            assert!(thread != worker && at_once <= most, "{at_once} of {most}");
        }
    }
}
