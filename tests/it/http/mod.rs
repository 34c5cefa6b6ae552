//! The HTTP service: its routes without a socket, on the embedded DynamoDB.

mod access;
mod admin;
mod admin_credits;
mod audit;
mod limits;
mod pricing;
mod rejects;
mod rules;
pub mod stand;
