//! Laws of the forms of gateways, over made-up and broken bodies.

use proptest::prelude::*;
use serde_json::{Value, json};
use tidemark::domain::time::Millis;
use tidemark::gateways::{Format, GatewaySettings, Outcome, read, read_otlp_protobuf};
use tidemark::log::rejected::{self, Reject, RejectError};
use tidemark::log::{Record, usage};

use super::adapt_laws::{any_value, replace_leaf};
use super::gateways::{LAGO, LITELLM, NEW_API, OPENMETER, OTLP, RECEIVED, SUB2API};
use super::gateways_otlp::PROTOBUF;

const FIXTURES: [(Format, &str); 6] = [
    (Format::Litellm, LITELLM),
    (Format::LitellmOpenmeter, OPENMETER),
    (Format::LitellmLago, LAGO),
    (Format::NewApi, NEW_API),
    (Format::Sub2Api, SUB2API),
    (Format::Otlp, OTLP),
];
const SECRET: &str = "s3cr3t";

/// What must hold of whatever comes out.
fn check(format: Format, body: &[u8]) -> Result<(), TestCaseError> {
    let from = GatewaySettings::default();
    let first = read(format, body, RECEIVED, &from);
    prop_assert_eq!(
        &first,
        &read(format, body, RECEIVED, &from),
        "the same body, the same outcomes"
    );
    for (index, outcome) in first.unwrap_or_default().kept {
        match outcome {
            Outcome::Event(adapted) => {
                let event = usage::decode(&adapted.record.value, &adapted.record.headers);
                let event = event.map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
                prop_assert_eq!(&event.user, &adapted.user);
                prop_assert_eq!(&*event.source, format.as_str());
                let is_free = event.input_tokens == Some(0);
                prop_assert!(
                    !is_free || event.provider.is_none(),
                    "only what nobody served is zero"
                );
                prop_assert!(
                    event.cached_input_tokens.unwrap_or(0) <= event.input_tokens.unwrap_or(0)
                );
                prop_assert!(!event.endpoint.contains('?'));
            }
            Outcome::Refused(refused) => {
                prop_assert_eq!(refused.refusal.index as usize, index);
                prop_assert!(refused.draft.len() <= 64 * 1024);
                let sender = index.is_multiple_of(2).then(|| "0123456789ab".to_owned());
                let reject = refused.reject(format, Millis(7), sender);
                let stored = rejected::encode_gateway(&reject);
                let stored = Record {
                    offset: tidemark::domain::position::Offset(1),
                    append_time: Millis(2),
                    key: stored.key,
                    value: stored.value,
                    headers: stored.headers,
                };
                prop_assert_eq!(
                    rejected::decode_reject(&stored),
                    Ok(Reject::Gateway(reject))
                );
                let is_gateways =
                    matches!(rejected::decode(&stored), Err(RejectError::Gateway { .. }));
                prop_assert!(is_gateways);
            }
        }
    }
    Ok(())
}

fn any_format() -> impl Strategy<Value = Format> {
    prop::sample::select(&Format::ALL[..])
}

proptest! {
    #[test]
    fn any_bytes_as_protobuf_are_read_or_refused_and_always_alike(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let from = GatewaySettings::default();
        prop_assert_eq!(read_otlp_protobuf(&bytes, &from), read_otlp_protobuf(&bytes, &from));
    }

    #[test]
    fn a_trace_in_protobuf_with_any_byte_changed_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = PROTOBUF.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for outcome in read_otlp_protobuf(&bytes, &GatewaySettings::default()).unwrap_or_default().kept.into_values() {
            if let Outcome::Event(adapted) = outcome {
                let event = usage::decode(&adapted.record.value, &adapted.record.headers);
                prop_assert!(event.is_ok(), "{:?}", event);
            }
        }
    }

    #[test]
    fn any_bytes_have_outcomes_that_keep_the_laws(format in any_format(), body in prop::collection::vec(any::<u8>(), 0..80)) {
        check(format, &body)?;
    }

    #[test]
    fn any_value_has_outcomes_that_keep_the_laws(format in any_format(), value in any_value()) {
        check(format, value.to_string().as_bytes())?;
    }

    #[test]
    fn a_fixture_with_any_leaf_replaced_keeps_the_laws(
        fixture in prop::sample::select(&FIXTURES[..]), leaf in 0usize..400, with in any_value(),
    ) {
        let (format, text) = fixture;
        let mut value: Value = serde_json::from_str(text).expect("a fixture");
        replace_leaf(&mut value, &mut leaf.clone(), &with);
        check(format, value.to_string().as_bytes())?;
    }

    #[test]
    fn a_fixture_cut_anywhere_keeps_the_laws(fixture in prop::sample::select(&FIXTURES[..]), cut in any::<prop::sample::Index>()) {
        let (format, text) = fixture;
        check(format, &text.as_bytes()[..cut.index(text.len())])?;
    }

    #[test]
    fn a_refusal_never_quotes_what_was_there(
        fixture in prop::sample::select(&FIXTURES[..]), leaf in 0usize..400, shape in 0usize..3,
    ) {
        let (format, text) = fixture;
        let mut value: Value = serde_json::from_str(text).expect("a fixture");
        // None of these shapes is taken as an id, a number, a status or a time.
        let with = [json!([SECRET]), json!({SECRET: SECRET}), json!(format!("{SECRET}\u{1}"))][shape].clone();
        replace_leaf(&mut value, &mut leaf.clone(), &with);
        for outcome in read(format, value.to_string().as_bytes(), RECEIVED, &GatewaySettings::default()).unwrap_or_default().kept.into_values() {
            if let Outcome::Refused(refused) = outcome {
                prop_assert!(!format!("{:?}", refused.refusal).contains(SECRET), "{refused:?}");
            }
        }
    }
}
