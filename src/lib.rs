//! tidemark turns usage records from AI inference gateways into points, referral rewards, streaks,
//! monthly statements and credit charges, and keeps them in DynamoDB. Every number is right: no
//! usage lost, none counted twice, whatever crashes.
//!
//! Modules stand in reading order; each uses only those above it (a test holds that).

// Blank lines, so that rustfmt leaves the order alone.
pub mod domain;

pub mod ops;

pub mod log;

pub mod gateways;

pub mod store;

pub mod objects;

pub mod archive;

pub mod claims;

pub mod pipeline;

pub mod app;

pub mod http;

pub mod compose;

pub mod cli;
