//! Shutdown: the first SIGINT or SIGTERM asks everything to drain, the second ends the process at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What a process that was told to stop twice exits with: 128 + SIGINT, as shells have it.
const EXIT_INTERRUPTED: i32 = 130;

/// Becomes true, once, when this process is to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// The other end: triggers the shutdown.
#[derive(Clone, Debug)]
pub struct Trigger(watch::Sender<bool>);

/// A shutdown that only [`Trigger::shut_down`] brings.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Asks everything to drain and stop.
    pub fn shut_down(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether it has been asked for.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is asked for.
    pub async fn requested(&mut self) {
        // An error means that the trigger is gone and nobody can ask any more.
        if self.0.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The bare channel, for code that takes one.
    pub fn receiver(&self) -> watch::Receiver<bool> {
        self.0.clone()
    }

    /// Waits for the request, then at most `bound` longer for `work`. `None`: it did not end in time.
    pub async fn bounded<T>(&self, bound: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut shutdown = self.clone();
        tokio::select! {
            output = work => Some(output),
            () = async {
                shutdown.requested().await;
                tokio::time::sleep(bound).await;
            } => None,
        }
    }
}

/// A shutdown that SIGINT and SIGTERM bring. Must be called within the runtime.
pub fn on_signals() -> std::io::Result<(Trigger, Shutdown)> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (trigger, shutdown) = channel();
    let on_signal = trigger.clone();
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        tracing::info!(
            event = "process.stopping",
            "stopping: finishing what is under way; a second signal stops at once"
        );
        on_signal.shut_down();
        next(&mut interrupt, &mut terminate).await;
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok((trigger, shutdown))
}

async fn next(
    interrupt: &mut tokio::signal::unix::Signal,
    terminate: &mut tokio::signal::unix::Signal,
) {
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}
