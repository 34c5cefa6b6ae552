//! Apache APISIX: `kafka-logger` beside `ai-proxy` or `ai-proxy-multi` with `logging.summaries` on.
//!
//! Where this is written down:
//! - [`apisix/utils/log-util.lua`](https://github.com/apache/apisix/blob/master/apisix/utils/log-util.lua),
//!   `get_full_log`: `request`, `response`, `consumer.username`, `service_id` (empty without a
//!   service), `start_time` and `latency` in ms (Lua numbers: `latency` has decimals;
//!   `request.size` comes from an nginx variable and may be a text), and `get_log_entry`, which
//!   adds `llm_summary`, `llm_request` and `llm_response_text` (the last two hold prompt and
//!   completion).
//! - [`apisix/plugins/ai-proxy/base.lua`](https://github.com/apache/apisix/blob/master/apisix/plugins/ai-proxy/base.lua),
//!   `set_logging`: what `llm_summary` holds; `stream`, `cache_read_input_tokens` and
//!   `cache_creation_input_tokens` since [pull request
//!   13609](https://github.com/apache/apisix/pull/13609). The values are nginx variables, so
//!   numbers may be texts, and tokens are 0 where the provider said nothing.
//! - [`apisix/plugins/kafka-logger.lua`](https://github.com/apache/apisix/blob/master/apisix/plugins/kafka-logger.lua):
//!   a record is an array of entries unless `batch_max_size` is 1.
//! - [`apisix/plugins/ai-protocols`](https://github.com/apache/apisix/tree/master/apisix/plugins/ai-protocols),
//!   `extract_usage`: `prompt_tokens` are the provider's own count, with cached tokens inside
//!   (OpenAI) or outside (Anthropic).
//! - [`ai-cache`](https://apisix.apache.org/docs/apisix/plugins/ai-cache/): what was answered from
//!   the gateway's cache has a response header `X-AI-Cache-Status` of `HIT-L1` or `HIT-L2`.

use super::shape::Shape;
use crate::gateways::tokens::Places;

pub(super) const SHAPE: Shape = Shape {
    inference: &["llm_summary"],
    time: "start_time",
    is_time_text: false,
    status: "response.status",
    unanswered: None,
    models: &["llm_summary.model", "llm_summary.request_model"],
    latency_ms: "latency",
    tokens: Places {
        input: &["llm_summary.prompt_tokens"],
        output: &["llm_summary.completion_tokens"],
        cached: &["llm_summary.cache_read_input_tokens"],
        written: &["llm_summary.cache_creation_input_tokens"],
        reasoning: &["llm_summary.reasoning_tokens"],
        total: &["llm_summary.total_tokens"],
    },
    cache_hit: (
        &[
            "response.headers.x-ai-cache-status",
            "response.headers.X-AI-Cache-Status",
        ],
        &["HIT-L1", "HIT-L2", "HIT"],
    ),
    request_bytes: "request.size",
    response_bytes: "response.size",
    stream: &["llm_summary.stream"],
    unset: &[],
};
