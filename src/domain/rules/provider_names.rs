//! `rules.providers`: the provider accounts that stand behind a gateway's own names.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fault::{Faults, Member};
use crate::domain::ids::check_id;

/// Most names.
const NAMES_MAX: usize = 1_000;
const NAME_CHARS_MAX: usize = 256;
const ID_CHARS_MAX: usize = 256;

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
        pairs.map(ProviderNames)
    }

    /// These names over configured ones: where both have a name, this account earns.
    pub fn over(&self, configured: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut names = configured.clone();
        let own = self.0.iter().map(|(name, id)| (name.clone(), id.clone()));
        names.extend(own);
        names
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
