//! The HTTP service: its routes without a socket, on the embedded DynamoDB.

mod access;
mod limits;
mod serving;
pub mod stand;
