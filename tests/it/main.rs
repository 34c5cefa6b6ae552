//! The one integration test binary; folders mirror the code.

mod domain;
mod edge;
mod kafka;
mod log;
mod oracle;
mod process;
mod sim;
mod store;
mod wire;
