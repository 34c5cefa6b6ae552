//! Traces in protobuf that are cut short or damaged: what is whole is read, and each part that is
//! not is one refusal.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;
use serde_json::Value;
use tidemark::gateways::{BodyError, GatewaySettings, ITEMS_MAX, read_otlp_protobuf};

use super::gateways::{items, shown};

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field that holds a message, a text or bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = varint(bytes.len() as u64);
    [&[tag << 3 | 2][..], &length, bytes].concat()
}

fn attribute(name: &str, value: &[u8]) -> Vec<u8> {
    field(9, &[field(1, name.as_bytes()), field(2, value)].concat())
}

fn text(text: &str) -> Vec<u8> {
    field(1, text.as_bytes())
}

fn int(number: u64) -> Vec<u8> {
    [vec![3 << 3], varint(number)].concat()
}

/// A chat of this provider's, the number of which is in its ids and counts.
fn span_of(number: u8, provider: &str, user: Option<&str>) -> Vec<u8> {
    let start = 1_795_394_966_000_000_000_u64;
    let mut fields = vec![
        field(1, &[number + 1; 16]),
        field(2, &[number + 1; 8]),
        // The start, a fixed64.
        [vec![7 << 3 | 1], start.to_le_bytes().to_vec()].concat(),
        attribute("gen_ai.operation.name", &text("chat")),
        attribute("gen_ai.provider.name", &text(provider)),
        attribute("gen_ai.usage.input_tokens", &int(100 + u64::from(number))),
        attribute("gen_ai.usage.output_tokens", &int(7)),
        attribute("gen_ai.usage.cache_read.input_tokens", &int(50)),
    ];
    fields.extend(user.map(|user| attribute("enduser.id", &text(user))));
    fields.concat()
}

fn span(number: u8) -> Vec<u8> {
    span_of(number, "openai", Some(&format!("user-{number}")))
}

/// A request, and where the messages in it are.
#[derive(Default)]
struct Export {
    bytes: Vec<u8>,
    resources: Vec<Range<usize>>,
    scopes: Vec<Range<usize>>,
    spans: Vec<Range<usize>>,
}

fn shifted(ranges: Vec<Range<usize>>, by: usize) -> impl Iterator<Item = Range<usize>> {
    ranges
        .into_iter()
        .map(move |range| range.start + by..range.end + by)
}

/// How many spans each scope of each resource has.
fn export(shape: &[Vec<usize>]) -> Export {
    let mut export = Export::default();
    let mut number = 0;
    for counts in shape {
        let service = [field(1, b"service.name"), field(2, &text("app"))].concat();
        let mut resource = field(1, &field(1, &service));
        let (mut scopes, mut spans) = (Vec::new(), Vec::new());
        for count in counts {
            let mut scope = field(1, &field(1, b"my-own"));
            let mut of_scope = Vec::new();
            for _ in 0..*count {
                let span = span(number);
                number += 1;
                scope.extend(field(2, &span));
                of_scope.push(scope.len() - span.len()..scope.len());
            }
            resource.extend(field(2, &scope));
            let start = resource.len() - scope.len();
            scopes.push(start..resource.len());
            spans.extend(shifted(of_scope, start));
        }
        export.bytes.extend(field(1, &resource));
        let start = export.bytes.len() - resource.len();
        export.resources.push(start..export.bytes.len());
        export.scopes.extend(shifted(scopes, start));
        export.spans.extend(shifted(spans, start));
    }
    export
}

/// The events, and how many parts were refused; `None`: the whole body was.
fn outcomes(bytes: &[u8]) -> Option<(BTreeSet<String>, usize)> {
    let read = read_otlp_protobuf(bytes, &GatewaySettings::default()).ok()?;
    assert!(items(&read) <= bytes.len() as u64);
    let shown = shown(&read);
    let all = shown.as_array().expect("a list").iter();
    let (events, others): (Vec<&Value>, Vec<&Value>) =
        all.partition(|outcome| outcome.get("event").is_some());
    let refused = others.iter().filter(|outcome| {
        let reason = outcome.get("refused").map(|refused| &refused[1]);
        reason.is_some_and(|reason| reason == "malformed")
    });
    let refused = refused.count();
    Some((events.into_iter().map(Value::to_string).collect(), refused))
}

/// The events of these spans, each alone in a request.
fn alone<'e>(
    export: &'e Export,
    spans: impl Iterator<Item = &'e Range<usize>>,
) -> BTreeSet<String> {
    let mut events = BTreeSet::new();
    for range in spans {
        let scope = field(2, &export.bytes[range.clone()]);
        let body = field(1, &field(2, &scope));
        events.extend(outcomes(&body).expect("a span").0);
    }
    events
}

fn any_shape() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(1_usize..4, 1..4), 1..4)
}

