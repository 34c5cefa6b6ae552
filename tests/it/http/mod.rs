//! The HTTP service: its routes without a socket, on the embedded DynamoDB.

mod access;
mod credits;
mod earnings;
mod issuer;
mod limits;
mod referrals;
mod rows;
mod serving;
mod slow_db;
pub mod stand;
mod tokens;
