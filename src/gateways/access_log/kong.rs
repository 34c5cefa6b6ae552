//! Kong Gateway: `kafka-log` beside `ai-proxy` or `ai-proxy-advanced` with `logging.log_statistics` on.
//!
//! Where this is written down:
//! - [Kafka log, log format](https://developer.konghq.com/ai-gateway/policies/kafka-log/): one object per request, with `request.{id,uri,size}`,
//!   `response.{status,size}`, `started_at` (ms), `latencies.request` (ms), `consumer.{id,username,custom_id}`.
//! - [AI audit log reference](https://developer.konghq.com/ai-gateway/ai-audit-log-reference/): `ai.proxy.meta` and `ai.proxy.usage`. Other
//!   AI plugins write entries of their own beside it (`ai.ai-llm-as-judge`, `ai.ai-request-transformer`, …), about calls that the user did not
//!   make: they are not counted.
//! - [`serialize-analytics.lua`](https://github.com/Kong/kong/blob/master/kong/llm/plugin/shared-filters/serialize-analytics.lua) and
//!   [`observability.lua`](https://github.com/Kong/kong/blob/master/kong/llm/plugin/observability.lua): the model is `UNSPECIFIED` where there
//!   was none, and `metrics_get` gives 0 for tokens that nobody counted.
//! - [How-to with Claude Code](https://developer.konghq.com/how-to/use-claude-code-with-ai-gateway/): `meta.request_mode` (`oneshot`, `stream`) and
//!   `usage.prompt_tokens_details.cached_tokens` in later releases.

use super::shape::Shape;

pub(super) const SHAPE: Shape = Shape {
    inference: &["ai.proxy"],
    time: "started_at",
    is_time_text: false,
    status: "response.status",
    unanswered: None,
    models: &[
        "ai.proxy.meta.response_model",
        "ai.proxy.meta.request_model",
    ],
    latency_ms: "latencies.request",
    input_tokens: "ai.proxy.usage.prompt_tokens",
    output_tokens: "ai.proxy.usage.completion_tokens",
    cached_tokens: Some("ai.proxy.usage.prompt_tokens_details.cached_tokens"),
    cache_write_tokens: None,
    request_bytes: "request.size",
    response_bytes: "response.size",
    stream: Some("ai.proxy.meta.request_mode"),
    unset: &["UNSPECIFIED"],
};
