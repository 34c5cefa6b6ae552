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

/// The tokens of one request. Parts are contained in their wholes: what is more than the whole does
/// not count.
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

/// What happened to some of a request's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Plain input.
    Input,
    /// Input that was read from a cache.
    CachedInput,
    /// Input that was written to a cache.
    CacheWrite,
    /// Plain output.
    Output,
    /// Output that was spent on reasoning.
    Reasoning,
}

/// Tokens of one kind, and the price of 1,000 of them.
pub(in crate::domain) type PricedTokens = (TokenKind, u64, Money);

impl TokenPrices {
    /// One floor for what went in and one for what came out, so that kinds of token with one price
    /// cost what they cost together.
    pub fn cost(&self, tokens: TokenCounts) -> Money {
        if tokens.cached_input == 0 && tokens.cache_write == 0 && tokens.reasoning == 0 {
            let [input, output] = [(tokens.input, self.input), (tokens.output, self.output)]
                .map(|(count, price)| per_unit(count, price, TOKENS_PER_UNIT));
            return input.plus(output);
        }
        floored(&self.went_in(tokens)).plus(floored(&self.came_out(tokens)))
    }

    /// What went in, by kind.
    pub(in crate::domain) fn went_in(&self, tokens: TokenCounts) -> [PricedTokens; 3] {
        let input = tokens.input;
        let cached = tokens.cached_input.min(input);
        let written = tokens.cache_write.min(input - cached);
        [
            (TokenKind::Input, input - cached - written, self.input),
            (TokenKind::CachedInput, cached, self.cached_input),
            (TokenKind::CacheWrite, written, self.cache_write),
        ]
    }

    /// What came out, by kind.
    pub(in crate::domain) fn came_out(&self, tokens: TokenCounts) -> [PricedTokens; 2] {
        let output = tokens.output;
        let reasoning = tokens.reasoning.min(output);
        [
            (TokenKind::Output, output - reasoning, self.output),
            (TokenKind::Reasoning, reasoning, self.reasoning),
        ]
    }
}

/// What tokens cost together: their products are added, and their sum is rounded down once.
pub(in crate::domain) fn floored(parts: &[PricedTokens]) -> Money {
    let products = parts
        .iter()
        .map(|(_, count, price)| i128::from(*count).saturating_mul(price.0));
    let sum = products.fold(0_i128, i128::saturating_add);
    Money(sum / i128::from(TOKENS_PER_UNIT))
}

/// `floor(count × price / unit)`. Prices are never negative; their limit and that of counts keep
/// the product far from the end of its range.
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
