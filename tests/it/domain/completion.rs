//! When a later report of a request completes an earlier one.

use proptest::prelude::*;
use tidemark::domain::completion::{Comparison, compare};
use tidemark::domain::event::UsageEvent;
use tidemark::domain::time::Millis;

/// What every report in here agrees on.
fn event() -> UsageEvent<'static> {
    UsageEvent {
        source: "gw".into(),
        id: "1".into(),
        time: Millis(1_795_330_862_000),
        user: "ann".into(),
        provider: Some("prov".into()),
        endpoint: "/v1/chat/completions".into(),
        model: Some("llama-3-8b".into()),
        status: 200,
        latency_ms: Some(800),
        input_tokens: Some(100),
        output_tokens: Some(50),
        cached_input_tokens: None,
        cache_write_tokens: None,
        reasoning_tokens: None,
        audio_millis: None,
        image_count: None,
        request_bytes: None,
        response_bytes: None,
        error_message: None,
        stream: true,
    }
}

fn changed(change: impl FnOnce(&mut UsageEvent<'static>)) -> UsageEvent<'static> {
    let mut event = event();
    change(&mut event);
    event
}

#[track_caller]
fn check(
    earlier: impl FnOnce(&mut UsageEvent<'static>),
    later: impl FnOnce(&mut UsageEvent<'static>),
    whole: Option<fn(&mut UsageEvent<'static>)>,
) {
    let (earlier, later) = (changed(earlier), changed(later));
    let found = compare(&earlier, &later);
    match whole {
        Some(whole) => assert_eq!(found, Comparison::More(Box::new(changed(whole)))),
        None => assert_eq!(found, Comparison::Other),
    }
}

#[test]
fn what_was_unknown_may_become_known_and_what_was_known_may_not_change() {
    let nothing = |_: &mut UsageEvent<'_>| {};
    let unmetered = |e: &mut UsageEvent<'_>| (e.input_tokens, e.output_tokens) = (None, None);
    check(unmetered, nothing, Some(nothing));
    check(|e| e.provider = None, nothing, Some(nothing));
    check(|e| e.model = None, nothing, Some(nothing));
    check(|e| e.latency_ms = None, nothing, Some(nothing));
    check(
        nothing,
        |e| e.cached_input_tokens = Some(40),
        Some(|e| e.cached_input_tokens = Some(40)),
    );
    check(
        nothing,
        |e| e.cache_write_tokens = Some(0),
        Some(|e| e.cache_write_tokens = Some(0)),
    );
    check(
        nothing,
        |e| e.reasoning_tokens = Some(7),
        Some(|e| e.reasoning_tokens = Some(7)),
    );
    check(
        nothing,
        |e| e.audio_millis = Some(7),
        Some(|e| e.audio_millis = Some(7)),
    );
    check(
        nothing,
        |e| e.image_count = Some(7),
        Some(|e| e.image_count = Some(7)),
    );
    check(
        nothing,
        |e| e.request_bytes = Some(7),
        Some(|e| e.request_bytes = Some(7)),
    );
    check(
        nothing,
        |e| e.response_bytes = Some(7),
        Some(|e| e.response_bytes = Some(7)),
    );
    check(
        nothing,
        |e| e.error_message = Some("x".into()),
        Some(|e| e.error_message = Some("x".into())),
    );
    // Each report may know what the other does not.
    check(unmetered, |e| e.latency_ms = None, Some(nothing));
    // Contradictions, whatever else becomes known.
    check(unmetered, |e| e.latency_ms = Some(801), None);
    check(unmetered, |e| e.model = Some("llama-3-70b".into()), None);
    check(unmetered, |e| e.provider = Some("other".into()), None);
    check(unmetered, |e| e.endpoint = "/v1/responses".into(), None);
    check(unmetered, |e| e.status = 500, None);
    check(unmetered, |e| e.stream = false, None);
    check(unmetered, |e| e.time = e.time.plus(1), None);
    // A part that was larger than its whole from the beginning contradicts nothing.
    check(
        |e| (e.cached_input_tokens, e.latency_ms) = (Some(200), None),
        |e| e.cached_input_tokens = Some(200),
        Some(|e| e.cached_input_tokens = Some(200)),
    );
    // Each part fits its whole, and both together do not.
    check(
        |e| e.cached_input_tokens = Some(60),
        |e| e.cache_write_tokens = Some(60),
        None,
    );
}

#[test]
fn a_report_that_says_less_is_no_other_one() {
    let less = changed(|e| e.latency_ms = None);
    assert_eq!(compare(&event(), &less), Comparison::Less);
    assert_eq!(compare(&event(), &event()), Comparison::Equal);
}

fn any_count() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(0..3_u64)
}

pub fn any_report() -> impl Strategy<Value = UsageEvent<'static>> {
    let name = || proptest::option::of(prop_oneof!["a", "b"]);
    let counts = prop::array::uniform10(any_count());
    (name(), name(), name(), counts, 0..10_u32).prop_map(
        |(provider, model, error, counts, status)| {
            let [
                latency_ms,
                input,
                output,
                cached,
                written,
                reasoning,
                audio,
                images,
                asked,
                answered,
            ] = counts;
            UsageEvent {
                provider: provider.map(Into::into),
                model: model.map(Into::into),
                status: if status == 0 { 500 } else { 200 },
                latency_ms,
                input_tokens: input,
                output_tokens: output,
                cached_input_tokens: cached,
                cache_write_tokens: written,
                reasoning_tokens: reasoning,
                audio_millis: audio,
                image_count: images,
                request_bytes: asked,
                response_bytes: answered,
                error_message: error.map(Into::into),
                stream: status % 2 == 0,
                ..event()
            }
        },
    )
}

proptest! {
    #[test]
    fn the_whole_contains_both_reports_whichever_came_first(a in any_report(), b in any_report()) {
        let one_way = compare(&a, &b);
        match &one_way {
            Comparison::Equal => prop_assert_eq!(&a, &b),
            Comparison::Less => prop_assert!(matches!(compare(&b, &a), Comparison::More(whole) if *whole == a)),
            Comparison::Other => prop_assert_eq!(compare(&b, &a), Comparison::Other),
            Comparison::More(whole) => {
                prop_assert!(matches!(compare(whole, &a), Comparison::Less));
                prop_assert!(matches!(compare(whole, &b), Comparison::Less | Comparison::Equal));
                match compare(&b, &a) {
                    Comparison::More(same) => prop_assert_eq!(&same, whole),
                    Comparison::Less => prop_assert_eq!(&b, &**whole),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}
