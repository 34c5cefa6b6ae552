//! Which model is in which tier.

use proptest::prelude::*;
use tidemark::domain::rules::Network;
use tidemark::domain::semantics::Semantics;
use tidemark::domain::tier::Tier::{self, BlueSurge, MarianaDepth, OpenOcean, TidePool};

use super::helpers::rules;

/// Names that the shipped catalogue must know, and their tiers.
#[track_caller]
fn check(tier: Tier, names: &[&str]) {
    let rules = rules(Network::Testnet);
    for name in names {
        let found = rules.detect(name, Semantics::NOW);
        assert_eq!((found.tier, found.recognised), (tier, true), "{name}");
    }
}

/// Names that nothing matches.
#[track_caller]
fn check_unknown(names: &[&str]) {
    let rules = rules(Network::Testnet);
    for name in names {
        let found = rules.detect(name, Semantics::NOW);
        assert_eq!((found.tier, found.recognised), (TidePool, false), "{name}");
    }
}

#[test]
fn the_examples_of_the_tiers_hold() {
    check(TidePool, &["Gemma-2B", "DistilBERT", "Phi-3-mini"]);
    check(BlueSurge, &["Mistral-7B-Instruct", "Llama-3-8B"]);
    check(
        OpenOcean,
        &[
            "Mixtral-8x7B",
            "Llama-3-70B-Q4",
            "Qwen2.5-32B",
            "Gemma-2-27B",
        ],
    );
    check(
        MarianaDepth,
        &[
            "Llama-3-70B-FP16",
            "Llama-3-70B",
            "Mixtral-8x22B",
            "Llama-3.1-405B",
            "GPT-4o",
            "Claude-3-5-Sonnet",
            "Claude-3-Opus",
        ],
    );
    check_unknown(&["some-new-model"]);
}

#[test]
fn real_names_of_small_models() {
    check(
        TidePool,
        &[
            "google/gemma-2b-it",
            "gemma2:2b",
            "google/gemma-3-1b-it",
            "google/gemma-3n-E4B-it",
            "meta-llama/Llama-3.2-1B-Instruct",
            "llama3.2:3b-instruct-q4_K_M",
            "Qwen/Qwen2.5-0.5B-Instruct",
            "qwen2.5-coder:1.5b",
            "Qwen/Qwen3-4B",
            "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
            "microsoft/phi-2",
            "microsoft/Phi-3-mini-4k-instruct",
            "microsoft/Phi-3.5-mini-instruct",
            "microsoft/Phi-4-mini-instruct",
            "phi3:3.8b",
            "distilbert/distilbert-base-uncased",
            "google-bert/bert-base-uncased",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "HuggingFaceTB/SmolLM2-1.7B-Instruct",
            "stabilityai/stablelm-zephyr-3b",
            "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
            "models/gemini-nano",
            "openai/gpt-4.1-nano",
        ],
    );
}

#[test]
fn real_names_of_medium_models() {
    check(
        BlueSurge,
        &[
            "mistralai/Mistral-7B-Instruct-v0.3",
            "mistral-7b-instruct-v0.2.Q4_K_M.gguf",
            "TheBloke/Mistral-7B-Instruct-v0.2-AWQ",
            "meta-llama/Meta-Llama-3-8B-Instruct",
            "llama-3.1-8b-instant",
            "accounts/fireworks/models/llama-v3p1-8b-instruct",
            "@cf/meta/llama-2-7b-chat-int8",
            "meta-llama/Llama-2-13b-chat-hf",
            "lmsys/vicuna-13b-v1.5",
            "Qwen/Qwen2.5-7B-Instruct-1M",
            "qwen1.5-7b-chat",
            "google/gemma-7b",
            "google/gemma-2-9b-it",
            "google/gemma-3-12b-it",
            "tiiuae/falcon-7b-instruct",
            "01-ai/Yi-1.5-9B-Chat",
            "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
            "codellama/CodeLlama-7b-hf",
            "HuggingFaceH4/zephyr-7b-beta",
            "allenai/OLMoE-1B-7B-0924",
            "mistralai/open-mistral-nemo",
            "openai/gpt-4o-mini-2024-07-18",
            "gpt-5-mini",
            "cohere/command-r7b-12-2024",
            "gemini-1.5-flash-8b",
        ],
    );
}

