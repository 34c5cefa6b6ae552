//! An event on its way from decoding to the fold.

use crate::domain::event::{BEHIND_MS_MAX, Rejection, Service, UsageEvent};
use crate::domain::ids::AccountRef;
use crate::domain::position::Offset;
use crate::domain::reversal::Reversal;
use crate::domain::time::Millis;
use crate::log::Record;
use crate::store::db::Key;
use crate::store::usage;

/// A valid record: it decodes, its service is known and its time is within bounds at its own log
/// time. After deduplication, an event that no record in the window precedes.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Its record.
    pub record: &'a Record,
    /// The event.
    pub event: UsageEvent<'a>,
    /// Its service.
    pub service: Service,
    /// Log time at its record.
    pub log_time: Millis,
    /// What the duplicate window says of it.
    pub(super) verdict: Verdict,
}

impl<'a> Candidate<'a> {
    pub(super) fn refused(&self, rejection: Rejection) -> Reject<'a> {
        Reject {
            record: self.record,
            log_time: self.log_time,
            rejection,
        }
    }
}

impl Candidate<'_> {
    /// Whether a copy of it may have been forgotten, so that its usage row must be looked up.
    pub fn is_slow(&self) -> bool {
        self.verdict == Verdict::Slow
    }

    /// Its user's account.
    pub fn user(&self) -> AccountRef<'_> {
        AccountRef::user(&self.event.user)
    }

    /// Its provider's account.
    pub fn provider(&self) -> Option<AccountRef<'_>> {
        self.event.provider.as_deref().map(AccountRef::provider)
    }
}

/// What the window and its bounds say of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fast,
    Slow,
    Duplicate,
    Conflict,
    BeyondChecking,
}

/// A reversal that waits for the row of the event that it takes back.
#[derive(Debug)]
pub struct PendingReversal<'a> {
    /// Its record.
    pub record: &'a Record,
    /// What it asks for.
    pub reversal: Reversal<'a>,
    /// The key of the usage row of the event that it takes back.
    pub original: Key,
    /// Log time at its record.
    pub log_time: Millis,
}

impl<'a> PendingReversal<'a> {
    pub(super) fn new(record: &'a Record, reversal: Reversal<'a>, log_time: Millis) -> Self {
        let of = &reversal.original;
        PendingReversal {
            record,
            original: usage::key_of(&reversal.user, &of.source, &of.id, of.time),
            reversal,
            log_time,
        }
    }

    /// The account of the user who made the request.
    pub(super) fn user(&self) -> AccountRef<'_> {
        AccountRef::user(&self.reversal.user)
    }

    /// Rows live longer than that, so that a rerun decides the same.
    pub(super) fn is_too_old(&self) -> bool {
        self.reversal.original.time < self.log_time.plus(-BEHIND_MS_MAX)
    }
}

/// A report of a request that was reported before with another content: it may complete the first.
#[derive(Debug)]
pub struct LaterReport<'a> {
    /// The event as reported now.
    pub candidate: Candidate<'a>,
    /// The key of the usage row of the first report.
    pub original: Key,
}

/// A record that changes what an earlier one has brought. It waits for the rows of that one.
#[derive(Debug)]
pub(super) enum Amendment<'a> {
    Reversal(Box<PendingReversal<'a>>),
    LaterReport(Box<LaterReport<'a>>),
}

impl Amendment<'_> {
    pub(super) fn offset(&self) -> Offset {
        match self {
            Amendment::Reversal(pending) => pending.record.offset,
            Amendment::LaterReport(report) => report.candidate.record.offset,
        }
    }

    /// The key of the usage row of the event that it is about.
    pub(super) fn original(&self) -> &Key {
        match self {
            Amendment::Reversal(pending) => &pending.original,
            Amendment::LaterReport(report) => &report.original,
        }
    }

    /// The time of the event that it is about.
    pub(super) fn time(&self) -> Millis {
        match self {
            Amendment::Reversal(pending) => pending.reversal.original.time,
            Amendment::LaterReport(report) => report.candidate.event.time,
        }
    }

    /// Whether its original is so old that its rows may have expired.
    pub(super) fn is_too_old(&self) -> bool {
        match self {
            Amendment::Reversal(pending) => pending.is_too_old(),
            // A valid event is not.
            Amendment::LaterReport(_) => false,
        }
    }

    /// The accounts of its own that may earn by it.
    pub(super) fn parties(&self) -> impl Iterator<Item = AccountRef<'_>> {
        let (user, provider) = match self {
            Amendment::Reversal(pending) => (pending.user(), None),
            Amendment::LaterReport(report) => {
                (report.candidate.user(), report.candidate.provider())
            }
        };
        [Some(user), provider].into_iter().flatten()
    }
}

/// A record that earns nothing.
#[derive(Debug)]
pub struct Reject<'a> {
    /// The record.
    pub record: &'a Record,
    /// Log time at it.
    pub log_time: Millis,
    /// Why.
    pub rejection: Rejection,
}