proptest! {
    #[test]
    fn what_is_whole_before_a_cut_is_read_and_the_rest_is_one_refusal(
        shape in any_shape(), cut in any::<prop::sample::Index>(),
    ) {
        let export = export(&shape);
        let cut = cut.index(export.bytes.len() + 1);
        let whole = alone(&export, export.spans.iter().filter(|span| span.end <= cut));
        let is_between = cut == 0 || export.resources.iter().any(|resource| resource.end == cut);
        let expected = match whole.is_empty() && !is_between {
            true => None,
            false => Some((whole, usize::from(!is_between))),
        };
        prop_assert_eq!(outcomes(&export.bytes[..cut]), expected);
    }

    #[test]
    fn a_message_that_is_something_else_never_changes_the_others(
        shape in any_shape(), level in 0_usize..3, at in any::<prop::sample::Index>(),
        junk in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut export = export(&shape);
        let messages = [&export.spans, &export.scopes, &export.resources][level];
        let damaged = messages[at.index(messages.len())].clone();
        let others = export.spans.iter().filter(|span| span.end <= damaged.start || span.start >= damaged.end);
        let others = alone(&export, others);
        for (byte, with) in export.bytes[damaged].iter_mut().zip(junk.iter().cycle()) {
            *byte = *with;
        }
        match outcomes(&export.bytes) {
            Some((events, _)) => prop_assert_eq!(events, others),
            None => prop_assert!(others.is_empty()),
        }
    }

    #[test]
    fn a_byte_that_is_changed_costs_its_own_resource_at_most(
        shape in any_shape(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut export = export(&shape);
        let resource = export.resources[at.index(export.resources.len())].clone();
        let others = export.spans.iter().filter(|span| span.end <= resource.start || span.start >= resource.end);
        let others = alone(&export, others);
        let place = resource.start + at.index(resource.len());
        export.bytes[place] = byte;
        match outcomes(&export.bytes) {
            Some((events, _)) => prop_assert!(others.is_subset(&events), "{:?}", events),
            None => prop_assert!(others.is_empty()),
        }
    }
}

/// A request of one resource with one scope, each of them with what is given beside its list.
fn request(resource: &[u8], scope: &[u8], spans: &[Vec<u8>]) -> Vec<u8> {
    let spans: Vec<u8> = spans.iter().flat_map(|span| field(2, span)).collect();
    let scope_spans = field(2, &[scope, &spans].concat());
    field(1, &[resource, &scope_spans].concat())
}

#[test]
fn each_broken_part_is_one_refusal() {
    let good = [span(0)];
    let good_scope = field(2, &field(2, &good[0]));
    let broken = vec![0xff, 0xff];
    for (body, refused) in [
        (request(&[], &[], &[span(0), broken.clone()]), 1),
        (
            request(&[], &[], &[broken.clone(), span(0), broken.clone()]),
            2,
        ),
        // A scope that is not a message, then one that is.
        (
            field(1, &[field(2, &broken), good_scope.clone()].concat()),
            1,
        ),
        ([field(1, &broken), request(&[], &[], &good)].concat(), 1),
        // A number where a message should be.
        ([vec![1 << 3, 7], request(&[], &[], &good)].concat(), 1),
        (field(1, &[vec![2 << 3, 7], good_scope.clone()].concat()), 1),
        // The length of the last one says more than there is.
        (
            [request(&[], &[], &good), vec![1 << 3 | 2, 90, 1 << 3 | 2]].concat(),
            1,
        ),
    ] {
        let (events, found) = outcomes(&body).expect("something can be read");
        assert_eq!((events.len(), found), (1, refused), "{body:?}");
    }
}

#[test]
fn a_body_of_which_nothing_can_be_read_is_refused_as_a_whole() {
    for body in [
        vec![0xff],
        field(1, &[0xff]),
        request(&[], &[], &[vec![0xff, 0xff]]),
        [vec![1 << 3 | 2], varint(u64::MAX)].concat(),
    ] {
        let read = read_otlp_protobuf(&body, &GatewaySettings::default());
        assert!(
            matches!(read, Err(BodyError::Unreadable { .. })),
            "{body:?}"
        );
    }
    // As many as it may be; a further one is one too many.
    let broken = |count: usize| {
        let body = [request(&[], &[], &[span(0)]), [1 << 3, 7].repeat(count)].concat();
        read_otlp_protobuf(&body, &GatewaySettings::default()).map(|read| read.kept.len())
    };
    assert_eq!(broken(ITEMS_MAX - 1), Ok(ITEMS_MAX));
    assert_eq!(broken(ITEMS_MAX), Err(BodyError::TooManyItems));
}

#[test]
fn nothing_is_charged_by_a_resource_or_scope_that_is_broken() {
    let named = |user: &str| {
        field(
            1,
            &[field(1, b"enduser.id"), field(2, &text(user))].concat(),
        )
    };
    let first = |body: &[u8]| {
        let read = read_otlp_protobuf(body, &GatewaySettings::default()).expect("a span");
        shown(&read)[0].clone()
    };
    let nobody = [span_of(0, "openai", None)];
    let is = first(&request(&field(1, &named("anna")), &[], &nobody));
    assert_eq!(is["event"]["subject"], "anna", "{is}");
    // The user might be in what cannot be read.
    let broken = field(1, &[named("anna"), vec![0xff]].concat());
    let is = first(&request(&broken, &[], &nobody));
    assert_eq!(is["refused"][1], "malformed", "{is}");
    let is = first(&request(&broken, &[], &[span(0)]));
    assert_eq!(is["event"]["subject"], "user-0", "{is}");
    // The instrumentation decides whether the input of Anthropic's has the cached tokens.
    let claude = [span_of(0, "anthropic", Some("anna"))];
    for (scope, input) in [(&b"my-own"[..], 150), (&b"pydantic-ai"[..], 100)] {
        let is = first(&request(&[], &field(1, &field(1, scope)), &claude));
        assert_eq!(is["event"]["data"]["inputTokens"], input, "{is}");
    }
    let broken = field(1, &[0xff]);
    let is = first(&request(&[], &broken, &claude));
    assert_eq!(is["refused"][1], "malformed", "{is}");
    let is = first(&request(&[], &broken, &[span(0)]));
    assert_eq!(is["event"]["data"]["inputTokens"], 100, "{is}");
}
