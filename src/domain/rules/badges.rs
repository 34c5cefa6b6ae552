//! `rules.badges`: which badges there are.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::fault::{Faults, Member, RuleFault};
use crate::domain::amount::Points;
use crate::domain::badges::{BADGES_MAX, Badge, BadgeId, Badges, Criterion, NotABadgeId, Picture};
use crate::domain::ids::AccountKind;
use crate::domain::service::Services;

const NAME_CHARS_MAX: usize = 128;
const DESCRIPTION_CHARS_MAX: usize = 1_000;
const SVG_BYTES_MAX: usize = 16 * 1024;
const URL_BYTES_MAX: usize = 2_048;
const STREAK_DAYS: RangeInclusive<u32> = 1..=36_500;
const POINTS: RangeInclusive<Points> = Points(1)..=Points::whole(1_000_000_000_000);
const RANK: RangeInclusive<u32> = 1..=100;
const MILESTONES: RangeInclusive<u32> = 1..=10_000;
const SERVICE_CHARS_MAX: usize = 32;

const NEEDED: [&str; 5] = ["id", "name", "description", "picture", "criterion"];
const OPTIONAL: [&str; 2] = ["kinds", "retired"];
const CRITERIA: [&str; 6] = [
    "streakDays",
    "monthPoints",
    "lifePoints",
    "monthRank",
    "milestones",
    "firstSuccess",
];

/// What a picture must not contain, whatever its case: it is shown to browsers, which ask nobody
/// else for anything on its behalf. (Answers with a picture also forbid scripts and requests.)
const FORBIDDEN_IN_SVG: [&str; 8] = [
    "<script",
    "<foreignobject",
    "<!doctype",
    "<!entity",
    "<?xml-stylesheet",
    "javascript:",
    "<iframe",
    "@import",
];

/// A value of `rules.badges`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::domain) struct BadgeRules(Badges);

struct Shown<'b>(&'b Badge);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let badge = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &badge.id)?;
        map.serialize_entry("name", &badge.name)?;
        map.serialize_entry("description", &badge.description)?;
        map.serialize_entry("picture", badge.picture.as_str())?;
        map.serialize_entry("criterion", &criterion_form(&badge.criterion))?;
        if badge.kinds != default_kinds(&badge.criterion) {
            map.serialize_entry("kinds", &badge.kinds)?;
        }
        if badge.retired {
            map.serialize_entry("retired", &true)?;
        }
        map.end()
    }
}

fn criterion_form(criterion: &Criterion) -> Map<String, Value> {
    let (name, value) = match criterion {
        Criterion::StreakDays(days) => ("streakDays", Value::from(*days)),
        Criterion::MonthPoints(points) => ("monthPoints", points.to_string().into()),
        Criterion::LifePoints(points) => ("lifePoints", points.to_string().into()),
        Criterion::MonthRank(rank) => ("monthRank", Value::from(*rank)),
        Criterion::Milestones(count) => ("milestones", Value::from(*count)),
        Criterion::FirstSuccess(service) => ("firstSuccess", service.as_str().into()),
    };
    Map::from_iter([(name.to_owned(), value)])
}

impl Serialize for BadgeRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.all().iter().map(Shown))
    }
}

impl BadgeRules {
    pub fn read(list: &Member<'_>, faults: &mut Faults) -> Option<BadgeRules> {
        let members = faults.list(list, BADGES_MAX)?;
        let badges: Vec<Option<Badge>> = members
            .iter()
            .map(|member| read_badge(member, faults))
            .collect();
        let badges: Vec<Badge> = badges.into_iter().collect::<Option<_>>()?;
        let mut ids = BTreeSet::new();
        for badge in &badges {
            if !ids.insert(&badge.id) {
                let problem = format!("\"{}\" is listed more than once", badge.id);
                faults.add(&list.key, problem, "each id once");
            }
        }
        Some(BadgeRules(Badges::new(badges)))
    }

    pub fn badges(&self) -> &Badges {
        &self.0
    }

