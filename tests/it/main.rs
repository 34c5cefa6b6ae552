//! The one integration test binary. Most folders are named after the module that they test; `kafka`,
//! `operators`, `process`, `sim` and `worst_night` are named after what they need or simulate, because
//! they test several modules together. CONTRIBUTING.md lists them by tier, with run times.

mod archive;
mod claims;
pub mod domain;
pub mod edge;
mod fuzz;
pub mod http;
pub mod kafka;
mod log;
pub mod needs;
mod operators;
mod oracle;
mod pages;
mod pipeline;
pub mod process;
mod sim;
pub mod store;
mod verify;
mod wire;
mod worst_night;