#[test]
fn real_names_of_large_models() {
    check(
        OpenOcean,
        &[
            "mistralai/Mixtral-8x7B-Instruct-v0.1",
            "mixtral:8x7b",
            "Qwen/Qwen2.5-14B-Instruct",
            "Qwen/Qwen2.5-Coder-32B-Instruct",
            "Qwen/QwQ-32B",
            "Qwen/Qwen3-30B-A3B",
            "google/gemma-2-27b-it",
            "google/gemma-3-27b-it",
            "mistralai/Mistral-Small-24B-Instruct-2501",
            "codellama/CodeLlama-34b-Instruct-hf",
            "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
            "tiiuae/falcon-40b",
            "01-ai/Yi-34B-Chat",
            "openai/gpt-oss-20b",
            "llama3:70b-instruct-q4_K_M",
            "llama-3-70b.Q4_K_M.gguf",
            "TheBloke/Llama-2-70B-Chat-AWQ",
            "TheBloke/Llama-2-70B-Chat-GPTQ",
            "llama-3-70b-int4",
            "llama-3-70b-4bit",
            "Qwen/Qwen2.5-72B-Instruct-AWQ",
            "gpt-3.5-turbo",
            "claude-3-haiku-20240307",
            "anthropic/claude-3-5-haiku-latest",
            "claude-haiku-4-5",
            "anthropic.claude-3-haiku-20240307-v1:0",
            "models/gemini-1.5-flash",
            "command-r-08-2024",
            "o3-mini",
            "mistral-small-latest",
            "microsoft/phi-4",
            "llama-3-65b-q4",
            "llama-3-80b-q4",
        ],
    );
}

#[test]
fn real_names_of_the_largest_models() {
    check(
        MarianaDepth,
        &[
            "meta-llama/Meta-Llama-3-70B-Instruct",
            "llama-3.3-70b-versatile",
            "llama-3.1-405b-instruct-q4_k_m",
            "meta-llama/Llama-4-Scout-17B-16E-Instruct",
            "meta-llama/Llama-4-Maverick-17B-128E-Instruct",
            "mistralai/Mixtral-8x22B-Instruct-v0.1",
            "mixtral-8x22b-q4",
            "Qwen/Qwen2.5-72B-Instruct",
            "Qwen/Qwen3-235B-A22B",
            "huggyllama/llama-65b",
            "llama-3-81b-q4",
            "bigscience/bloom-176b",
            "openai/gpt-oss-120b",
            "openai/gpt-4o-2024-11-20",
            "gpt-4-turbo",
            "gpt-4",
            "GPT-5",
            "chatgpt-4o-latest",
            "o1",
            "o1-preview",
            "claude-3-5-sonnet-20241022",
            "claude-sonnet-4-5",
            "anthropic/claude-opus-4",
            "us.anthropic.claude-3-opus-20240229-v1:0",
            "us.deepseek.r1-v1:0",
            "models/gemini-1.5-pro",
            "deepseek-chat",
            "deepseek-ai/DeepSeek-V3",
            "deepseek/deepseek-r1",
            "moonshotai/kimi-k2-instruct",
            "xai/grok-4",
            "mistral-large-latest",
            "command-r-plus",
        ],
    );
}

#[test]
fn vendor_prefixes_case_and_spaces_do_not_matter() {
    for name in [
        "openai/GPT-4o",
        "OPENAI/gpt-4O",
        "models/gpt-4o",
        "openrouter/openai/gpt-4o",
        " gpt-4o ",
        "gpt-4o/",
        "azure/ gpt-4o",
    ] {
        check(MarianaDepth, &[name]);
    }
}

#[test]
fn a_size_is_a_part_of_its_own() {
    check(
        BlueSurge,
        &[
            "x-7b",
            "x_7b",
            "7b",
            "x:7b",
            "x 7b",
            "x(7b)",
            "x@7b",
            "x+7b",
            "7b.gguf",
            "x-7b-27",
            "13b",
            "x-4.001b",
            "x-4.0001b",
        ],
    );
    check(
        OpenOcean,
        &["x-27b", "x-13.1b", "64.9b", "x-8x7b", "x-2x7b"],
    );
    check(
        MarianaDepth,
        &[
            "x-65b",
            "x-8x22b",
            "x-8x8.2b",
            "999999b",
            "80b",
            "x-80.1b-q4",
        ],
    );
    check(TidePool, &["x-4b", "x-4.0b", "0b", "x-0.5b", "x-1x4b"]);
    check_unknown(&[
        "x7b",
        "x-7bn",
        "7bx",
        "é7b",
        "v7b",
        "x-a22b",
        "x-7.b",
        "x-.b",
        "x-b",
        "x-x7b",
        "x-8xb",
        "x-8x7x2b",
        "x-7m",
        "1.2.7b",
        "x-1000000b",
        "70",
        "70-b",
        "",
        " ",
        "/",
        "///",
    ]);
}