    /// Whether this may follow another value: accounts hold badges by their ids, so each keeps what
    /// it is granted for.
    pub fn check_follows(&self, before: &BadgeRules, key: &str) -> Result<(), RuleFault> {
        for old in before.0.all() {
            let id = &old.id;
            match self.0.named(id) {
                None => {
                    return Err(RuleFault::new(
                        key,
                        format!("lacks \"{id}\""),
                        "every badge that there ever was; one that is not granted any more has retired = true",
                    ));
                }
                Some(new) if new.criterion != old.criterion || new.kinds != old.kinds => {
                    return Err(RuleFault::new(
                        key,
                        format!("changes what \"{id}\" is granted for"),
                        format!(
                            "its first criterion ({}) and kinds; give another badge another id, and retire this one",
                            old.criterion
                        ),
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Whether every service is known that a badge names.
    pub fn check_services(&self, services: &Services, key: &str) -> Result<(), RuleFault> {
        for (place, badge) in self.0.all().iter().enumerate() {
            if let Criterion::FirstSuccess(name) = &badge.criterion
                && services.named(name).is_none()
            {
                let names = services.entries().iter().map(|entry| entry.name.as_str());
                let names: Vec<&str> = names.collect();
                return Err(RuleFault::new(
                    format!("{key}[{place}].criterion.firstSuccess"),
                    format!("is \"{name}\""),
                    names.join(", "),
                ));
            }
        }
        Ok(())
    }
}

fn read_badge(member: &Member<'_>, faults: &mut Faults) -> Option<Badge> {
    let ([id, name, description, picture, criterion], [kinds, retired]) =
        faults.members_and(member, NEEDED, OPTIONAL);
    let id = read_id(&id, faults);
    let name = faults.text(&name, NAME_CHARS_MAX).map(str::to_owned);
    let description = faults
        .text(&description, DESCRIPTION_CHARS_MAX)
        .map(str::to_owned);
    let picture = read_picture(&picture, faults);
    let criterion = read_criterion(&criterion, faults);
    let retired = match &retired {
        Some(retired) => faults.switch(retired),
        None => Some(false),
    };
    let criterion = criterion?;
    let kinds = match &kinds {
        Some(kinds) => read_kinds(kinds, &criterion, faults),
        None => Some(default_kinds(&criterion)),
    };
    Some(Badge {
        id: id?,
        name: name?,
        description: description?,
        picture: picture?,
        criterion,
        kinds: kinds?,
        retired: retired?,
    })
}

fn read_id(id: &Member<'_>, faults: &mut Faults) -> Option<BadgeId> {
    let text = faults.text(id, crate::domain::badges::BADGE_ID_CHARS_MAX)?;
    let parsed = text.parse();
    if parsed.is_err() {
        faults.add(&id.key, format!("is \"{text}\""), NotABadgeId.to_string());
    }
    parsed.ok()
}

fn read_criterion(member: &Member<'_>, faults: &mut Faults) -> Option<Criterion> {
    let ([], [streak, month, life, rank, milestones, first]) =
        faults.members_and(member, [], CRITERIA);
    let given = [&streak, &month, &life, &rank, &milestones, &first];
    let given = given.into_iter().flatten().count();
    if given != 1 {
        if member.value.is_some_and(Value::is_object) {
            let allowed = format!("exactly one of {}", CRITERIA.join(", "));
            faults.add(&member.key, format!("has {given} criteria"), allowed);
        }
        return None;
    }
    if let Some(days) = streak {
        return faults
            .integer(&days, STREAK_DAYS)
            .map(Criterion::StreakDays);
    }
    if let Some(points) = month {
        return faults.amount(&points, POINTS).map(Criterion::MonthPoints);
    }
    if let Some(points) = life {
        return faults.amount(&points, POINTS).map(Criterion::LifePoints);
    }
    if let Some(rank) = rank {
        return faults.integer(&rank, RANK).map(Criterion::MonthRank);
    }
    if let Some(count) = milestones {
        return faults
            .integer(&count, MILESTONES)
            .map(Criterion::Milestones);
    }
    let name = faults.text(&first?, SERVICE_CHARS_MAX)?;
    Some(Criterion::FirstSuccess(name.to_owned()))
}

fn default_kinds(criterion: &Criterion) -> Vec<AccountKind> {
    match criterion {
        // What providers served first is not kept.
        Criterion::FirstSuccess(_) => vec![AccountKind::User],
        _ => AccountKind::ALL.to_vec(),
    }
}

fn read_kinds(
    list: &Member<'_>,
    criterion: &Criterion,
    faults: &mut Faults,
) -> Option<Vec<AccountKind>> {
    let allowed = default_kinds(criterion);
    let choices: Vec<(&str, AccountKind)> =
        allowed.iter().map(|kind| (kind.as_str(), *kind)).collect();
    let members = faults.list(list, choices.len())?;
    let kinds: Vec<Option<AccountKind>> = members
        .iter()
        .map(|member| faults.choice(member, &choices))
        .collect();
    let kinds: BTreeSet<AccountKind> = kinds.into_iter().collect::<Option<_>>()?;
    if kinds.is_empty() {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        faults.add(&list.key, "is empty", words.join(", "));
        return None;
    }
    Some(kinds.into_iter().collect())
}

fn read_picture(member: &Member<'_>, faults: &mut Faults) -> Option<Picture> {
    let text = member.value?.as_str().map(str::trim);
    let picture = match text {
        Some(text) if text.starts_with("https://") => {
            let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\');
            let fits = text.len() <= URL_BYTES_MAX && text.bytes().all(is_plain);
            fits.then(|| Picture::Url(text.to_owned()))
        }
        Some(text) if is_svg(text) => {
            let small = text.to_ascii_lowercase();
            let found = FORBIDDEN_IN_SVG.iter().find(|word| small.contains(*word));
            let handler = has_handler(&small).then_some("an on… attribute");
            let outside = refers_outside(&small).then_some("a reference to another document");
            if let Some(found) = found.copied().or(handler).or(outside) {
                let allowed = "shapes, text and gradients: no scripts, event handlers or references to other documents";
                faults.add(&member.key, format!("contains {found}"), allowed);
                return None;
            }
            (text.len() <= SVG_BYTES_MAX).then(|| Picture::Svg(text.to_owned()))
        }
        _ => None,
    };
    if picture.is_none() {
        let allowed = format!(
            "an https:// address of at most {URL_BYTES_MAX} bytes, or an SVG document (<svg …>…</svg>) of at most {SVG_BYTES_MAX} bytes"
        );
        faults.add(&member.key, "is no picture", allowed);
    }
    picture
}

fn is_svg(text: &str) -> bool {
    let has_namespace = text.contains("http://www.w3.org/2000/svg");
    text.starts_with("<svg") && text.ends_with("</svg>") && has_namespace
}

/// Whether there is an attribute like `onload=`.
fn has_handler(text: &str) -> bool {
    let is_space = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'/' | b'"' | b'\'');
    text.as_bytes().windows(3).enumerate().any(|(at, bytes)| {
        let begins = is_space(&bytes[0]) && bytes[1..] == *b"on";
        let rest = text.as_bytes().get(at + 3..).unwrap_or_default();
        let name = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        let after = rest.get(name..).unwrap_or_default();
        let equals = after.iter().find(|b| !b.is_ascii_whitespace());
        begins && name > 0 && equals == Some(&b'=')
    })
}

/// Whether there is a reference that is not to a part of the document itself.
fn refers_outside(text: &str) -> bool {
    let links = text.match_indices("href").any(|(at, name)| {
        let value = text[at + name.len()..].trim_start();
        let Some(value) = value.strip_prefix('=') else {
            return false;
        };
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        !value.starts_with('#')
    });
    let urls = text.match_indices("url(").any(|(at, name)| {
        let value = text[at + name.len()..].trim_start();
        !value.trim_start_matches(['"', '\'']).starts_with('#')
    });
    links || urls
}
