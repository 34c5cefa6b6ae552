//! What the tokens of one request cost.

use crate::domain::amount::Money;

/// Tokens that a price per 1,000 tokens is for.
pub const TOKENS_PER_UNIT: u64 = 1_000;

/// Prices of 1,000 tokens, by what happened to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenPrices {
    /// Plain input.
    pub input: Money,
    /// Input that was read from a cache.
    pub cached_input: Money,
    /// Input that was written to a cache.
    pub cache_write: Money,
    /// Plain output.
    pub output: Money,
    /// Output that was spent on reasoning.
    pub reasoning: Money,
}

/// The tokens of one request. Parts are contained in their wholes: what is more than the whole does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Everything that went in.
    pub input: u64,
    /// The part of the input that was read from a cache.
    pub cached_input: u64,
    /// The part of the input that was written to a cache.
    pub cache_write: u64,
    /// Everything that came out.
    pub output: u64,
    /// The part of the output that was spent on reasoning.
    pub reasoning: u64,
}

impl TokenPrices {
    /// One floor for what went in and one for what came out, so that kinds of token with one price
    /// cost what they cost together.
    pub fn cost(&self, tokens: TokenCounts) -> Money {
        let TokenCounts { input, output, .. } = tokens;
        let cached = tokens.cached_input.min(input);
        let written = tokens.cache_write.min(input - cached);
        let reasoning = tokens.reasoning.min(output);
        if cached == 0 && written == 0 && reasoning == 0 {
            let [input, output] = [(input, self.input), (output, self.output)]
                .map(|(count, price)| per_unit(count, price, TOKENS_PER_UNIT));
            return input.plus(output);
        }
        let went_in = [
            (input - cached - written, self.input),
            (cached, self.cached_input),
            (written, self.cache_write),
        ];
        let came_out = [
            (output - reasoning, self.output),
            (reasoning, self.reasoning),
        ];
        floored(&went_in).plus(floored(&came_out))
    }
}

fn floored(parts: &[(u64, Money)]) -> Money {
    let products = parts
        .iter()
        .map(|(count, price)| i128::from(*count).saturating_mul(price.0));
    let sum = products.fold(0_i128, i128::saturating_add);
    Money(sum / i128::from(TOKENS_PER_UNIT))
}

/// `floor(count × price / unit)`. Prices are never negative; their limit and that of counts keep the product far from the end of its range.
pub fn per_unit(count: u64, price: Money, unit: u64) -> Money {
    // 64 bits hold nearly every charge, and dividing 128 bits is slow.
    let narrow = u64::try_from(price.0)
        .ok()
        .and_then(|price| price.checked_mul(count));
    if let Some(product) = narrow {
        return Money(i128::from(product / unit));
    }
    let product = price.0.saturating_mul(i128::from(count));
    Money(product / i128::from(unit))
}
