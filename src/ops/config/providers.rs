//! The provider accounts that a gateway's own names stand for: `NAME = ACCOUNT, …`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::ids::check_id;
use crate::domain::rules::ProviderTimeline;
use crate::domain::time::Millis;

/// What is allowed, for faults.
pub(super) const PROVIDERS_ALLOWED: &str = "up to 1000 comma-separated pairs of a deployment or model group and a provider account, such as \
     \"azure-eu-1 = prov-9, gpt-4o = prov-7\"";
/// Most entries.
const PROVIDERS_MAX: usize = 1_000;

/// The provider accounts that a gateway's own names stand for: those that an admin has published
/// (`rules.providers`), and beneath them those of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderAccounts {
    configured: Arc<BTreeMap<String, String>>,
    published: Arc<ProviderTimeline>,
}

impl ProviderAccounts {
    /// The same configuration beneath these published names.
    #[must_use]
    pub fn beneath(&self, published: Arc<ProviderTimeline>) -> ProviderAccounts {
        ProviderAccounts {
            configured: Arc::clone(&self.configured),
            published,
        }
    }

    /// The account that a name stands for in an event of an instant.
    pub fn of(&self, name: &str, at: Millis) -> Option<&str> {
        let published = self.published.account(name, at);
        published.or_else(|| self.configured.get(name).map(String::as_str))
    }
}

/// Of the configuration alone.
impl FromIterator<(String, String)> for ProviderAccounts {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> ProviderAccounts {
        ProviderAccounts {
            configured: Arc::new(pairs.into_iter().collect()),
            published: Arc::default(),
        }
    }
}

/// Reads a configured list.
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
