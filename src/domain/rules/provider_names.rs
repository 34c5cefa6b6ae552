//! `rules.providers`: the provider accounts that stand behind a gateway's own names.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::fault::{Faults, Member};
use crate::domain::ids::check_id;
use crate::domain::time::Millis;

/// Most names.
const NAMES_MAX: usize = 1_000;
const NAME_CHARS_MAX: usize = 256;
const ID_CHARS_MAX: usize = 256;
/// Largest value. The control feed writes it as a text within JSON, where each quote and backslash
/// takes two bytes, into one item of at most 400 KB.
const VALUE_BYTES_MAX: usize = 200_000;

/// A value of `rules.providers`: account ids by the gateway's names of deployments, model groups or
/// channels. Usage is read with it before it is appended to the log, so no amount depends on it
/// afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProviderNames(BTreeMap<String, String>);

impl ProviderNames {
    pub(super) fn read(table: &Member<'_>, faults: &mut Faults) -> Option<ProviderNames> {
        let entries = faults.entries(table, NAMES_MAX)?;
        let pairs: Vec<Option<(String, String)>> = entries
            .iter()
            .map(|(name, member)| pair(name, member, faults))
            .collect();
        let pairs: Option<BTreeMap<String, String>> = pairs.into_iter().collect();
        let names = ProviderNames(pairs?);
        let json = serde_json::to_string(&names).expect("a map of texts always serialises");
        if json.len() > VALUE_BYTES_MAX {
            let problem = format!("has {} bytes", json.len());
            let allowed = format!("at most {VALUE_BYTES_MAX} bytes of JSON");
            faults.add(&table.key, problem, allowed);
            return None;
        }
        Some(names)
    }
}

/// Every version of `rules.providers`, in the order in which they come into force.
///
/// An event is read with the version that is in force at its own time. All reports of one request
/// have that time, so they name the same account, whenever they come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderTimeline(Vec<(Option<Millis>, Arc<ProviderNames>)>);

impl ProviderTimeline {
    /// Of versions by the time from which each is in force.
    pub(super) const fn new(
        versions: Vec<(Option<Millis>, Arc<ProviderNames>)>,
    ) -> ProviderTimeline {
        ProviderTimeline(versions)
    }

    /// The account that a gateway's own name stands for at an instant.
    pub fn account(&self, name: &str, at: Millis) -> Option<&str> {
        let mut newest_first = self.0.iter().rev();
        let (_, names) = newest_first.find(|(from, _)| *from <= Some(at))?;
        names.0.get(name).map(String::as_str)
    }
}

fn pair(name: &str, member: &Member<'_>, faults: &mut Faults) -> Option<(String, String)> {
    let fits = (1..=NAME_CHARS_MAX).contains(&name.chars().count())
        && !name.chars().any(char::is_control)
        && name.trim() == name;
    if !fits {
        let allowed = format!(
            "names of 1 to {NAME_CHARS_MAX} characters, without control characters and without spaces at either end"
        );
        faults.add(&member.key, "is not a usable name", allowed);
        return None;
    }
    let id = faults.text(member, ID_CHARS_MAX)?;
    if let Err(error) = check_id(id) {
        let allowed = "the id of the provider's account, such as \"prov-9\"";
        faults.add(
            &member.key,
            format!("is not an account id: {error}"),
            allowed,
        );
        return None;
    }
    Some((name.to_owned(), id.to_owned()))
}
