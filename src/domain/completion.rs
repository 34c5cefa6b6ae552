//! Completions: a second report of a request that says what the first one left open.

use super::event::UsageEvent;

/// What a later report of a request says beside an earlier one of the same user, source and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison<'a> {
    /// The same.
    Equal,
    /// Less, and nothing else.
    Less,
    /// More: this is everything that the two say together.
    More(Box<UsageEvent<'a>>),
    /// Something else: a field that both know differs.
    Other,
}

/// Compares a later report with an earlier one. What either leaves open may be in the other; what
/// both say must agree. That concerns the provider, the model, the latency, the counts of tokens,
/// images and bytes, the length of audio and the error message. The rest is always known.
pub fn compare<'a>(earlier: &UsageEvent<'a>, later: &UsageEvent<'a>) -> Comparison<'a> {
    if earlier == later {
        return Comparison::Equal;
    }
    match merge(earlier, later) {
        Some(merged) if merged == *earlier => Comparison::Less,
        Some(merged) => Comparison::More(Box::new(merged)),
        None => Comparison::Other,
    }
}

fn merge<'a>(earlier: &UsageEvent<'a>, later: &UsageEvent<'a>) -> Option<UsageEvent<'a>> {
    // Without the dots, so that a new field does not compile until somebody has decided about it.
    let UsageEvent {
        source,
        id,
        time,
        user,
        provider,
        endpoint,
        model,
        status,
        latency_ms,
        input_tokens,
        output_tokens,
        cached_input_tokens,
        cache_write_tokens,
        reasoning_tokens,
        audio_millis,
        image_count,
        request_bytes,
        response_bytes,
        error_message,
        stream,
    } = later;
    let identity = (source, id, user) == (&earlier.source, &earlier.id, &earlier.user);
    let fixed = (time, endpoint, status, stream)
        == (
            &earlier.time,
            &earlier.endpoint,
            &earlier.status,
            &earlier.stream,
        );
    if !identity || !fixed {
        return None;
    }
    let merged = UsageEvent {
        provider: known(&earlier.provider, provider)?,
        model: known(&earlier.model, model)?,
        latency_ms: known(&earlier.latency_ms, latency_ms)?,
        input_tokens: known(&earlier.input_tokens, input_tokens)?,
        output_tokens: known(&earlier.output_tokens, output_tokens)?,
        cached_input_tokens: known(&earlier.cached_input_tokens, cached_input_tokens)?,
        cache_write_tokens: known(&earlier.cache_write_tokens, cache_write_tokens)?,
        reasoning_tokens: known(&earlier.reasoning_tokens, reasoning_tokens)?,
        audio_millis: known(&earlier.audio_millis, audio_millis)?,
        image_count: known(&earlier.image_count, image_count)?,
        request_bytes: known(&earlier.request_bytes, request_bytes)?,
        response_bytes: known(&earlier.response_bytes, response_bytes)?,
        error_message: known(&earlier.error_message, error_message)?,
        ..earlier.clone()
    };
    // Each may fit its whole, and both together not.
    let fits = |event: &UsageEvent<'_>| event.oversized_part().is_none();
    let is_new_fault = fits(earlier) && fits(later) && !fits(&merged);
    (!is_new_fault).then_some(merged)
}

/// What is known of a field; `None` if the reports contradict each other.
fn known<T: Clone + PartialEq>(earlier: &Option<T>, later: &Option<T>) -> Option<Option<T>> {
    match (earlier, later) {
        (Some(earlier), Some(later)) if earlier != later => None,
        (Some(known), _) | (None, Some(known)) => Some(Some(known.clone())),
        (None, None) => Some(None),
    }
}
