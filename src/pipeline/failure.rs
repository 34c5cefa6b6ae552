//! How a task ends when it cannot go on.

use crate::domain::ids::Account;
use crate::log::LogError;
use crate::store::db::StoreError;
use crate::store::set_aside::{FaultCode, Stood};

/// Why a partition halts. The names are stable: they are labels of a metric and stand in `tidemark
/// doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HaltCode {
    /// A topic was deleted and created again, or the log belongs to an earlier epoch.
    LogRecreated,
    /// Records that are not done yet are gone, or the log is shorter than what is done.
    LogTruncated,
    /// The last record that is done is not the one that was done.
    FingerprintMismatch,
    /// The log's own files contradict each other.
    LogDamaged,
    /// A topic has another number of partitions than before.
    PartitionsChanged,
    /// The log holds blocks of chunks that the tables know nothing of: the tables are older than
    /// the log.
    TablesBehindLog,
    /// A record's append time is more than an hour ahead of the worker's clock.
    ClockAhead,
    /// A chunk was cut by code that rates by another semantics.
    SemanticsChanged,
    /// Posting blocks are missing.
    SequenceGap,
    /// A record of our own cannot be read.
    BlockUnreadable,
    /// An account's row is gone or older than it was.
    RowRegressed,
    /// A row cannot be read, or contradicts another.
    RowUnreadable,
    /// A usage row says that a later event came first.
    UsageRowAhead,
    /// A sum left its range. Recorded by earlier versions: sums stay at the end of their range
    /// since, and the account is named in the log.
    Overflow,
    /// The store refuses a request for good (a missing table).
    StoreRefused,
    /// The log refuses a record of our own.
    LogRefused,
    /// More accounts cannot be counted than are set aside.
    AccountsUncountable,
}

impl HaltCode {
    /// All of them.
    pub const ALL: [HaltCode; 17] = [
        HaltCode::LogRecreated,
        HaltCode::LogTruncated,
        HaltCode::FingerprintMismatch,
        HaltCode::LogDamaged,
        HaltCode::PartitionsChanged,
        HaltCode::TablesBehindLog,
        HaltCode::ClockAhead,
        HaltCode::SemanticsChanged,
        HaltCode::SequenceGap,
        HaltCode::BlockUnreadable,
        HaltCode::RowRegressed,
        HaltCode::RowUnreadable,
        HaltCode::UsageRowAhead,
        HaltCode::Overflow,
        HaltCode::StoreRefused,
        HaltCode::LogRefused,
        HaltCode::AccountsUncountable,
    ];

    /// The code.
    pub const fn as_str(self) -> &'static str {
        match self {
            HaltCode::LogRecreated => "log_recreated",
            HaltCode::LogTruncated => "log_truncated",
            HaltCode::FingerprintMismatch => "fingerprint_mismatch",
            HaltCode::LogDamaged => "log_damaged",
            HaltCode::PartitionsChanged => "partitions_changed",
            HaltCode::TablesBehindLog => "tables_behind_log",
            HaltCode::ClockAhead => "clock_ahead",
            HaltCode::SemanticsChanged => "semantics_changed",
            HaltCode::SequenceGap => "sequence_gap",
            HaltCode::BlockUnreadable => "block_unreadable",
            HaltCode::RowRegressed => "row_regressed",
            HaltCode::RowUnreadable => "row_unreadable",
            HaltCode::UsageRowAhead => "usage_row_ahead",
            HaltCode::Overflow => "overflow",
            HaltCode::StoreRefused => "store_refused",
            HaltCode::LogRefused => "log_refused",
            HaltCode::AccountsUncountable => "accounts_uncountable",
        }
    }

    /// The code of that name.
    pub fn from_name(name: &str) -> Option<HaltCode> {
        HaltCode::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// What an operator does about it, in a sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            HaltCode::LogRecreated => {
                "Restore the original topic, or move to the new one in a new epoch after both roles \
                 are drained. If the original is permanently lost with work in flight: \
                 docs/runbook.md#a-topic-is-gone."
            }
            HaltCode::LogTruncated => {
                "Restore the missing records from a backup or replica; raise the topic's retention \
                 so that it exceeds any outage. If they are permanently lost: \
                 docs/runbook.md#a-topic-is-gone."
            }
            HaltCode::FingerprintMismatch => {
                "The topic does not hold the records that were counted; restore the original topic. \
                 If it is permanently lost: docs/runbook.md#a-topic-is-gone."
            }
            HaltCode::LogDamaged => {
                "Restore the data directory from a backup. If there is none, move on in a new epoch: \
                 docs/runbook.md#a-topic-is-gone."
            }
            HaltCode::PartitionsChanged => {
                "Partitions cannot be added in place: move to new topics in a new epoch \
                 (docs/kafka.md#more-partitions)."
            }
            HaltCode::TablesBehindLog => {
                "Restore the newest tables (or the deleted checkpoint). If there are none, stop all \
                 workers and run `tidemark recover`, which brings the older tables up to date from \
                 the log (docs/backup.md)."
            }
            HaltCode::ClockAhead => {
                "If this worker's clock is wrong, set it. If the record's time is wrong, correct \
                 the clock of the broker or machine that appended it, then run `tidemark \
                 correct-clock` for the partition (docs/runbook.md#a-clock-was-ahead)."
            }
            HaltCode::SemanticsChanged => {
                "Let the version that cut the chunk finish it (start it and stop it gracefully), then start this version."
            }
            HaltCode::SequenceGap => {
                "Restore ledger.postings: it lacks blocks that this partition has not counted yet. \
                 If they are permanently lost: docs/runbook.md#a-topic-is-gone."
            }
            HaltCode::BlockUnreadable => {
                "A newer tidemark wrote this block (start that version), or the record is damaged (restore the topic)."
            }
            HaltCode::RowRegressed => {
                "Restore the row or the table (point-in-time recovery); something other than \
                 tidemark changed it. If tables must go back to an earlier moment, restore all of \
                 them to it and run `tidemark recover` (docs/backup.md). Do not run `tidemark \
                 init`."
            }
            HaltCode::RowUnreadable => {
                "Restore the row; something other than tidemark, or a newer version, wrote it."
            }
            HaltCode::UsageRowAhead => "Restore table UsageTracking or the log: they do not match.",
            HaltCode::Overflow => {
                "An earlier version halted because a sum overflowed. This version does not: resume \
                 the partition, then look for absurd prices, counts or awards \
                 (docs/runbook.md#tidemarksumsatlimit)."
            }
            HaltCode::StoreRefused => {
                "A table or an index is missing or different: restore it from a backup (`tidemark \
                 init` creates tables only for a new installation)."
            }
            HaltCode::LogRefused => {
                "Raise the topic's max.message.bytes to the value in topics/*.yaml."
            }
            HaltCode::AccountsUncountable => {
                "More than single accounts are affected: find the common cause (a newer tidemark, a script, a changed table) and fix it, then resume the partition. Accounts that are repaired and released do not count (docs/runbook.md#tidemarkaccountssetaside)."
            }
        }
    }
}

