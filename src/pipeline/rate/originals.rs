//! What reversals take back, as far as it is known. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::event::Service;
use crate::domain::ids::AccountRef;
use crate::domain::position::Control;
use crate::domain::rules::Timeline;
use crate::pipeline::follower::Chain;
use crate::store::db::Key;
use crate::store::usage::{RatedEvent, StoredReversal};

/// An event that is taken back, with everything that decided what it earned.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// How it was rated.
    pub rated: &'a RatedEvent,
    /// Its service.
    pub service: Service,
    /// The rules as of the control position with which it was rated.
    pub timeline: &'a Timeline,
    /// Its user.
    pub user: AccountRef<'a>,
    /// The user's referral chain as of that position.
    pub user_chain: Option<&'a Chain>,
    /// Its provider, and the provider's chain.
    pub provider: Option<(AccountRef<'a>, Option<&'a Chain>)>,
}

/// What is known of originals, by the keys of their rows.
#[derive(Default)]
pub(super) struct KnownOriginals {
    pub(super) rated: BTreeMap<Key, RatedEvent>,
    /// By the keys of the originals.
    pub(super) reversals: BTreeMap<Key, StoredReversal>,
    pub(super) timelines: BTreeMap<Control, Arc<Timeline>>,
}

impl KnownOriginals {
    /// The control positions with which they were rated.
    pub(super) fn controls(&self) -> Vec<Control> {
        let mut controls: Vec<Control> = self.rated.values().map(|rated| rated.control).collect();
        controls.sort_unstable();
        controls.dedup();
        controls
    }

    /// Takes the rules as of a control position.
    pub(super) fn learn_rules(&mut self, control: Control, timeline: Arc<Timeline>) {
        self.timelines.insert(control, timeline);
    }
}
