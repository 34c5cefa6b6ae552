//! The load of the benchmarks: users by Zipf 1.1 over 1 M, providers by Zipf 1.05 over 10 k, about 413 bytes an event.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemark::domain::time::Millis;

/// How many users there are.
pub const USERS: usize = 1_000_000;
/// How many providers there are.
pub const PROVIDERS: usize = 10_000;

const MODELS: [&str; 6] = [
    "llama-3-8b",
    "meta-llama/Llama-3-70B",
    "gpt-4o-mini",
    "mistral-7b-instruct",
    "qwen2.5-32b",
    "gemma-2b",
];

/// Draws ranks 1, 2, … by Zipf's law, from a table of cumulated weights: exact, and the same on every machine.
pub struct Zipf(Vec<f64>);

impl Zipf {
    /// A law over so many ranks.
    pub fn new(count: usize, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let weigh = |rank: usize| {
            sum += 1.0 / (rank as f64).powf(exponent);
            sum
        };
        Zipf((1..=count).map(weigh).collect())
    }

    /// A rank.
    pub fn draw(&self, rng: &mut StdRng) -> usize {
        let at = rng.random::<f64>() * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum < at) + 1
    }
}

/// One event to be: who asks whom.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The user's number.
    pub user: usize,
    /// The provider's.
    pub provider: usize,
}

/// Who asks whom, from a seed.
pub fn draws(count: usize) -> (Vec<Draw>, StdRng) {
    let mut rng = StdRng::seed_from_u64(1);
    let (users, providers) = (Zipf::new(USERS, 1.1), Zipf::new(PROVIDERS, 1.05));
    let draws = (0..count)
        .map(|_| Draw {
            user: users.draw(&mut rng),
            provider: providers.draw(&mut rng),
        })
        .collect();
    (draws, rng)
}

/// A user's id.
pub fn user(number: usize) -> String {
    format!("user-{number:07}")
}

/// A provider's id.
pub fn provider(number: usize) -> String {
    format!("prov-{number:05}")
}

/// An event, in the canonical form.
pub fn event(draw: Draw, id: u64, time: Millis, rng: &mut StdRng) -> Bytes {
    let (user, provider) = (user(draw.user), provider(draw.provider));
    let status = if rng.random_ratio(1, 50) { 503 } else { 200 };
    let (latency, input, output) = (
        rng.random_range(50..4_000),
        rng.random_range(1..3_000),
        rng.random_range(1..900),
    );
    let model = MODELS[rng.random_range(0..MODELS.len())];
    let text = format!(
        r#"{{"specversion":"1.0","type":"tidemark.usage.v1","source":"gateway-eu-1","id":"018f3c1e-7a2b-{id:012x}","time":"{time}","subject":"{user}","data":{{"providerId":"{provider}","endpoint":"/v1/chat/completions","model":"{model}","statusCode":{status},"latencyMs":{latency},"inputTokens":{input},"outputTokens":{output},"requestBytes":812,"responseBytes":1490,"stream":false}}}}"#
    );
    Bytes::from(text)
}
