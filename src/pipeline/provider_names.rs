//! The provider accounts that an admin has published for gateways' own names (`rules.providers`),
//! as an adapter reads them.
//!
//! An entry is read with the names that are in force at its own time. So an early and a final line
//! about one request name the same provider, and an entry becomes the same event when it is read
//! again after a crash.

use std::sync::Arc;
use std::time::Duration;

use super::WorkerContext;
use super::failure::Failure;
use super::retry::persist;
use crate::domain::position::Control;
use crate::ops::clock::Moment;
use crate::ops::config::AdapterConfig;
use crate::store::{control, pricing};

/// How often the head of the control feed is read, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// An adapter's configuration with the published names over its own.
pub(super) struct NamedConfig {
    config: AdapterConfig,
    looked: Option<Moment>,
    /// The entry of the control feed that last changed rules.
    entry: Control,
}

impl NamedConfig {
    /// Without published names, until the first [`NamedConfig::refresh`].
    pub fn new(configured: &AdapterConfig) -> NamedConfig {
        NamedConfig {
            config: configured.clone(),
            looked: None,
            entry: Control(0),
        }
    }

    /// Looks for a change, if the last look was a while ago. To be called before records are
    /// adapted that have been read.
    ///
    /// That this may miss a version of the last second does no harm: it comes into force at the
    /// earliest five seconds after its publication, and no entry that has been read is from then.
    pub async fn refresh(&mut self, ctx: &WorkerContext) -> Result<(), Failure> {
        let now = ctx.clock.moment();
        if self.looked.is_some_and(|at| now.since(at) < LOOK_INTERVAL) {
            return Ok(());
        }
        let head = persist(ctx, || control::full_head(&*ctx.db)).await?;
        if head.rules != self.entry {
            let load = || pricing::load_rules(&*ctx.db, head.number);
            let mut book = persist(ctx, load).await?;
            let timeline = book.as_of(head.number);
            let names = timeline.map(|timeline| Arc::clone(timeline.provider_names()));
            self.config.providers = self.config.providers.beneath(names.unwrap_or_default());
            self.entry = head.rules;
        }
        self.looked = Some(now);
        Ok(())
    }

    /// How to read entries.
    pub const fn config(&self) -> &AdapterConfig {
        &self.config
    }
}
