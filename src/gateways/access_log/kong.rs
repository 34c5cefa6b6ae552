//! Kong Gateway: `kafka-log` beside `ai-proxy` or `ai-proxy-advanced` with `logging.log_statistics`
//! on.
//!
//! Where this is written down:
//! - [Kafka log, log format](https://developer.konghq.com/ai-gateway/policies/kafka-log/): one
//!   object per request, with `request.{id,uri,size}`, `response.{status,size}`, `started_at` (ms),
//!   `latencies.request` (ms), `consumer.{id,username,custom_id}`.
//! - [AI audit log reference](https://developer.konghq.com/ai-gateway/ai-audit-log-reference/):
//!   `ai.proxy.meta` and `ai.proxy.usage`. Other AI plugins write entries of their own beside it
//!   (`ai.ai-llm-as-judge`, `ai.ai-request-transformer`, …), about calls that the user did not
//!   make: they are not counted.
//! - [`serialize-analytics.lua`](https://github.com/Kong/kong/blob/master/kong/llm/plugin/shared-filters/serialize-analytics.lua)
//!   and
//!   [`observability.lua`](https://github.com/Kong/kong/blob/master/kong/llm/plugin/observability.lua):
//!   the model is `UNSPECIFIED` where there was none, and `metrics_get` gives 0 for tokens that
//!   nobody counted.
//! - [How-to with Claude
//!   Code](https://developer.konghq.com/how-to/use-claude-code-with-ai-gateway/):
//!   `meta.request_mode` (`oneshot`, `stream`) and `usage.prompt_tokens_details.cached_tokens` in
//!   later releases.
//!
//! Older releases have the same facts at other places
//! ([`shared.lua`](https://github.com/Kong/kong/blob/3.8.0/kong/llm/drivers/shared.lua),
//! `post_request`):
//!
//! | release | entry | counts |
//! |---|---|---|
//! | 3.9 and later | `ai.proxy`, of both plugins | `prompt_tokens`, `completion_tokens` |
//! | 3.8 | `ai.ai-proxy` or `ai.ai-proxy-advanced`, after the plugin | `prompt_tokens`, `completion_tokens` |
//! | 3.7 | `ai.ai-proxy` | `prompt_token`, `completion_token` |
//! | 3.6 | `ai` itself: `ai.meta`, `ai.usage`, into which transformers on the route add their tokens | `prompt_tokens`, `completion_tokens` |

use super::shape::Shape;
use crate::gateways::tokens::Places;

pub(super) const SHAPE: Shape = Shape {
    inference: &[
        "ai.proxy",
        "ai.ai-proxy",
        "ai.ai-proxy-advanced",
        "ai.meta",
        "ai.usage",
    ],
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
        "ai.meta.response_model",
        "ai.meta.request_model",
    ],
    latency_ms: "latencies.request",
    tokens: Places {
        input: &[
            "ai.proxy.usage.prompt_tokens",
            "ai.ai-proxy.usage.prompt_tokens",
            "ai.ai-proxy.usage.prompt_token",
            "ai.ai-proxy-advanced.usage.prompt_tokens",
            "ai.usage.prompt_tokens",
        ],
        output: &[
            "ai.proxy.usage.completion_tokens",
            "ai.ai-proxy.usage.completion_tokens",
            "ai.ai-proxy.usage.completion_token",
            "ai.ai-proxy-advanced.usage.completion_tokens",
            "ai.usage.completion_tokens",
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
            "ai.usage.total_tokens",
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
    stream: &[
        "ai.proxy.meta.request_mode",
        "ai.ai-proxy.meta.request_mode",
        "ai.ai-proxy-advanced.meta.request_mode",
    ],
    unset: &[],
};