/// Why a task's session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Drop what is in memory and begin again from the checkpoint. Says why.
    Reload(String),
    /// The state contradicts itself. Says what.
    Halt(HaltCode, String),
    /// Something is wrong with one account alone. The poster sets it aside and goes on; a task that
    /// cannot do that halts.
    Account(Box<AccountFault>),
}

/// What is wrong with one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFault {
    /// The account.
    pub account: Account,
    /// A stable code.
    pub code: FaultCode,
    /// In words.
    pub what: String,
    /// Which rows there are, as far as whoever found it knows.
    pub stood: Stood,
}

impl Failure {
    /// A halt.
    pub fn halt(code: HaltCode, what: impl Into<String>) -> Failure {
        Failure::Halt(code, what.into())
    }

    /// What a failed request about one account's own items means: an item that cannot be decoded is
    /// a fault of this account, anything else is not.
    pub fn of_account(account: &Account, code: FaultCode, error: StoreError) -> Failure {
        match error {
            StoreError::Corrupt { .. } => Failure::account(account, code, unreadable(&error)),
            error => error.into(),
        }
    }

    /// A fault of one account of which nothing else is known.
    pub fn account(account: &Account, code: FaultCode, what: impl Into<String>) -> Failure {
        Failure::Account(Box::new(AccountFault {
            account: account.clone(),
            code,
            what: what.into(),
            stood: Stood::Unknown,
        }))
    }

    /// A reload.
    pub fn reload(why: impl Into<String>) -> Failure {
        Failure::Reload(why.into())
    }
}

/// What cannot be read of an account. It is set aside, so there is no partition to resume.
pub fn unreadable(error: &StoreError) -> String {
    match error {
        StoreError::Corrupt { key, what } => format!("row {key} cannot be read: {what}"),
        error => error.to_string(),
    }
}

impl AccountFault {
    /// The halt of a partition that cannot set the account aside.
    pub fn halt(&self) -> (HaltCode, String) {
        let code = match self.code {
            FaultCode::RowsContradict => HaltCode::RowRegressed,
            FaultCode::WriteRefused => HaltCode::StoreRefused,
            FaultCode::RowUnreadable | FaultCode::AwardUnreadable | FaultCode::LinkUnreadable => {
                HaltCode::RowUnreadable
            }
        };
        (code, format!("{}: {}", self.account, self.what))
    }
}

impl From<AccountFault> for Failure {
    /// The halt.
    fn from(fault: AccountFault) -> Failure {
        let (code, what) = fault.halt();
        Failure::Halt(code, what)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        match error {
            StoreError::ConditionFailed
            | StoreError::Unanswered(_)
            | StoreError::Unavailable(_)
            | StoreError::Denied(_) => Failure::reload(error.to_string()),
            StoreError::Refused(_) => Failure::halt(HaltCode::StoreRefused, error.to_string()),
            StoreError::Apart(_) => Failure::halt(HaltCode::RowRegressed, error.to_string()),
            StoreError::Newer { .. } | StoreError::Corrupt { .. } => {
                Failure::halt(HaltCode::RowUnreadable, error.to_string())
            }
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        match error {
            // Loading compares the checkpoint with the log's bounds, and halts if records are
            // missing. A worker that slept while another one went on only asks for what has expired
            // since.
            LogError::Unavailable(_)
            | LogError::Refused { .. }
            | LogError::NoTopic { .. }
            | LogError::OutOfRange { .. } => Failure::reload(error.to_string()),
            LogError::TooLarge { .. } => Failure::halt(HaltCode::LogRefused, error.to_string()),
            LogError::Damaged { .. } => Failure::halt(HaltCode::LogDamaged, error.to_string()),
        }
    }
}
