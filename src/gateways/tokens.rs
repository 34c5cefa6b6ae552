//! Token counts, from what a gateway counts to what an event says.

use super::fields::Fields;
use super::outcome::Refusal;
use crate::domain::event::Reason;
use crate::ops::config::CachedTokens;

/// Token counts in the sense of the canonical event: input holds the cached ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// Input.
    pub input: Option<u64>,
    /// Output.
    pub output: Option<u64>,
    /// How many of the input came from a cache.
    pub cached: Option<u64>,
    /// How many of the input were written to a cache.
    pub written: Option<u64>,
    /// How many of the output were spent on reasoning.
    pub reasoning: Option<u64>,
    /// The gateway's own total is not the sum of its parts, or a part is more than its total. The
    /// counts of what went in and came out stand.
    pub is_total_odd: bool,
}

impl Tokens {
    /// Of a request that the gateway's own cache answered: nothing was used, which is known.
    pub const OF_CACHE_HIT: Tokens = Tokens {
        input: Some(0),
        output: Some(0),
        cached: None,
        written: None,
        reasoning: None,
        is_total_odd: false,
    };
}

/// The tokens that a gateway counted, as it wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReportedTokens {
    pub input: Option<u64>,
    pub output: Option<u64>,
    /// Read from a cache.
    pub cached: Option<u64>,
    /// Written to a cache.
    pub written: Option<u64>,
    /// Spent on reasoning. Every format counts it inside the output.
    pub reasoning: Option<u64>,
    pub total: Option<u64>,
}

/// Where the counts of a format stand: of several places, the first that has a count over 0.
pub(super) struct Places<'p> {
    pub input: &'p [&'p str],
    pub output: &'p [&'p str],
    pub cached: &'p [&'p str],
    pub written: &'p [&'p str],
    pub reasoning: &'p [&'p str],
    pub total: &'p [&'p str],
}

impl ReportedTokens {
    pub fn read(fields: &Fields<'_>, places: &Places<'_>) -> Result<ReportedTokens, Refusal> {
        // 0 under one name may mean that nothing was known there, and another name knows.
        let first = |paths: &[&str]| {
            let mut found = None;
            for path in paths {
                match fields.count(path)? {
                    Some(0) => found = Some(0),
                    Some(count) => return Ok(Some(count)),
                    None => (),
                }
            }
            Ok(found)
        };
        Ok(ReportedTokens {
            input: first(places.input)?,
            output: first(places.output)?,
            cached: first(places.cached)?,
            written: first(places.written)?,
            reasoning: first(places.reasoning)?,
            // Nothing depends on it.
            total: first(places.total).unwrap_or_default(),
        })
    }

    /// The event's counts. `counted` says where this sender counts tokens that went through a
    /// cache; the numbers never decide it, or the meaning would change from one request to the
    /// next.
    ///
    /// Every inference has input, so 0 means that the gateway was told nothing, which is not the
    /// same as free; but parts that are known went in.
    pub fn tokens(
        self,
        counted: CachedTokens,
        cached_at: &str,
        has_output: bool,
    ) -> Result<Tokens, Refusal> {
        let parts = self.parts();
        let plain = self.input.filter(|input| *input > 0);
        let input = match (plain, counted) {
            (None, _) => Some(parts).filter(|parts| *parts > 0),
            (Some(input), CachedTokens::Inside) => Some(input),
            (Some(input), CachedTokens::Outside) => Some(input.saturating_add(parts)),
        };
        if input.is_some_and(|input| parts > input) {
            let problem = "is more than all input tokens: if this sender counts cached tokens beside the input, \
                           its setting for cached tokens must be \"outside\"";
            return Err(Refusal::new(Reason::OutOfRange, cached_at, problem));
        }
        let output = match input {
            Some(_) if !has_output => self.output,
            _ => self.output.filter(|output| *output > 0),
        };
        let reasoning = self.reasoning.filter(|reasoning| *reasoning > 0);
        let possible = reasoning.filter(|reasoning| output.is_some_and(|all| *reasoning <= all));
        Ok(Tokens {
            input,
            output,
            cached: self.cached.filter(|_| input.is_some()),
            written: self.written.filter(|written| *written > 0),
            reasoning: possible,
            is_total_odd: self.is_total_odd() || output.is_some() && possible != reasoning,
        })
    }

