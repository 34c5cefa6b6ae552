//! The pure core.

mod amount;
mod badges;
mod catalogue;
pub mod closing;
pub mod completion;
mod docs;
pub mod ethereum;
mod helpers;
mod ids;
mod ledger;
mod prices;
mod provider_names;
mod rating;
mod referral;
mod rules_book;
mod rules_document;
mod rules_faults;
mod service_terms;
mod services;
mod sorted;
mod statement;
mod statement_laws;
mod time;
mod votes;
