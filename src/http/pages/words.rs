//! How things are called and written on pages.

use std::fmt::Display;

use maud::{Markup, html};

use crate::domain::event::Service;
use crate::domain::ids::AccountKind;
use crate::domain::rules::Rules;
use crate::domain::time::{Millis, Month};

use crate::app::words;
pub(super) use crate::app::words::{account_path, encoded, percent, times};

/// A number as it is, with its thousands apart.
pub(super) fn number(value: impl Display) -> String {
    words::grouped_decimal(&value.to_string())
}

/// A number of things: `1 request`, `1,200 requests`.
pub(super) fn counted(count: u64, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {thing}{s}", number(count))
}

/// The number of a card: at most two decimals; the exact one beside it, where it has more. Long
/// ones are written smaller, so that none breaks on a narrow screen.
pub(super) fn headline(value: impl Display, unit: &str) -> Markup {
    let exact = value.to_string();
    let short = words::headline(&exact);
    let exact = number(exact);
    let (shown, title) = match &short {
        Some(short) => (short, Some(&exact)),
        None => (&exact, None),
    };
    let class = match shown.len() {
        0..=10 => "number",
        11..=15 => "number long",
        _ => "number longer",
    };
    html! {
        p .big {
            span class=(class) title=[title] { (shown) } " " (unit)
            @if short.is_some() { span .exact { "exactly " (exact) } }
        }
    }
}

/// `user`, `provider`, for a heading.
pub(super) const fn kind_word(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::User => "User",
        AccountKind::Provider => "Provider",
    }
}

/// What people call a service: the built-in ones have a word, others their name.
pub(super) fn service_word(name: &str) -> &str {
    match Service::default_named(name) {
        Some(Service::CHAT_COMPLETIONS) => "Chat",
        Some(Service::EMBEDDINGS) => "Embeddings",
        Some(Service::TTS) => "Speech",
        Some(Service::SCRAPE) => "Scraping",
        _ => name,
    }
}

/// An id of somebody else: enough to tell two apart, too little to know who it is.
pub(super) fn shortened(id: &str) -> String {
    let chars: Vec<char> = id.chars().collect();
    match chars.as_slice() {
        [first, _, ..] if chars.len() <= 4 => format!("{first}…"),
        [a, b, .., y, z] => format!("{a}{b}…{y}{z}"),
        _ => "…".to_owned(),
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// `November 2026`.
pub(super) fn month_word(month: Month) -> String {
    let name = MONTHS[month.0.rem_euclid(12) as usize];
    format!("{name} {}", 1970 + month.0.div_euclid(12))
}

/// The season of some rules, if there is one.
pub(super) fn season(rules: &Rules) -> Markup {
    html! {
        @if let Some((name, _, to)) = rules.season() {
            p .season { "Season " strong { (name) } ", until " (instant(to)) }
        }
    }
}

/// An instant to the second: `2026-11-22 07:01:02`.
pub(super) fn instant(at: Millis) -> String {
    let text = at.to_string();
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::{encoded, month_word, percent, shortened, times};
    use crate::domain::amount::Bp;
    use crate::domain::time::Month;

    #[test]
    fn numbers_are_written_without_trailing_zeros() {
        for (bp, text) in [
            (10_000, "×1"),
            (10_500, "×1.05"),
            (8_000, "×0.8"),
            (1, "×0.0001"),
        ] {
            assert_eq!(times(Bp(bp)), text);
        }
        for (bp, text) in [
            (10_000, "100 %"),
            (9_810, "98.1 %"),
            (9_999, "99.99 %"),
            (5, "0.05 %"),
        ] {
            assert_eq!(percent(bp), text);
        }
        assert_eq!(month_word(Month(56 * 12 + 10)), "November 2026");
    }

    #[test]
    fn a_shortened_id_never_shows_the_whole() {
        for id in [
            "a",
            "ab",
            "abcd",
            "abcde",
            "user-1",
            "äöüßé",
            "alice@example.com",
        ] {
            let short = shortened(id);
            assert!(!short.contains(id), "{id} {short}");
        }
        assert_eq!(shortened("user-1"), "us…-1");
        assert_eq!(shortened("ab"), "a…");
        assert_eq!(shortened("a"), "…");
        assert_eq!(shortened(""), "…");
    }

    #[test]
    fn any_id_fits_a_path() {
        assert_eq!(encoded("a/b?c#d e%ü"), "a%2Fb%3Fc%23d%20e%25%C3%BC");
    }
}
