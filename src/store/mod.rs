//! The tables: what stands in DynamoDB and under which names. Nothing outside this module knows an
//! attribute.
//!
//! [`db`] is the trait; `dynamo` implements it with the AWS client, `embedded` serves DynamoDB from
//! this process. The other modules are typed operations, written against the trait alone and
//! deterministic given their inputs: the simulator drives the same code. `docs` of each name its
//! rows.

pub mod account_write;
pub mod accounts;
pub mod audit;
pub mod audits;
pub mod awards;
pub mod badges;
pub mod census;
pub mod checkpoints;
pub mod closes;
pub mod conditional;
pub mod control;
pub mod credits;
pub mod db;
pub mod durability;
pub mod dynamo;
pub mod embedded;
pub mod feed_rows;
pub mod heads;
pub mod installation;
pub mod keys;
pub mod layout;
pub mod losses;
pub mod marker;
pub mod meter;
pub mod pages;
pub mod pricing;
pub mod protection;
pub mod rated_services;
pub mod recovery;
pub mod redrive;
pub mod referrals;
pub mod reversals;
pub mod row;
pub mod seasons;
pub mod secrets;
pub mod sessions;
pub mod set_aside;
pub mod streaks;
pub mod tables;
pub mod top;
pub mod usage;
pub mod usage_list;
pub mod votes;
pub mod wallets;
