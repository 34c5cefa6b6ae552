//! What LiteLLM's call types are about: `CallTypes` in
//! [`types/utils.py`](https://github.com/BerriAI/litellm/blob/main/litellm/types/utils.py).

/// The endpoints of call types, without the `a` of their asynchronous twins.
const ENDPOINTS: [(&str, &str); 19] = [
    ("completion", "/v1/chat/completions"),
    ("text_completion", "/v1/completions"),
    ("embedding", "/v1/embeddings"),
    ("speech", "/v1/audio/speech"),
    ("responses", "/v1/responses"),
    ("anthropic_messages", "/v1/messages"),
    // Google's own form of chat.
    ("generate_content", "/v1/chat/completions"),
    ("generate_content_stream", "/v1/chat/completions"),
    ("scrape", "/v1/scrape"),
    // Services that a marketplace may add.
    ("image_generation", "/v1/images/generations"),
    ("image_edit", "/v1/images/edits"),
    ("image_variation", "/v1/images/variations"),
    ("transcription", "/v1/audio/transcriptions"),
    ("rerank", "/v1/rerank"),
    ("moderation", "/v1/moderations"),
    ("create_video", "/v1/videos"),
    ("video_generation", "/v1/videos"),
    ("ocr", "/v1/ocr"),
    ("search", "/v1/search"),
];
/// Call types that read, list or change things that exist already: LiteLLM's
/// `NON_INFERENCE_CALL_TYPES`, and those of the same kind about batches, files, jobs, videos,
/// containers, assistants and tools.
const HOUSEKEEPING: [&str; 43] = [
    GET_RESPONSES,
    "delete_responses",
    "cancel_responses",
    "list_input_items",
    "create_batch",
    RETRIEVE_BATCH,
    "cancel_batch",
    "list_batches",
    "create_file",
    "file_retrieve",
    "file_content",
    "file_delete",
    "file_list",
    "create_fine_tuning_job",
    "cancel_fine_tuning_job",
    "list_fine_tuning_jobs",
    "retrieve_fine_tuning_job",
    "video_retrieve",
    "video_content",
    "video_list",
    "video_retrieve_job",
    "video_delete",
    "video_get_character",
    "create_container",
    "list_containers",
    "retrieve_container",
    "delete_container",
    "list_container_files",
    "upload_container_file",
    "create_sandbox",
    "delete_sandbox",
    "get_assistants",
    "create_assistants",
    "delete_assistant",
    "create_thread",
    "get_thread",
    "_add_message",
    "add_message",
    "get_messages",
    "list_mcp_tools",
    "call_mcp_tool",
    "list_skills",
    "get_skill",
];
pub(super) const GET_RESPONSES: &str = "get_responses";
pub(super) const RETRIEVE_BATCH: &str = "retrieve_batch";
/// Of these, all begin alike.
const VECTOR_STORES: &str = "vector_store_";
/// `acompletion` is `completion`, awaited.
pub(in crate::gateways) fn base_name(call: &str) -> &str {
    let awaited = call.strip_prefix('a');
    let is_known =
        |name: &&str| ENDPOINTS.iter().any(|(known, _)| known == name) || is_housekeeping(name);
    awaited.filter(is_known).unwrap_or(call)
}

pub(in crate::gateways) fn endpoint_of(call: &str) -> Option<&'static str> {
    let known = ENDPOINTS.iter().find(|(name, _)| *name == base_name(call));
    known.map(|(_, endpoint)| *endpoint)
}

/// Whether a call without its `a` is about something that exists already.
pub(in crate::gateways) fn is_housekeeping(call: &str) -> bool {
    HOUSEKEEPING.contains(&call) || call.starts_with(VECTOR_STORES)
}
