//! Reading a rules document so that all its faults are found at once, each with its key and what is
//! allowed.

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// A fault in a rules document, or in one new value of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct RuleFault {
    /// The file; `None` where the value did not come from one.
    pub file: Option<String>,
    /// The key (`prices.tts.pricePerUnit`).
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        write!(
            f,
            "{}: {}; allowed: {}",
            self.key, self.problem, self.allowed
        )
    }
}

impl RuleFault {
    /// A fault of a value that came from no file.
    pub fn new(
        key: impl Into<String>,
        problem: impl Into<String>,
        allowed: impl Into<String>,
    ) -> RuleFault {
        RuleFault {
            file: None,
            key: key.into(),
            problem: problem.into(),
            allowed: allowed.into(),
        }
    }
}

/// A value and the key at which it stands. No value: it is missing, and that was noted as a fault.
#[derive(Clone, Debug)]
pub(super) struct Member<'v> {
    pub key: String,
    pub value: Option<&'v Value>,
}

impl<'v> Member<'v> {
    pub fn new(key: impl Into<String>, value: &'v Value) -> Member<'v> {
        Member {
            key: key.into(),
            value: Some(value),
        }
    }

    fn below(&self, name: &str, value: Option<&'v Value>) -> Member<'v> {
        let key = if self.key.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.key)
        };
        Member { key, value }
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    found: Vec<RuleFault>,
}

impl Faults {
    /// What was read, if it was read without a fault.
    pub fn finish<T>(self, read: Option<T>) -> Result<T, Vec<RuleFault>> {
        match read {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(self.found),
        }
    }

    pub fn add(&mut self, key: &str, problem: impl Into<String>, allowed: impl Into<String>) {
        self.found.push(RuleFault::new(key, problem, allowed));
    }

    /// The members of an object that must have exactly these.
    pub fn members<'v, const N: usize>(
        &mut self,
        object: &Member<'v>,
        names: [&str; N],
    ) -> [Member<'v>; N] {
        let map = self.object(object, &names);
        names.map(|name| self.needed(object, map, name))
    }

    /// The members of an object that must have some, and may have others.
    pub fn members_and<'v, const N: usize, const M: usize>(
        &mut self,
        object: &Member<'v>,
        needed: [&str; N],
        optional: [&str; M],
    ) -> ([Member<'v>; N], [Option<Member<'v>>; M]) {
        let names = [&needed[..], &optional[..]].concat();
        let map = self.object(object, &names);
        let needed = needed.map(|name| self.needed(object, map, name));
        let optional = optional.map(|name| {
            let value = map.and_then(|map| map.get(name))?;
            Some(object.below(name, Some(value)))
        });
        (needed, optional)
    }

    /// The members of an object whose names are free, by name.
    pub fn entries<'v>(
        &mut self,
        object: &Member<'v>,
        max: usize,
    ) -> Option<Vec<(&'v str, Member<'v>)>> {
        let value = object.value?;
        let map = value.as_object().filter(|map| map.len() <= max);
        let Some(map) = map else {
            let allowed = format!("a table of at most {max} names");
            self.add(&object.key, "is not such a table", allowed);
            return None;
        };
        let member = |(name, value): (&'v String, &'v Value)| {
            (name.as_str(), object.below(name, Some(value)))
        };
        Some(map.iter().map(member).collect())
    }

    fn needed<'v>(
        &mut self,
        object: &Member<'v>,
        map: Option<&'v Map<String, Value>>,
        name: &str,
    ) -> Member<'v> {
        let value = map.and_then(|map| map.get(name));
        let member = object.below(name, value);
        if map.is_some() && value.is_none() {
            self.add(&member.key, "is missing", "it must be given");
        }
        member
    }

    fn object<'v>(
        &mut self,
        object: &Member<'v>,
        names: &[&str],
    ) -> Option<&'v Map<String, Value>> {
        let allowed = || format!("a table of {}", names.join(", "));
        let Some(map) = object.value?.as_object() else {
            self.add(&object.key, "is not a table", allowed());
            return None;
        };
        for name in map.keys().filter(|name| !names.contains(&name.as_str())) {
            let key = object.below(name, None).key;
            self.add(&key, "is not known", names.join(", "));
        }
        Some(map)
    }

    /// The elements of a list of at most `max`.
    pub fn list<'v>(&mut self, list: &Member<'v>, max: usize) -> Option<Vec<Member<'v>>> {
        let allowed = || format!("a list of at most {max}");
        let Some(values) = list.value?.as_array() else {
            self.add(&list.key, "is not a list", allowed());
            return None;
        };
        if values.len() > max {
            self.add(
                &list.key,
                format!("has {} elements", values.len()),
                allowed(),
            );
            return None;
        }
        let element = |(i, value)| Member::new(format!("{}[{i}]", list.key), value);
        Some(values.iter().enumerate().map(element).collect())
    }

    /// A whole number.
    pub fn integer(&mut self, member: &Member<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let value = member.value?;
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
        match number {
            Some(n) if range.contains(&n) => Some(n),
            _ => {
                let allowed = format!("a whole number from {} to {}", range.start(), range.end());
                self.add(&member.key, format!("is {}", short(value)), allowed);
                None
            }
        }
    }

    /// An amount that is given as a decimal string.
    pub fn amount<T>(&mut self, member: &Member<'_>, range: RangeInclusive<T>) -> Option<T>
    where
        T: std::str::FromStr<Err = crate::domain::amount::AmountError>
            + PartialOrd
            + Copy
            + fmt::Display,
    {
        let value = member.value?;
        let allowed = || {
            format!(
                "a decimal in quotes, from \"{}\" to \"{}\"",
                range.start(),
                range.end()
            )
        };
        match value.as_str().map(str::parse::<T>) {
            Some(Ok(amount)) if range.contains(&amount) => Some(amount),
            Some(Err(error)) => {
                self.add(&member.key, error.to_string(), allowed());
                None
            }
            _ => {
                self.add(&member.key, format!("is {}", short(value)), allowed());
                None
            }
        }
    }

    /// A text of 1 to `max` characters without control characters.
    pub fn text<'v>(&mut self, member: &Member<'v>, max: usize) -> Option<&'v str> {
        let value = member.value?;
        let fits = |text: &&str| {
            (1..=max).contains(&text.chars().count()) && !text.chars().any(char::is_control)
        };
        let text = value.as_str().filter(fits);
        if text.is_none() {
            let allowed =
                format!("a text of 1 to {max} characters, none of them a control character");
            self.add(&member.key, format!("is {}", short(value)), allowed);
        }
        text
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, member: &Member<'_>, choices: &[(&str, T)]) -> Option<T> {
        let value = member.value?;
        let found = value
            .as_str()
            .and_then(|text| choices.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            let words: Vec<String> = choices
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            self.add(
                &member.key,
                format!("is {}", short(value)),
                words.join(", "),
            );
        }
        found.map(|(_, choice)| *choice)
    }

    /// `true` or `false`.
    pub fn switch(&mut self, member: &Member<'_>) -> Option<bool> {
        let value = member.value?;
        if value.as_bool().is_none() {
            self.add(&member.key, format!("is {}", short(value)), "true or false");
        }
        value.as_bool()
    }
}

/// A value as it stands in a message: its JSON, cut if it is long.
fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
