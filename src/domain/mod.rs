//! The pure core: what usage is worth and what an account holds.
//!
//! Nothing in here does I/O, reads a clock, draws a random number or holds a float.

pub mod access;
pub mod amount;
pub mod badges;
pub mod closing;
pub mod completion;
pub mod ethereum;
pub mod event;
pub mod explain;
pub mod ids;
pub mod ledger;
pub(crate) mod model_name;
pub mod outcomes;
pub mod position;
pub mod posting;
pub mod rating;
pub mod referral;
pub mod reversal;
pub mod rules;
pub mod semantics;
pub mod service;
mod service_stats;
pub mod sorted;
pub mod statement;
pub mod text;
pub mod tier;
pub mod time;
mod token_prices;
pub mod votes;
