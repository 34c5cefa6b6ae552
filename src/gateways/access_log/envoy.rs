//! Envoy AI Gateway: the JSON access log, one object per record, shipped to Kafka by a collector.
//!
//! Where this is written down:
//! - [Access logs with AI
//!   metadata](https://aigateway.envoyproxy.io/docs/capabilities/observability/accesslogs) and its
//!   example `accesslogs-envoy-proxy-llm.yaml`: the operator chooses the names; these are the
//!   recommended ones. Flat names with dots in them.
//! - [Envoy, format
//!   rules](https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage):
//!   what is unknown is null in JSON, `-` in texts (and in JSON of older releases, where numbers
//!   are texts too); `%START_TIME%` is RFC 3339, `%DURATION%` ms, `%RESPONSE_CODE%` is 0 where the
//!   client went away before there was an answer.
//! - [OpenTelemetry, GenAI
//!   attributes](https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/): the
//!   names of the token counts, and that input tokens hold the cached ones.

use super::shape::Shape;
use crate::gateways::tokens::Places;

/// What nginx gateways write for a client that went away before the answer.
const CLIENT_CLOSED_REQUEST: u64 = 499;

pub(super) const SHAPE: Shape = Shape {
    inference: &[
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.request.model_override",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
    ],
    time: "start_time",
    is_time_text: true,
    status: "response_code",
    unanswered: Some(CLIENT_CLOSED_REQUEST),
    models: &[
        "gen_ai.response.model",
        "gen_ai.request.model_override",
        "gen_ai.request.model",
    ],
    latency_ms: "duration",
    tokens: Places {
        input: &["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"],
        output: &[
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.completion_tokens",
        ],
        cached: &[
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cached_input_tokens",
        ],
        written: &["gen_ai.usage.cache_creation.input_tokens"],
        reasoning: &["gen_ai.usage.reasoning_tokens"],
        total: &["gen_ai.usage.total_tokens"],
    },
    // It has no cache of answers.
    cache_hit: (&[], &[]),
    request_bytes: "bytes_received",
    response_bytes: "bytes_sent",
    stream: &[],
    unset: &[],
};
