//! tidemark turns usage records from AI inference gateways into points, referral rewards, streaks, monthly statements
//! and credit charges, and keeps them in DynamoDB. Every number is right: no usage lost, none counted twice, whatever crashes.
//!
//! Modules stand in reading order; each uses only those above it (a test holds that).

#![warn(missing_docs)]

pub mod domain;
pub mod log;
pub mod ops;
pub mod pipeline;
pub mod store;
