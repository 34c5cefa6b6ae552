//! Records on the wire.

mod accepted;
mod adapt;
mod adapt_config;
mod adapt_laws;
mod adapt_refused;
mod adapt_role;
mod adapt_rows;
mod faults;
mod gateways;
mod gateways_batches;
mod gateways_framing;
mod gateways_http;
mod gateways_laws;
mod gateways_litellm;
mod gateways_litellm_real;
mod gateways_metering;
mod gateways_new_api;
pub mod gateways_otlp;
mod gateways_otlp_real;
mod gateways_otlp_sdks;
mod gateways_reports;
mod gateways_services;
mod gateways_sub2api;
mod laws;
mod refused;
mod reported;
