//! The archive's files: rows in, the same rows out.

mod layout;
mod replay;
mod rows;
