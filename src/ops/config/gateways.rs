//! `[http.gateways]`: how to read what gateways post in formats of their own.

use super::CachedTokens;
use super::adapters::FieldPath;
use super::kinds::{boolean, checked, choice};
use super::providers::{PROVIDERS_ALLOWED, ProviderAccounts, providers};
use super::reader::Reader;
use crate::domain::time::Millis;

/// Most places for one user.
const PLACES_MAX: usize = 16;
/// In a LiteLLM payload, unless configured.
const LITELLM: &str = "metadata.user_api_key_user_id";
/// In a span or its resource, unless configured.
const OTLP: &str = "enduser.id, user.id";
const CACHED_TOKENS: [(&str, CachedTokens); 2] = [
    ("inside", CachedTokens::Inside),
    ("outside", CachedTokens::Outside),
];
const CACHED_TOKENS_BY_PROVIDER: [(&str, Option<CachedTokens>); 3] = [
    ("by-provider", None),
    ("inside", Some(CachedTokens::Inside)),
    ("outside", Some(CachedTokens::Outside)),
];

/// How to read what gateways post in formats of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Where the user is in a LiteLLM payload (`generic_api`), and in a span of its `otel` callback:
    /// the first place that holds an account's id counts. By default the user to whom the LiteLLM
    /// key belongs. The customer whom a request names (`user` in its body, `end_user` in the
    /// payload) is only for operators who hold all keys themselves: whoever holds a key can name
    /// anybody there.
    pub litellm_user: Vec<String>,
    /// The user's attributes of a span, or of its resource.
    pub otlp_user: Vec<String>,
    /// Whether inference spans of kind INTERNAL count, as LiteLLM's own exporter, Spring AI and
    /// some versions of OpenLLMetry write them.
    pub otlp_internal_spans: bool,
    /// Where LiteLLM counts cached tokens. Versions before 1.60 counted Anthropic's outside.
    pub litellm_cached_tokens: CachedTokens,
    /// Where spans count them; `None`: by the provider that the span names.
    pub otlp_cached_tokens: Option<CachedTokens>,
    /// Who earns for a deployment or model group, by its name in the gateway.
    pub providers: ProviderAccounts,
}

impl Default for GatewaySettings {
    fn default() -> GatewaySettings {
        let places = |text| places(text).expect("the defaults are places; a test reads them");
        GatewaySettings {
            litellm_user: places(LITELLM),
            otlp_user: places(OTLP),
            otlp_internal_spans: true,
            litellm_cached_tokens: CachedTokens::Inside,
            otlp_cached_tokens: None,
            providers: ProviderAccounts::default(),
        }
    }
}

impl GatewaySettings {
    /// The provider that the first of these names stands for that has one, in an event of an
    /// instant; `None` where its time cannot be read, because such an event is refused.
    pub fn provider_of(&self, names: [Option<&str>; 2], at: Option<Millis>) -> Option<&str> {
        let at = at?;
        let mut names = names.into_iter().flatten();
        names.find_map(|name| self.providers.of(name, at))
    }

    pub(super) fn read(reader: &mut Reader) -> GatewaySettings {
        let default = GatewaySettings::default();
        let mut user = |key, default: &str| {
            let allowed = "1 to 16 comma-separated field names, such as \"enduser.id, user.id\"";
            let kind = checked(allowed, |text| places(text).map(drop));
            places(&reader.get(key, default.to_owned(), kind)).unwrap_or_default()
        };
        let litellm_user = user("http.gateways.litellm_user", LITELLM);
        let otlp_user = user("http.gateways.otlp_user", OTLP);
        let litellm_cached_tokens = reader.get(
            "http.gateways.litellm_cached_tokens",
            default.litellm_cached_tokens,
            choice(&CACHED_TOKENS),
        );
        let otlp_cached_tokens = reader.get(
            "http.gateways.otlp_cached_tokens",
            default.otlp_cached_tokens,
            choice(&CACHED_TOKENS_BY_PROVIDER),
        );
        let otlp_internal_spans = reader.get(
            "http.gateways.otlp_internal_spans",
            default.otlp_internal_spans,
            boolean(),
        );
        let kind = checked(PROVIDERS_ALLOWED, |text| providers(text).map(drop));
        let pairs = reader.get("http.gateways.providers", String::new(), kind);
        GatewaySettings {
            litellm_user,
            otlp_user,
            otlp_internal_spans,
            litellm_cached_tokens,
            otlp_cached_tokens,
            providers: providers(&pairs).unwrap_or_default().into_iter().collect(),
        }
    }
}

fn places(text: &str) -> Result<Vec<String>, String> {
    let places = text.split(',').map(str::trim);
    let places = places.map(|place| FieldPath::parse(place).map(|path| path.as_str().to_owned()));
    let places = places.collect::<Result<Vec<String>, String>>()?;
    match places.len() {
        0..=PLACES_MAX => Ok(places),
        count => Err(format!("has {count} fields")),
    }
}

#[cfg(test)]
mod tests {
    use super::places;
    use crate::ops::config::providers::providers;

    #[test]
    fn pairs_of_deployments_and_accounts_are_read_or_refused() {
        let read = providers(" azure-eu = prov-9, a=b=c ,").expect("pairs");
        let read: Vec<(&str, &str)> = read
            .iter()
            .map(|(name, provider)| (&**name, &**provider))
            .collect();
        assert_eq!(read, [("a=b", "c"), ("azure-eu", "prov-9")]);
        assert_eq!(providers("").expect("none").len(), 0);
        for text in ["azure-eu", "a = ", " = b", "a = b, a = c"] {
            assert!(providers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        assert!(places(super::LITELLM).is_ok() && places(super::OTLP).is_ok());
    }
}
