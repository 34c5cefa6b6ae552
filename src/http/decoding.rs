//! Work on large bodies, away from the threads that answer requests.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

use super::problem::Problem;

/// Bodies up to this size are worked on where they are: that takes less than a millisecond.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;

/// As many threads as the machine has cores work on large bodies; more would only make each of them
/// slower and hold more memory.
#[derive(Clone)]
pub(super) struct Decoding(Arc<Semaphore>);

impl Decoding {
    pub fn new() -> Decoding {
        let cores = available_parallelism().map_or(1, usize::from);
        Decoding(Arc::new(Semaphore::new(cores)))
    }

    /// What `work` gives. If `is_large`, it runs on a thread of its own, where it goes on if nobody
    /// waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        is_large: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if !is_large {
            return Ok(work());
        }
        // The semaphore is never closed.
        let permit = self.0.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match done.await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The process is stopping.
            Err(_) => Err(Problem::internal()),
        }
    }
}