    /// Tokens that went through a cache.
    fn parts(self) -> u64 {
        self.cached
            .unwrap_or(0)
            .saturating_add(self.written.unwrap_or(0))
    }

    /// Some senders put cached tokens into the total and not into the input.
    pub fn is_total_odd(self) -> bool {
        let parts = self.parts();
        let (Some(input), Some(output), Some(total)) = (self.input, self.output, self.total) else {
            return false;
        };
        let sum = input.saturating_add(output);
        total > 0 && total != sum && total != sum.saturating_add(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::{ReportedTokens, Tokens};
    use crate::ops::config::CachedTokens::{self, Inside, Outside};

    fn tokens(counted: CachedTokens, counts: [Option<u64>; 5]) -> Option<Tokens> {
        let [input, output, cached, written, total] = counts;
        let read = ReportedTokens {
            input,
            output,
            cached,
            written,
            reasoning: None,
            total,
        };
        read.tokens(counted, "cached", true).ok()
    }

    #[test]
    fn where_cached_tokens_are_counted_does_not_depend_on_how_many_there_are() {
        let row = |counted, input, cached, written| {
            let found = tokens(counted, [input, Some(75), cached, written, None]);
            found.map(|found| (found.input, found.cached))
        };
        for (counted, input, cached, written, expected) in [
            (
                Outside,
                Some(1000),
                Some(999),
                None,
                Some((Some(1999), Some(999))),
            ),
            (
                Outside,
                Some(1000),
                Some(1001),
                None,
                Some((Some(2001), Some(1001))),
            ),
            (Outside, Some(3), None, Some(4511), Some((Some(4514), None))),
            (
                Outside,
                Some(0),
                Some(5000),
                None,
                Some((Some(5000), Some(5000))),
            ),
            (
                Outside,
                Some(1),
                Some(5000),
                None,
                Some((Some(5001), Some(5000))),
            ),
            (
                Inside,
                Some(1000),
                Some(999),
                None,
                Some((Some(1000), Some(999))),
            ),
            (Inside, Some(1000), Some(1001), None, None),
            (
                Inside,
                Some(5000),
                Some(1),
                Some(4000),
                Some((Some(5000), Some(1))),
            ),
            (
                Inside,
                Some(0),
                Some(5000),
                None,
                Some((Some(5000), Some(5000))),
            ),
            (
                Inside,
                None,
                Some(5000),
                None,
                Some((Some(5000), Some(5000))),
            ),
            (Inside, Some(0), None, None, Some((None, None))),
            (Inside, Some(3), None, Some(4511), None),
            (Inside, Some(0), Some(0), Some(0), Some((None, None))),
            (Inside, None, None, None, Some((None, None))),
        ] {
            let found = row(counted, input, cached, written);
            assert_eq!(
                found, expected,
                "{counted:?} {input:?} {cached:?} {written:?}"
            );
        }
    }

    #[test]
    fn no_output_of_something_that_has_output_is_unknown() {
        let counts = ReportedTokens {
            input: Some(10),
            output: Some(0),
            ..ReportedTokens::default()
        };
        let output = |has_output| {
            let tokens = counts.tokens(Inside, "cached", has_output);
            tokens.expect("no part is larger than its whole").output
        };
        assert_eq!((output(true), output(false)), (None, Some(0)));
    }

    #[test]
    fn a_total_that_is_not_the_sum_of_its_parts_is_told() {
        for (total, is_odd) in [
            (225, false),
            (0, false),
            (725, false),
            (226, true),
            (1, true),
        ] {
            let counts = [Some(150), Some(75), Some(500), None, Some(total)];
            let found = tokens(Outside, counts).expect("it can be read");
            assert_eq!(found.is_total_odd, is_odd, "{total}");
        }
    }
}
