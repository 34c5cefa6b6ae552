//! The HTTP service: its routes without a socket, on the embedded DynamoDB.

mod access;
mod admin;
mod admin_credits;
mod analytics;
mod audit;
mod audits;
mod bodies;
mod credits;
mod earnings;
pub mod hostile;
pub mod issuer;
mod keys;
mod limits;
mod pricing;
mod readiness;
mod referrals;
mod rejects;
mod reversals;
pub mod rows;
mod rules;
mod senders;
mod sent_rejects;
mod serving;
mod set_aside;
pub mod slow_db;
pub mod stand;
mod tokens;
