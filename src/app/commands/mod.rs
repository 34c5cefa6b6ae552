//! What people change. Every change leaves an entry of the audit trail in its own transaction and
//! names who made it.

use std::sync::Arc;

use crate::app::queries::Queries;
use crate::domain::time::Millis;
use crate::log::Log;
use crate::ops::clock::Clock;
use crate::store::db::Db;

mod adjustments;
mod audits;
mod badges;
mod credits;
mod doubts;
mod keys;
mod referrals;
mod rejects;
mod resume;
mod reversals;
pub mod rules;
mod seasons;
mod set_aside;
mod undo;
mod votes;
mod wallets;

pub use adjustments::{Adjusted, NewAdjustment};
pub use badges::{badge_id, not_granted};
pub use credits::{Booked, CreditError, NewCredit};
pub use doubts::{Doubt, nothing_known};
pub use keys::{MadeKey, NewKey, may_grant};
pub use referrals::{Imported, LINKS_MAX, Link, NewLink, NewSignup, Referrer, Repeat, SignUpError};
pub use resume::Resumed;
pub use reversals::{NewReversal, SentReversal};
pub use seasons::season_not_frozen;
pub use undo::{CounterEntry, key_of_undo};
pub use votes::{NewVotes, VoterLine, VotesPreview, unknown_proposal};
pub use wallets::{NewWallet, WalletActor, WalletMessage, WalletSite, address_code};

/// Changes the store, and appends to the log where a change is an event.
pub struct Commands {
    queries: Arc<Queries>,
    clock: Arc<dyn Clock>,
}

impl Commands {
    /// Commands beside the queries of the same store and log.
    pub fn new(queries: Arc<Queries>, clock: Arc<dyn Clock>) -> Commands {
        Commands { queries, clock }
    }

    fn db(&self) -> &dyn Db {
        self.queries.db()
    }

    fn log(&self) -> &dyn Log {
        self.queries.log()
    }

    fn now(&self) -> Millis {
        self.clock.now()
    }
}
