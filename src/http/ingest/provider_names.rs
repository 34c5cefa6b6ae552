//! The settings with which gateways' forms are read: those of the configuration, with the provider
//! accounts that an admin has published (`rules.providers`) over the configured ones.
//!
//! An event is read with the names that are in force at its own time, which all reports of one
//! request share. A version is in force at the earliest five seconds after its publication, and the
//! published names are at most a second old, so every process reads an event in the same way.

use std::sync::Arc;

use crate::http::ApiState;
use crate::http::problem::Problem;
use crate::ops::config::GatewaySettings;

/// The settings for a body that has been received. To be asked for after that: a body may take a
/// while to arrive, and its events must not be newer than the names.
///
/// # Errors
/// `store_unavailable`: the store does not answer, and this process has never read the rules.
pub(super) async fn current_settings(service: &ApiState) -> Result<Arc<GatewaySettings>, Problem> {
    let configured = &service.config.gateways;
    let Some(published) = service.queries.provider_names().await? else {
        return Ok(Arc::clone(configured));
    };
    Ok(Arc::new(GatewaySettings {
        providers: configured.providers.beneath(published),
        ..GatewaySettings::clone(configured)
    }))
}
