//! The settings with which gateways' forms are read: those of the configuration, with the provider
//! accounts that an admin has published (`rules.providers`) over the configured ones.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::rules::ProviderNames;
use crate::domain::time::Millis;
use crate::http::ApiState;
use crate::ops::config::GatewaySettings;

/// The settings as of the published names that were last asked for.
#[derive(Default)]
pub(in crate::http) struct MappedSettings(Mutex<Option<Mapped>>);

struct Mapped {
    names: Arc<ProviderNames>,
    settings: Arc<GatewaySettings>,
}

impl MappedSettings {
    fn with(
        &self,
        names: Arc<ProviderNames>,
        configured: &GatewaySettings,
    ) -> Arc<GatewaySettings> {
        // A panic elsewhere leaves it whole: each change of it is one assignment.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mapped) = last
            .as_ref()
            .filter(|last| Arc::ptr_eq(&last.names, &names))
        {
            return Arc::clone(&mapped.settings);
        }
        let settings = Arc::new(GatewaySettings {
            providers: names.over(&configured.providers),
            ..configured.clone()
        });
        *last = Some(Mapped {
            names,
            settings: Arc::clone(&settings),
        });
        settings
    }
}

/// The settings for what is received at an instant.
pub(super) async fn settings_at(service: &ApiState, received: Millis) -> Arc<GatewaySettings> {
    let configured = &service.config.gateways;
    match service.queries.provider_names(received).await {
        Some(names) => service.gateway_settings.with(names, configured),
        None => Arc::clone(configured),
    }
}
