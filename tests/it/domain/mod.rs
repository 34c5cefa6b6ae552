//! The pure core.

mod helpers;
mod rules_document;
