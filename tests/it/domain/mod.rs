//! The pure core.

mod amount;
mod catalogue;
mod helpers;
mod ids;
mod rating;
mod rules_document;
mod time;
