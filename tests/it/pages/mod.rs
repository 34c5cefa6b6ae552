//! The pages that users, providers and admins see.

mod access;
mod accounts;
mod jar;
mod sessions;
