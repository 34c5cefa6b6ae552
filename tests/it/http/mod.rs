//! The HTTP service: its routes without a socket, on the embedded DynamoDB.

mod access;
mod limits;
pub mod stand;
