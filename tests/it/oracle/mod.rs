//! The naive oracle: what every number must be, computed from the log in the simplest way, by one thread, in 128-bit integers.
//! It shares no code with the pipeline: it is written from the rules as the documents state them, and parses JSON into plain maps.
//!
//! In: the records of `usage.events` in log order, the cuts with which they were rated, the control feed, the awards that were
//! granted. Out: every statement, reject, duplicate, streak, milestone and leaderboard.

mod badges;
mod count;
pub mod defaults;
mod event;
mod examples;
mod rules;
mod statement;
mod tier;
mod undone;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use badges::badges;
pub use rules::Version;
pub use statement::{same_statement, same_statements};

/// An account: `user` or `provider`, and an id.
pub type Account = (String, String);

/// The header that marks a tick: a record that only moves log time.
pub const TICK_HEADER: &str = "tidemark-tick";

/// A record of `usage.events`.
#[derive(Clone, Debug, Default)]
pub struct SourceRecord {
    /// The partition.
    pub partition: u32,
    /// The epoch of the log.
    pub epoch: u32,
    /// The offset in it.
    pub offset: u64,
    /// The broker's append time, ms.
    pub append_ms: i64,
    /// Headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The value.
    pub value: Vec<u8>,
}

/// A recorded cut: the records `[from, to)` of a partition, rated as of a control position.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The source partition.
    pub partition: u32,
    /// How many of them its epoch has.
    pub partitions: u32,
    /// The chunk.
    pub chunk: u64,
    /// The epoch.
    pub epoch: u32,
    /// The first offset.
    pub from: u64,
    /// The offset after the last one.
    pub to: u64,
    /// The control position.
    pub control: u64,
    /// The first offset (of this epoch) that the duplicate window holds.
    pub window_from: u64,
    /// The log time of the newest valid record that the window has forgotten; `None` while it reaches back to the very beginning.
    pub forgotten: Option<i64>,
    /// Whether usage rows are on.
    pub usage_rows: bool,
    /// Log time goes on from this moment if it was later: a clock had been ahead.
    pub corrected_at: Option<i64>,
}

/// A referral link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its number in the control feed.
    pub number: u64,
    /// Who was referred.
    pub referee: Account,
    /// The referrer, that one's referrer, and theirs.
    pub chain: Vec<Account>,
    /// When the link was made, ms.
    pub at: i64,
    /// Whether the referrer gets awards for it.
    pub awards: bool,
}

/// An award that was granted, signups and adjustments (milestones are computed).
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who gets it.
    pub account: Account,
    /// Since the epoch, ms: it belongs to this moment's month.
    pub at: i64,
    /// Micropoints.
    pub points: i128,
}

/// Everything that the numbers depend on.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Partitions of `usage.events`.
    pub partitions: u32,
    /// The records, in any order.
    pub records: Vec<SourceRecord>,
    /// The cuts, in any order. None at all: each partition is one chunk, rated as of everything in the control feed,
    /// with a window over the whole log.
    pub cuts: Vec<Cut>,
    /// Versions of rules.
    pub versions: Vec<Version>,
    /// Links.
    pub links: Vec<Link>,
    /// Signup awards and adjustments.
    pub grants: Vec<Grant>,
    /// For accounts whose events come by several partitions: the order in which their posting partition took the chunks
    /// `(partition, chunk)`. Only a milestone's month depends on it. Without: in the order of log time.
    pub order: BTreeMap<Account, Vec<(u32, u64)>>,
}

/// Where a record stands: partition, epoch, offset.
pub type Place = (u32, u32, u64);

/// A streak at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streak {
    /// Active days in a row that end at the last active one.
    pub current: i128,
    /// The longest ever.
    pub longest: i128,
    /// The first day of the current run.
    pub start: String,
    /// The last active day.
    pub last_active: String,
}

/// An accepted event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Where its record stands.
    pub place: Place,
    /// The user.
    pub user: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `id`.
    pub id: String,
    /// The event's time, ms.
    pub time: i64,
    /// Micropoints to the provider.
    pub provider_points: i128,
    /// Micropoints to the user.
    pub user_points: i128,
}

/// What one accepted event brought to everybody, as an explanation must tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// The user.
    pub user: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `id`.
    pub id: String,
    /// The event's time, ms.
    pub time: i64,
    /// The control position with which it was rated.
    pub control: u64,
    /// Micropoints, by account and level: 0 for the user and the provider themselves.
    pub shares: BTreeMap<(Account, usize, String), i128>,
    /// Nano-dollars charged.
    pub cost: i128,
    /// Nano-dollars noted on testnet.
    pub shadow: i128,
    /// The day, or the month in which it is late.
    pub booked: String,
    /// The source and id of the reversal that took it back, and where that is booked.
    pub reversal: Option<(String, String, String)>,
}

/// Every number.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// By account and month (`2026-11`), in the form that the command line prints, without `final`.
    pub statements: BTreeMap<(Account, String), Value>,
    /// The reason of each reject.
    pub rejects: BTreeMap<Place, &'static str>,
    /// Duplicates that were dropped.
    pub duplicates: BTreeSet<Place>,
    /// Records that belong to another partition.
    pub forwarded: BTreeSet<Place>,
    /// Accepted events, in log order by partition.
    pub accepted: Vec<Accepted>,
    /// What each accepted event brought, in the order of [`Output::accepted`].
    pub explained: Vec<Explained>,
    /// Accepted completions, with the time of what they complete.
    pub completions: Vec<(Place, i64)>,
    /// Accepted reversals, with the time of what they take back.
    pub reversals: Vec<(Place, i64)>,
    /// Streaks of accounts that ever were active.
    pub streaks: BTreeMap<Account, Streak>,
    /// Milestone awards: referee, referrer, month, micropoints.
    pub milestones: Vec<(Account, Account, String, i128)>,
    /// Nano-dollars charged, by user.
    pub spent: BTreeMap<String, i128>,
    /// Micropoints from referrals that were not booked late, by account, month, and level (the nearest first).
    pub levels: BTreeMap<(Account, String), [i128; 3]>,
    /// Users and the services with which they ever had a success.
    pub first_uses: BTreeSet<(String, &'static str)>,
    /// Successes in a life.
    pub successes: BTreeMap<Account, i128>,
}

impl Output {
    /// The accounts of a month by total, descending, then id: at most `k` of them, with their micropoints.
    pub fn leaderboard(&self, kind: &str, month: &str, k: usize) -> Vec<(String, i128)> {
        let mut all: Vec<(String, i128)> = self
            .statements
            .iter()
            .filter(|(((of, _), m), _)| of == kind && m == month)
            .map(|(((_, id), _), s)| (id.clone(), statement::micros(&s["total"])))
            .collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all
    }
}

/// Computes everything.
pub fn run(input: &Input) -> Output {
    count::run(input)
}
