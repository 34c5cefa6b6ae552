//! Shutdown: the first SIGINT or SIGTERM asks everything to drain, the next one ends the process at
//! once.
//!
//! After SIGTERM a process that serves others may go on serving for a while first, so that load
//! balancers see that it is leaving before it refuses connections ([`Trigger::delay_by`]). Another
//! signal ends that while at once. SIGINT comes from a person, who need not wait.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What a process that was told to stop twice exits with: 128 + SIGINT, as shells have it.
const EXIT_INTERRUPTED: i32 = 130;

/// Becomes true, once, when this process is to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stopping: watch::Receiver<bool>,
    leaving: watch::Receiver<bool>,
}

/// The other end: triggers the shutdown.
#[derive(Clone, Debug)]
pub struct Trigger {
    stopping: watch::Sender<bool>,
    leaving: watch::Sender<bool>,
    delay: watch::Sender<Duration>,
}

/// A shutdown that only [`Trigger::shut_down`] brings.
pub fn channel() -> (Trigger, Shutdown) {
    let (stop, stopping) = watch::channel(false);
    let (leave, leaving) = watch::channel(false);
    let trigger = Trigger {
        stopping: stop,
        leaving: leave,
        delay: watch::channel(Duration::ZERO).0,
    };
    (trigger, Shutdown { stopping, leaving })
}

impl Trigger {
    /// Asks everything to drain and stop.
    pub fn shut_down(&self) {
        self.leave();
        self.stopping.send_replace(true);
    }

    /// Says that this process will stop soon.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// How long this process goes on serving after SIGTERM before it drains.
    pub fn delay_by(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }
}

impl Shutdown {
    /// Whether it has been asked for.
    pub fn is_requested(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Returns when it is asked for.
    pub async fn requested(&mut self) {
        becomes_true(&mut self.stopping).await;
    }

    /// Returns when it is known that it will be asked for soon, or is.
    pub async fn leaving(&mut self) {
        becomes_true(&mut self.leaving).await;
    }

    /// The bare channel, for code that takes one.
    pub fn receiver(&self) -> watch::Receiver<bool> {
        self.stopping.clone()
    }

    /// Waits for the request, then at most `bound` longer for `work`. `None`: it did not end in
    /// time.
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
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
            }
        };
        let delay = match next().await == SignalKind::terminate() {
            true => *on_signal.delay.borrow(),
            false => Duration::ZERO,
        };
        on_signal.leave();
        if !delay.is_zero() {
            tracing::info!(
                event = "process.leaving",
                seconds = delay.as_secs_f64(),
                "no longer ready; serving for http.shutdown_delay so that load balancers notice; \
                 another signal ends the wait"
            );
            // Either ends the wait.
            drop(tokio::time::timeout(delay, next()).await);
        }
        tracing::info!(
            event = "process.stopping",
            "shutting down: finishing work in progress; another signal stops immediately"
        );
        on_signal.shut_down();
        next().await;
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok((trigger, shutdown))
}

/// An error means that the trigger is gone and nobody can ask any more.
async fn becomes_true(channel: &mut watch::Receiver<bool>) {
    if channel.wait_for(|requested| *requested).await.is_err() {
        std::future::pending::<()>().await;
    }
}
