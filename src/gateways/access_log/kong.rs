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
//! - Kong 3.6 to 3.8 write `ai["ai-proxy"]` in place of `ai.proxy`; 3.6 and 3.7 have `prompt_token` and `completion_token`.

use super::shape::Shape;
use crate::gateways::tokens::Places;

pub(super) const SHAPE: Shape = Shape {
    inference: &["ai.proxy", "ai.ai-proxy", "ai.ai-proxy-advanced"],
    time: "started_at",
    is_time_text: false,
    status: "response.status",
    unanswered: None,
    models: &[
        "ai.proxy.meta.response_model",
        "ai.proxy.meta.request_model",
        "ai.ai-proxy.meta.response_model",
        "ai.ai-proxy.meta.request_model",
        "ai.ai-proxy-advanced.meta.response_model",
        "ai.ai-proxy-advanced.meta.request_model",
    ],
    latency_ms: "latencies.request",
    tokens: Places {
        input: &[
            "ai.proxy.usage.prompt_tokens",
            "ai.ai-proxy.usage.prompt_tokens",
            "ai.ai-proxy.usage.prompt_token",
            "ai.ai-proxy-advanced.usage.prompt_tokens",
        ],
        output: &[
            "ai.proxy.usage.completion_tokens",
            "ai.ai-proxy.usage.completion_tokens",
            "ai.ai-proxy.usage.completion_token",
            "ai.ai-proxy-advanced.usage.completion_tokens",
        ],
        cached: &[
            "ai.proxy.usage.prompt_tokens_details.cached_tokens",
            "ai.ai-proxy-advanced.usage.prompt_tokens_details.cached_tokens",
        ],
        written: &[],
        reasoning: &[
            "ai.proxy.usage.completion_tokens_details.reasoning_tokens",
            "ai.ai-proxy-advanced.usage.completion_tokens_details.reasoning_tokens",
        ],
        total: &[
            "ai.proxy.usage.total_tokens",
            "ai.ai-proxy.usage.total_tokens",
            "ai.ai-proxy-advanced.usage.total_tokens",
        ],
    },
    cache_hit: (
        &[
            "ai.proxy.cache.cache_status",
            "ai.ai-proxy.cache.cache_status",
            "ai.ai-proxy-advanced.cache.cache_status",
            "ai.ai-semantic-cache.cache.cache_status",
        ],
        &["Hit"],
    ),
    request_bytes: "request.size",
    response_bytes: "response.size",
    stream: Some("ai.proxy.meta.request_mode"),
    unset: &[],
};
