//! The way to the engine of this process.

use std::sync::Arc;
use std::time::Duration;

use dynoxide::{Database, DynoxideError};

use super::settings::DynamoSettings;
use crate::store::embedded::{Lost, Queue};
use crate::store::meter::Operation;

/// The engine of this process.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    queue: Arc<Queue>,
    /// How long a call may take.
    within: Duration,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// Nothing came back.
    #[error("{0}")]
    Lost(Lost),
    /// Nothing came back in time. It is still worked on.
    #[error("the embedded store has not answered for {} s", .0.as_secs())]
    Late(Duration),
    /// The engine's error.
    #[error("{0}")]
    Answered(DynoxideError),
}

impl Engine {
    /// `None` if the store is elsewhere.
    pub(super) fn from_settings(settings: &DynamoSettings) -> Option<Engine> {
        let queue = settings.embedded.as_ref()?.engine()?.clone();
        Some(Engine {
            queue,
            within: settings.request_timeout,
        })
    }

    pub(super) async fn call<T: Send + 'static>(
        &self,
        operation: Operation,
        work: impl FnOnce(&Database) -> dynoxide::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let called = self.queue.call(operation.as_str(), work);
        match tokio::time::timeout(self.within, called).await {
            Err(_) => Err(EngineError::Late(self.within)),
            Ok(Err(lost)) => Err(EngineError::Lost(lost)),
            Ok(Ok(answered)) => answered.map_err(EngineError::Answered),
        }
    }
}
