//! The provider accounts that a gateway's own names stand for: `NAME = ACCOUNT, …`.

use std::collections::BTreeMap;

use crate::domain::ids::check_id;

/// What is allowed, for faults.
pub(super) const PROVIDERS_ALLOWED: &str = "up to 1000 comma-separated pairs of a deployment or model group and a provider account, such as \
     \"azure-eu-1 = prov-9, gpt-4o = prov-7\"";
/// Most entries.
const PROVIDERS_MAX: usize = 1_000;

/// Reads such a list.
pub(super) fn providers(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut providers = BTreeMap::new();
    for pair in text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (name, provider) = pair
            .rsplit_once('=')
            .map(|(name, provider)| (name.trim(), provider.trim()))
            .ok_or_else(|| format!("\"{pair}\" has no \"=\""))?;
        check_id(provider).map_err(|error| format!("\"{pair}\": the account: {error}"))?;
        if name.is_empty()
            || providers
                .insert(name.to_owned(), provider.to_owned())
                .is_some()
        {
            return Err(format!("\"{name}\" is empty or listed twice"));
        }
    }
    match providers.len() {
        0..=PROVIDERS_MAX => Ok(providers),
        count => Err(format!("has {count} pairs")),
    }
}
