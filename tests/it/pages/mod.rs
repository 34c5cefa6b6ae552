//! The pages that users, providers and admins see.

mod access;
mod accounts;
mod admin;
mod browser;
mod closes;
mod desk;
mod failing;
mod jar;
mod requests;
mod seasons;
mod sessions;
mod votes;
mod wallets;
