//! The archive's files: rows in, the same rows out.

mod layout;
pub mod replay;
mod rows;
