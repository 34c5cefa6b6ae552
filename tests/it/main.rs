//! The one integration test binary; folders mirror the code.

mod edge;
mod log;
