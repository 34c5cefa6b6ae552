//! What amendments are about: an earlier event, and what decided what it earned. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::event::Service;
use crate::domain::ids::AccountRef;
use crate::domain::position::Control;
use crate::domain::rules::Timeline;
use crate::pipeline::failure::{Failure, HaltCode};
use crate::pipeline::follower::{Chain, Chains};
use crate::pipeline::hashed::AccountHash;
use crate::store::db::{Item, Key, StoreError};
use crate::store::usage::{self, RatedEvent};

/// An event that is amended, with everything that decided what it earned.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// How it was rated.
    pub rated: &'a RatedEvent,
    /// Its service.
    pub service: Service,
    /// The rules as of the control position with which it was rated.
    pub timeline: &'a Timeline,
    /// Its user.
    pub user: Party<'a>,
    /// Its provider.
    pub provider: Option<Party<'a>>,
}

/// An account, and its referral chain as of a control position.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// The account.
    pub account: AccountRef<'a>,
    /// Who referred it.
    pub chain: Option<&'a Chain>,
}

impl<'a> Party<'a> {
    /// An account whose chain is known, as of a control position.
    pub(super) fn of(account: AccountRef<'a>, chains: &'a Chains, as_of: Control) -> Party<'a> {
        let known = chains.of(AccountHash::of(account), account, as_of);
        Party {
            account,
            chain: known.flatten(),
        }
    }
}

/// What is known of originals.
#[derive(Default)]
pub(super) struct KnownOriginals {
    /// Their rows, and those of their completions and reversals.
    pub(super) rows: BTreeMap<Key, Item>,
    pub(super) timelines: BTreeMap<Control, Arc<Timeline>>,
}

impl KnownOriginals {
    /// The control positions with which they were rated.
    pub(super) fn controls(&self) -> Result<Vec<Control>, StoreError> {
        let rows = self.rows.iter();
        let events = rows.filter(|(key, _)| usage::reversed_range(&key.range).is_none());
        let controls = events.map(|(key, item)| Ok(RatedEvent::of(key, item)?.control));
        let mut controls: Vec<Control> = controls.collect::<Result<_, StoreError>>()?;
        controls.sort_unstable();
        controls.dedup();
        Ok(controls)
    }

    /// Takes the rules as of a control position.
    pub(super) fn learn_rules(&mut self, control: Control, timeline: Arc<Timeline>) {
        self.timelines.insert(control, timeline);
    }
}

/// The rows of an event, its completion and its reversal.
pub(super) fn rows_of(original: &Key) -> [Key; 3] {
    [
        original.clone(),
        usage::completion_key(original),
        usage::reversal_key(original),
    ]
}

/// Who served an event.
pub(super) fn provider_of(rated: &RatedEvent) -> Option<AccountRef<'_>> {
    rated.provider.as_deref().map(AccountRef::provider)
}

/// The service of an event, as of the rules by which it was rated.
pub(super) fn service_of(
    key: &Key,
    rated: &RatedEvent,
    timeline: &Timeline,
) -> Result<Service, Failure> {
    let service = timeline.services().of_endpoint(&rated.endpoint);
    service.ok_or_else(|| {
        let what = format!(
            "the usage row {}/{} has the endpoint '{}', which was no service's when it was rated",
            key.hash, key.range, rated.endpoint
        );
        Failure::halt(HaltCode::RowUnreadable, what)
    })
}
