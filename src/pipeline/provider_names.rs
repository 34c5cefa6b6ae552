//! The provider accounts that an admin has published for gateways' own names (`rules.providers`),
//! as an adapter reads them.
//!
//! A record is read with the names that were in force when it was appended to the gateway's topic,
//! so that it becomes the same event when it is read again after a crash.

use std::sync::Arc;
use std::time::Duration;

use super::WorkerContext;
use super::failure::Failure;
use super::retry::persist;
use crate::domain::position::Control;
use crate::domain::rules::{ProviderNames, Timeline};
use crate::domain::time::Millis;
use crate::ops::clock::Moment;
use crate::ops::config::AdapterConfig;
use crate::store::{control, pricing};

/// How often the head of the control feed is read, at most: so much later a change is felt.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The published names, and the adapter's configuration with them.
#[derive(Default)]
pub(super) struct PublishedNames {
    looked: Option<Moment>,
    /// The entry of the control feed that last changed rules.
    entry: Control,
    timeline: Option<Arc<Timeline>>,
    mapped: Option<(Arc<ProviderNames>, AdapterConfig)>,
}

impl PublishedNames {
    /// Looks for a change, if the last look was a while ago.
    pub async fn refresh(&mut self, ctx: &WorkerContext) -> Result<(), Failure> {
        let now = ctx.clock.moment();
        if self.looked.is_some_and(|at| now.since(at) < LOOK_INTERVAL) {
            return Ok(());
        }
        let head = persist(ctx, || control::full_head(&*ctx.db)).await?;
        if head.rules != self.entry {
            let load = || pricing::load_rules(&*ctx.db, head.number);
            let mut book = persist(ctx, load).await?;
            self.timeline = book.as_of(head.number);
            self.entry = head.rules;
        }
        self.looked = Some(now);
        Ok(())
    }

    /// How to read a record that was appended at an instant.
    pub fn config_at<'a>(
        &'a mut self,
        configured: &'a AdapterConfig,
        appended: Millis,
    ) -> &'a AdapterConfig {
        let timeline = self.timeline.as_deref();
        let Some(names) = timeline.and_then(|timeline| timeline.provider_names(appended)) else {
            return configured;
        };
        let is_mapped = |(of, _): &(Arc<ProviderNames>, AdapterConfig)| Arc::ptr_eq(of, names);
        if !self.mapped.as_ref().is_some_and(is_mapped) {
            self.mapped = None;
        }
        let (_, config) = self.mapped.get_or_insert_with(|| {
            let providers = names.over(&configured.providers);
            let config = AdapterConfig {
                providers,
                ..configured.clone()
            };
            (Arc::clone(names), config)
        });
        config
    }
}
