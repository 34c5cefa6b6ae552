//! Names and words of the conventions.

use crate::gateways::tokens::Places;

pub(super) const NAMES: &[(&str, &str)] = &[
    ("subject", USER),
    ("id", "spanId"),
    ("time", "startTimeUnixNano"),
    ("data.providerId", PROVIDERS[0]),
    ("data.endpoint", OPERATIONS[0]),
    ("data.model", MODELS[0]),
    ("data.statusCode", "status.code"),
    ("data.inputTokens", INPUT[0]),
    ("data.outputTokens", OUTPUT[0]),
    ("data.cachedInputTokens", CACHED[0]),
    ("data.cacheWriteTokens", WRITTEN[0]),
    ("data.reasoningTokens", REASONING[0]),
];
pub(super) const USER: &str = "the user's attribute";
pub(super) const PROVIDERS: [&str; 3] =
    ["gen_ai.provider.name", "gen_ai.system", "ai.model.provider"];
pub(super) const OPERATIONS: [&str; 3] = [
    "gen_ai.operation.name",
    "llm.request.type",
    "ai.operationId",
];
/// Where LiteLLM says which call a span is about. Some of its spans have neither an operation nor
/// counts.
pub(super) const LITELLM_CALL_TYPE: &str = "litellm.call_type";
/// What begins the names of token counts, also in conventions that are not read here.
pub(super) const COUNTS: [&str; 2] = ["gen_ai.usage.", "llm.token_count."];
/// What answered before what was asked for, since that is what was served.
pub(super) const MODELS: [&str; 3] = [
    "gen_ai.response.model",
    "gen_ai.request.model",
    "ai.model.id",
];
pub(super) const INPUT: [&str; 3] = [
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    // Of embeddings.
    "ai.usage.tokens",
];
pub(super) const OUTPUT: [&str; 2] = [
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
];
pub(super) const CACHED: [&str; 5] = [
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_tokens",
    "ai.usage.inputTokenDetails.cacheReadTokens",
    "ai.usage.cachedInputTokens",
];
pub(super) const WRITTEN: [&str; 5] = [
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.details.cache_write_tokens",
    "ai.usage.inputTokenDetails.cacheWriteTokens",
];
pub(super) const REASONING: [&str; 6] = [
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
    "llm.usage.reasoning_tokens",
    "ai.usage.outputTokenDetails.reasoningTokens",
    "ai.usage.reasoningTokens",
];
pub(super) const TOTAL: [&str; 2] = ["gen_ai.usage.total_tokens", "llm.usage.total_tokens"];
pub(super) const TOKENS: Places<'_> = Places {
    input: &INPUT,
    output: &OUTPUT,
    cached: &CACHED,
    written: &WRITTEN,
    reasoning: &REASONING,
    total: &TOTAL,
};
pub(super) const RESPONSE_ID: &str = "gen_ai.response.id";
/// Instrumentations that add cached tokens to the input, as the conventions ask, whatever the
/// provider's API says: the beginnings of the names of their scopes.
pub(super) const SUMMING_SCOPES: [&str; 4] = [
    "opentelemetry.instrumentation.anthropic",
    "opentelemetry.util.genai",
    "pydantic-ai",
    "logfire",
];
/// The Vercel AI SDK adds them since version 6, which is the first that has this.
pub(super) const IS_SUMMED: &str = "ai.usage.inputTokenDetails.noCacheTokens";
/// Providers whose APIs count cached tokens beside the input, by the beginnings of their names.
pub(super) const OUTSIDE: [&str; 5] = [
    "anthropic",
    "aws.bedrock",
    "bedrock",
    "aws_bedrock",
    "amazon-bedrock",
];
/// Providers whose APIs count them inside.
pub(super) const INSIDE: [&str; 18] = [
    "openai",
    "azure",
    "az.",
    "gcp.",
    "google",
    "vertex",
    "gemini",
    "groq",
    "deepseek",
    "mistral",
    "cohere",
    "x_ai",
    "xai",
    "perplexity",
    "ibm.watsonx",
    "openrouter",
    "together",
    "fireworks",
];
/// Those among them that also host models of others, whose counts they pass on.
pub(super) const HOSTS: [&str; 5] = ["azure", "az.", "gcp.", "google", "vertex"];
/// Models of the former, wherever they run.
pub(super) const OUTSIDE_MODELS: [&str; 2] = ["claude", "anthropic."];
/// Inference, by operation: the names of the conventions, then those of OpenLLMetry and the Vercel
/// AI SDK.
pub(super) const ENDPOINTS: [(&str, &str); 12] = [
    ("chat", "/v1/chat/completions"),
    ("generate_content", "/v1/chat/completions"),
    ("text_completion", "/v1/completions"),
    ("embeddings", "/v1/embeddings"),
    ("completion", "/v1/completions"),
    ("embedding", "/v1/embeddings"),
    ("ai.generateText.doGenerate", "/v1/chat/completions"),
    ("ai.streamText.doStream", "/v1/chat/completions"),
    ("ai.generateObject.doGenerate", "/v1/chat/completions"),
    ("ai.streamObject.doStream", "/v1/chat/completions"),
    ("ai.embed.doEmbed", "/v1/embeddings"),
    ("ai.embedMany.doEmbed", "/v1/embeddings"),
];
/// Operations around inference, by the beginnings of their names. Their token counts are those of
/// the spans within.
pub(super) const OTHER_OPERATIONS: [&str; 6] = [
    "invoke_agent",
    "create_agent",
    "invoke_workflow",
    "execute_tool",
    "agent",
    "ai.",
];
/// Where a status can be told; the first one counts.
pub(super) const STATUSES: [&str; 3] = [
    "http.response.status_code",
    // Of LiteLLM's second exporter.
    "litellm.provider.error.code",
    ERROR_TYPE,
];
pub(super) const ERROR_TYPE: &str = "error.type";
/// The kinds of spans that are not the client's side of a call: server, producer, consumer.
pub(super) const OTHER_SIDES: [&str; 6] = [
    "2",
    "SPAN_KIND_SERVER",
    "4",
    "SPAN_KIND_PRODUCER",
    "5",
    "SPAN_KIND_CONSUMER",
];
/// What is not CLIENT then: a model in the same process, or a wrapper around its client.
pub(super) const CLIENT: [&str; 2] = ["3", "SPAN_KIND_CLIENT"];
/// `STATUS_CODE_ERROR`.
pub(super) const ERROR: [&str; 2] = ["2", "STATUS_CODE_ERROR"];
pub(super) const SUCCESS: u16 = 200;
pub(super) const FAILED: u16 = 500;
