//! Attributes of spans and resources: those that events are made of.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::litellm;
use super::names::{
    CACHED, INPUT, IS_SUMMED, MODELS, OPERATIONS, OUTPUT, PROVIDERS, REASONING, RESPONSE_ID,
    STATUSES, TOTAL, WRITTEN,
};
use crate::gateways::GatewaySettings;
use crate::gateways::decimal::Decimal;
use crate::gateways::json::Object;
use crate::gateways::structure::each_element;

/// One without a key is an attribute of the empty name, as in protobuf.
#[derive(Deserialize)]
struct Attribute<'a> {
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<AnyValue<'a>>,
}

/// The values of attributes. An event can be made of scalars only.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue<'a> {
    #[serde(borrow, default)]
    string_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    int_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    double_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    bool_value: Option<&'a RawValue>,
    #[serde(default)]
    array_value: Option<IgnoredAny>,
    #[serde(default)]
    kvlist_value: Option<IgnoredAny>,
    #[serde(default)]
    bytes_value: Option<IgnoredAny>,
}

/// In place of a list, a map or bytes: whoever reads it finds that it is not a text or number.
static NOT_A_SCALAR: LazyLock<Box<RawValue>> = LazyLock::new(|| {
    // It is JSON, so this cannot fail.
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
});

/// The names of the attributes that events are made of. No other is kept: so it does not matter how
/// many a resource has, and each is looked at once, however many spans follow.
pub(in crate::gateways) struct WantedAttributes<'u> {
    user_from: &'u [String],
    litellm_user_from: Vec<String>,
}

impl<'u> WantedAttributes<'u> {
    pub fn new(settings: &'u GatewaySettings) -> WantedAttributes<'u> {
        WantedAttributes {
            user_from: &settings.otlp_user,
            litellm_user_from: litellm::user_places(settings),
        }
    }

    /// Where the user of a span of LiteLLM's is.
    pub fn litellm_user_from(&self) -> &[String] {
        &self.litellm_user_from
    }

    pub fn has(&self, name: &str) -> bool {
        let fixed: [&[&str]; 11] = [
            &[RESPONSE_ID, IS_SUMMED],
            &REASONING,
            &WRITTEN,
            &TOTAL,
            &PROVIDERS,
            &OPERATIONS,
            &MODELS,
            &INPUT,
            &OUTPUT,
            &CACHED,
            &STATUSES,
        ];
        let mut users = self.user_from.iter().chain(&self.litellm_user_from);
        fixed.iter().any(|names| names.contains(&name))
            || litellm::has_attribute(name)
            || users.any(|user| user == name)
    }
}

/// The wanted ones among the attributes of a span or resource.
pub(super) fn attributes_in<'a>(
    object: &'a str,
    wanted: &WantedAttributes<'_>,
) -> Option<Object<'a>> {
    let object = Object::parse(object)?;
    attributes(object.raw("attributes").ok()?, wanted)
}

/// The wanted ones of a list of attributes, as an object; without any, an empty one. `None`: it is
/// not such a list.
pub(super) fn attributes<'a>(
    list: Option<&'a RawValue>,
    wanted: &WantedAttributes<'_>,
) -> Option<Object<'a>> {
    let Some(list) = list.filter(|list| list.get() != "null") else {
        return Some(Object::of([]));
    };
    if !list.get().starts_with('[') {
        return None;
    }
    let mut kept: Vec<(Cow<'a, str>, &'a RawValue)> = Vec::new();
    each_element(list.get(), |text| {
        // A null says nothing.
        let attribute: Option<Attribute<'_>> = serde_json::from_str(text)?;
        let Some(Attribute { key, value }) = attribute else {
            return Ok(());
        };
        if let Some(value) = value
            .and_then(AnyValue::written)
            .filter(|_| wanted.has(&key))
        {
            keep(&mut kept, key, value);
        }
        Ok::<(), serde_json::Error>(())
    })
    .ok()?;
    Some(Object::of(kept))
}

/// Some SDKs export a key twice. Equal values say the same; of different ones neither can be
/// believed, and then a third changes nothing.
fn keep<'a>(kept: &mut Vec<(Cow<'a, str>, &'a RawValue)>, key: Cow<'a, str>, value: &'a RawValue) {
    let mut same_name = kept.iter().filter(|(name, _)| *name == key);
    let (first, second) = (same_name.next(), same_name.next());
    let is_known = first.is_some_and(|(_, known)| is_same(known, value));
    if !is_known && second.is_none() {
        kept.push((key, value));
    }
}

/// Whether two values say the same: 150, "150" and 150.0 do.
fn is_same(one: &RawValue, other: &RawValue) -> bool {
    let bare = |raw: &RawValue| raw.get().trim_matches('"').to_owned();
    let (one, other) = (bare(one), bare(other));
    let number = |text: &str| Decimal::parse(text).filter(|number| !number.has_fraction);
    one == other || number(&one).is_some_and(|one| number(&other) == Some(one))
}

impl<'a> AnyValue<'a> {
    fn written(self) -> Option<&'a RawValue> {
        let values = [
            self.string_value,
            self.int_value,
            self.double_value,
            self.bool_value,
        ];
        let is_other =
            self.array_value.is_some() || self.kvlist_value.is_some() || self.bytes_value.is_some();
        let other = || is_other.then(|| &**NOT_A_SCALAR);
        values.into_iter().flatten().next().or_else(other)
    }
}
