//! The HTTP service: its routes without a socket, on the embedded DynamoDB.

mod access;
mod admin;
mod admin_credits;
mod audit;
mod limits;
mod pricing;
mod rejects;
mod rules;
mod serving;
pub mod stand;
