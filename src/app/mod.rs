//! What people do and ask, once: [`commands`] change something, [`queries`] answer something,
//! [`closing`] closes months and shows what came of it.
//!
//! The HTTP API, the pages and the command line are thin translations of this module to JSON, HTML
//! and terminal text. A business rule, a validation or an error code is decided here or in
//! [`crate::domain`], never in one of them.

pub mod closing;
pub mod commands;
pub mod credential;
pub mod differences;
pub mod pieces;
pub mod queries;
pub mod words;

mod refusal;

pub use refusal::{CommandError, Refusal, RefusalKind};