#[test]
fn four_bit_marks_are_parts_of_their_own_too() {
    check(
        OpenOcean,
        &[
            "x-70b-q4",
            "q4-x-70b",
            "x-70b-q4_0",
            "x-70b.q4_k_s",
            "x-72b-gptq-x",
            "x-8x9b-q4",
        ],
    );
    check(
        MarianaDepth,
        &[
            "x-70b-q40",
            "x-70b-q8",
            "x-70b-fp4",
            "x-70b-int8",
            "x-70b-xq4",
            "x-70b-awqx",
            "x-70b-4-bit",
        ],
    );
}

proptest! {
    #[test]
    fn any_name_has_a_tier(name in ".{0,200}") {
        rules(Network::Testnet).detect(&name, Semantics::NOW);
    }

    #[test]
    fn more_parameters_are_never_a_lower_tier(a in 0u32..500_000, b in 0u32..500_000) {
        let rules = rules(Network::Testnet);
        let tier = |size: u32| rules.detect(&format!("x-{}.{:03}b", size / 1000, size % 1000), Semantics::NOW).tier;
        prop_assert!(tier(a.min(b)) <= tier(a.max(b)));
    }
}

#[test]
fn names_as_people_meet_them_are_those_of_the_model_behind_them() {
    check(
        OpenOcean,
        &[
            "azure/gpt-35-turbo",
            "gpt-35-turbo-16k-0613",
            "ft:gpt-3.5-turbo-0125:acme-70b:tune-405b:9abc",
            "us.anthropic.claude-3-5-haiku-20241022-v1:0",
            "bedrock/eu.mistral.mistral-small-2402-v1:0",
        ],
    );
    check(
        BlueSurge,
        &[
            "ft:gpt-4o-mini-2024-07-18:70b-labs::Ab1",
            "gpt-41-mini",
            "us-gov.meta.llama3-1-8b-instruct-v1:0",
            "accounts/70b/models/llama-v3p1-8b-instruct#accounts/acme/deployments/405b",
        ],
    );
    check(
        MarianaDepth,
        &[
            "o3-2025-04-16",
            "o1@20241217",
            "mistral-large-latest",
            "mistral-large-awq",
            "gpt-4:free",
            "mistral.mistral-large-2407-v1:0",
            "arn:aws:bedrock:us-east-1:1:inference-profile/global.anthropic.claude-sonnet-4-20250514-v1:0",
            "grok-4:online",
        ],
    );
    check_unknown(&["ft:my-own:70b-labs:70b", "acme.tiny-70c", "ft:", "ft::70b"]);
}

/// Spellings of clouds and fine-tunes that were seen in one installation's traffic.
#[test]
fn models_of_one_installation_have_the_tiers_that_their_owners_expect() {
    let rules = rules(Network::Testnet);
    for (name, tier, recognised) in [
        ("gpt-35-turbo", OpenOcean, true),
        ("gpt-35-turbo-16k", OpenOcean, true),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc123", BlueSurge, true),
        // The suffix is the owner's word; it says nothing of the size.
        ("ft:gpt-3.5-turbo-0125:acme:7b-tone:xyz", OpenOcean, true),
        // What is behind a profile of one's own stands nowhere in its name.
        (
            "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abcd1234efgh",
            TidePool,
            false,
        ),
        (
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            MarianaDepth,
            true,
        ),
        ("deepseek.r1-v1:0", MarianaDepth, true),
        ("claude-sonnet-4@20250514", MarianaDepth, true),
        // It makes images: no model of the gpt-4 class.
        ("gpt-image-1", TidePool, false),
    ] {
        let found = rules.detect(name, Semantics::NOW);
        assert_eq!((found.tier, found.recognised), (tier, recognised), "{name}");
    }
}

#[test]
fn semantics_before_the_spellings_go_by_the_whole_name() {
    let rules = rules(Network::Testnet);
    let before = Semantics::known(3).expect("it can still be rated");
    for (name, expected, now) in [
        ("ft:gpt-4o-mini:acme-70b::x", MarianaDepth, BlueSurge),
        ("gpt-35-turbo", TidePool, OpenOcean),
        ("llama-3-8b", BlueSurge, BlueSurge),
        ("openai/gpt-4o", MarianaDepth, MarianaDepth),
    ] {
        let found = [before, Semantics::NOW].map(|by| rules.detect(name, by).tier);
        assert_eq!(found, [expected, now], "{name}");
    }
    assert_eq!([2, 7].map(Semantics::known), [None, None]);
}
