//! Decimal numbers as gateways write them, read exactly: Lua prints times as `1726783839538`,
//! `8.9998245239258` or `1.7e+12`.

/// More digits than any number that means something here; longer ones (and larger exponents) are
/// refused, not computed.
const DIGITS_MAX: usize = 400;
const EXPONENT_MAX: i32 = 400;

/// A decimal number, cut into what this module is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateways) struct Decimal {
    /// Below zero.
    pub is_negative: bool,
    /// The whole part of its absolute value; saturates.
    pub whole: u64,
    /// Whether there is something after the point.
    pub has_fraction: bool,
}

impl Decimal {
    /// Reads digits with an optional sign, fraction and exponent; `None`: that is no number.
    pub fn parse(text: &str) -> Option<Decimal> {
        Decimal::parse_times(text, 0)
    }

    /// Reads a number and multiplies it by ten to the power of `shift`, exactly: seconds become
    /// milliseconds by 3, nanoseconds by -6.
    pub fn parse_times(text: &str, shift: i32) -> Option<Decimal> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
            None => (unsigned, 0),
        };
        let (before, after) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let digits: Vec<u8> = before.bytes().chain(after.bytes()).collect();
        let are_digits = digits.iter().all(u8::is_ascii_digit);
        if before.is_empty() || !are_digits || digits.len() > DIGITS_MAX {
            return None;
        }
        let point = before.len() as i64 + i64::from(exponent) + i64::from(shift);
        let cut = usize::try_from(point.max(0)).unwrap_or(usize::MAX);
        let (whole, fraction) = digits.split_at(cut.min(digits.len()));
        let zeros = cut.saturating_sub(digits.len());
        let is_zero = digits.iter().all(|digit| *digit == b'0');
        Some(Decimal {
            is_negative: sign && !is_zero,
            whole: value_of(whole, zeros),
            has_fraction: fraction.iter().any(|digit| *digit != b'0'),
        })
    }

    /// The largest whole number that is not above it; saturates.
    pub fn floor(self) -> i64 {
        let whole = i64::try_from(self.whole).unwrap_or(i64::MAX);
        match (self.is_negative, self.has_fraction) {
            (false, _) => whole,
            (true, false) => -whole,
            (true, true) => (-whole).saturating_sub(1),
        }
    }
}

fn exponent_of(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let exponent: i32 = text.parse().ok()?;
    (-EXPONENT_MAX..=EXPONENT_MAX)
        .contains(&exponent)
        .then_some(exponent)
}

/// The number that the digits and so many zeros after them write.
fn value_of(digits: &[u8], zeros: usize) -> u64 {
    let value = digits.iter().fold(0u64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    (0..zeros).fold(value, |value, _| value.saturating_mul(10))
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    fn check(text: &str, expected: Option<(i64, bool)>) {
        let read = Decimal::parse(text).map(|decimal| (decimal.floor(), decimal.has_fraction));
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn seconds_and_nanoseconds_become_milliseconds_without_loss() {
        for (text, shift, floor, has_fraction) in [
            ("1795394966.792918", 3, 1_795_394_966_792, true),
            ("1795394966.853", 3, 1_795_394_966_853, false),
            ("1795394966", 3, 1_795_394_966_000, false),
            ("1.795394966792918e9", 3, 1_795_394_966_792, true),
            ("0.0009", 3, 0, true),
            ("1795394966792918001", -6, 1_795_394_966_792, true),
            ("1795394966792000000", -6, 1_795_394_966_792, false),
            ("999999", -6, 0, true),
            ("0", -6, 0, false),
        ] {
            let read = Decimal::parse_times(text, shift);
            let read = read.map(|decimal| (decimal.floor(), decimal.has_fraction));
            assert_eq!(read, Some((floor, has_fraction)), "{text}");
        }
    }

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        for (text, floor, has_fraction) in [
            ("0", 0, false),
            ("-0", 0, false),
            ("-0.0", 0, false),
            ("1726783839538", 1_726_783_839_538, false),
            ("1726783839538.0", 1_726_783_839_538, false),
            ("8.9998245239258", 8, true),
            ("1.726783839538e+12", 1_726_783_839_538, false),
            ("1.7267838395389e12", 1_726_783_839_538, true),
            ("15e-1", 1, true),
            ("150e-1", 15, false),
            ("-1.5", -2, true),
            ("-2", -2, false),
            ("0.0001", 0, true),
            ("1e-400", 0, true),
            ("1e400", i64::MAX, false),
            ("0e400", 0, false),
            ("99999999999999999999999", i64::MAX, false),
            ("-99999999999999999999999", -i64::MAX, false),
        ] {
            check(text, Some((floor, has_fraction)));
        }
        for text in [
            "",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "e5",
            "1e401",
            "1e99999999999",
            " 1",
            "1 ",
            "0x1",
            "1_0",
            "NaN",
            "1.2.3",
            "--1",
            "1e1.5",
            "١",
        ] {
            check(text, None);
        }
    }
}
