//! The service of a call of which only the model is known.

/// Marks in a model's name, and the endpoint of models that have one; the first that fits counts.
/// The last ones are no services of this marketplace: rating says so, and keeps the event, which as
/// chat it would have counted.
const MARKS: [(&[&str], &str); 8] = [
    // Before embeddings: rerankers are often named after the embedding model that they belong to.
    (&["rerank", "reranker"], "/v1/rerank"),
    (&["moderation"], "/v1/moderations"),
    (
        &["embed", "bge-", "minilm", "voyage-", "gte-", "e5-"],
        "/v1/embeddings",
    ),
    (&["tts", "kokoro", "text-to-speech"], "/v1/audio/speech"),
    (&["whisper", "transcribe"], "/v1/audio/transcriptions"),
    (
        &[
            "dall-e",
            "gpt-image",
            "imagen",
            "stable-diffusion",
            "flux",
            "mj_",
            "midjourney",
        ],
        "/v1/images/generations",
    ),
    (
        &[
            "sora", "veo-", "kling", "runway", "vidu", "hailuo", "seedance",
        ],
        "/v1/videos",
    ),
    (&["suno", "udio"], "/v1/audio/music"),
];
/// What a model does that has no mark.
const CHAT: &str = "/v1/chat/completions";

/// Whether requests to this endpoint put out tokens whenever they succeed.
pub(super) fn has_output(endpoint: &str) -> bool {
    const ENDINGS: [&str; 3] = ["/completions", "/responses", "/messages"];
    ENDINGS.iter().any(|ending| endpoint.ends_with(ending))
}

/// Whether an endpoint generates images.
pub(super) fn is_images(endpoint: &str) -> bool {
    const ENDINGS: [&str; 3] = ["/images/generations", "/images/edits", "/images/variations"];
    ENDINGS.iter().any(|ending| endpoint.ends_with(ending))
}

/// Whether an endpoint turns audio into text.
pub(super) fn is_transcription(endpoint: &str) -> bool {
    const ENDINGS: [&str; 2] = ["/audio/transcriptions", "/audio/translations"];
    ENDINGS.iter().any(|ending| endpoint.ends_with(ending))
}

/// The endpoint that such a model answers at. Case and vendor prefixes (`openai/…`) do not matter.
pub(super) fn endpoint_of_model(model: Option<&str>) -> &'static str {
    let lower = model.unwrap_or_default().to_lowercase();
    let name = lower.rsplit('/').next().unwrap_or_default();
    let fits = |mark: &&str| begins_a_word(name, mark);
    let found = MARKS.iter().find(|(marks, _)| marks.iter().any(&fits));
    found.map_or(CHAT, |(_, endpoint)| endpoint)
}

/// `tts` is found in `gpt-4o-mini-tts`, and not in `watts`.
fn begins_a_word(name: &str, mark: &str) -> bool {
    let mut found = name.match_indices(mark);
    found.any(|(at, _)| {
        let before = name[..at].chars().next_back();
        before.is_none_or(|c| !c.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::endpoint_of_model;

    #[test]
    fn the_service_of_a_model_is_known_by_its_name() {
        for (model, endpoint) in [
            ("gpt-4o", "/v1/chat/completions"),
            ("", "/v1/chat/completions"),
            ("watts-7b", "/v1/chat/completions"),
            ("text-embedding-3-small", "/v1/embeddings"),
            ("openai/Text-Embedding-Ada-002", "/v1/embeddings"),
            ("nomic-embed-text:v1.5", "/v1/embeddings"),
            ("BAAI/bge-m3", "/v1/embeddings"),
            ("amazon.titan-embed-text-v2:0", "/v1/embeddings"),
            ("all-MiniLM-L6-v2", "/v1/embeddings"),
            ("tts-1-hd", "/v1/audio/speech"),
            ("gpt-4o-mini-tts", "/v1/audio/speech"),
            ("whisper-1", "/v1/audio/transcriptions"),
            ("gpt-4o-transcribe", "/v1/audio/transcriptions"),
            ("dall-e-3", "/v1/images/generations"),
            ("cohere/rerank-v3.5", "/v1/rerank"),
            ("BAAI/bge-reranker-v2-m3", "/v1/rerank"),
            ("Alibaba-NLP/gte-reranker-modernbert-base", "/v1/rerank"),
            ("omni-moderation-latest", "/v1/moderations"),
            ("mj_imagine", "/v1/images/generations"),
            ("sora-2-pro", "/v1/videos"),
            ("veo-3.0-generate-preview", "/v1/videos"),
            ("suno_music", "/v1/audio/music"),
        ] {
            assert_eq!(endpoint_of_model(Some(model)), endpoint, "{model}");
        }
        assert_eq!(endpoint_of_model(None), "/v1/chat/completions");
    }
}
