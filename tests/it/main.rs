//! The one integration test binary; folders mirror the code.

mod domain;
pub mod edge;
mod fuzz;
pub mod http;
pub mod kafka;
mod log;
mod operators;
mod oracle;
mod pages;
mod pipeline;
pub mod process;
mod sim;
pub mod store;
mod wire;
mod worst_night;
