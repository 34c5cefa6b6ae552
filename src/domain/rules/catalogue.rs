//! Which model is in which tier: exact names, then patterns, then the size in the name.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Serialize;

use super::fault::{Faults, Member};
use crate::domain::model_name::{bare_name, spellings};
use crate::domain::semantics::Semantics;
use crate::domain::tier::{RecognisedModel, Sizes, Tier, TierEvidence, sized_tier};

/// Most exact names, and most patterns.
const NAMES_MAX: usize = 1_000;
/// Longest name or pattern.
const NAME_CHARS_MAX: usize = 128;
/// Most marks of four-bit quantisation.
const MARKS_MAX: usize = 32;
/// Largest size, in millions of parameters.
const MILLIONS_MAX: u32 = 100_000_000;

const TIERS: [(&str, Tier); 4] = [
    ("tide_pool", Tier::TidePool),
    ("blue_surge", Tier::BlueSurge),
    ("open_ocean", Tier::OpenOcean),
    ("mariana_depth", Tier::MarianaDepth),
];

#[derive(Clone, Debug, Serialize)]
struct Named {
    name: String,
    tier: Tier,
}

#[derive(Clone, Debug, Serialize)]
struct Pattern {
    pattern: String,
    tier: Tier,
}

/// What is known of models.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Catalogue {
    sizes: Sizes,
    models: Vec<Named>,
    patterns: Vec<Pattern>,
    #[serde(skip)]
    by_name: BTreeMap<String, Tier>,
    #[serde(skip)]
    globs: GlobSet,
}

impl Catalogue {
    pub fn read(member: &Member<'_>, faults: &mut Faults) -> Option<Catalogue> {
        let [sizes, models, patterns] = faults.members(member, ["sizes", "models", "patterns"]);
        let sizes = read_sizes(&sizes, faults);
        let models = read_entries(&models, "name", faults);
        let patterns = read_entries(&patterns, "pattern", faults);
        let globs = compile(patterns.as_deref().unwrap_or_default(), &member.key, faults);
        let models: Vec<Named> = models?
            .into_iter()
            .map(|(name, tier)| Named { name, tier })
            .collect();
        let patterns = patterns?
            .into_iter()
            .map(|(pattern, tier)| Pattern { pattern, tier })
            .collect();
        Some(Catalogue {
            by_name: models.iter().map(|m| (m.name.clone(), m.tier)).collect(),
            sizes: sizes?,
            models,
            patterns,
            globs: globs?,
        })
    }

    /// The tier of a model, and what told it. Takes microseconds: keep the answer per name and
    /// [`super::Rules::id`].
    pub fn recognise(&self, model: &str, semantics: Semantics) -> Option<RecognisedModel> {
        let names = match semantics.knows_spellings() {
            true => spellings(model),
            false => vec![bare_name(model)],
        };
        names.into_iter().find_map(|name| {
            let (tier, evidence) = self.known(&name)?;
            Some(RecognisedModel {
                tier,
                name,
                evidence,
            })
        })
    }

    fn known(&self, name: &str) -> Option<(Tier, TierEvidence)> {
        let exact = self.by_name.get(name);
        exact
            .map(|tier| (*tier, TierEvidence::Name))
            .or_else(|| self.first_pattern(name))
            .or_else(|| sized_tier(name, &self.sizes))
    }

    fn first_pattern(&self, name: &str) -> Option<(Tier, TierEvidence)> {
        let first = self.globs.matches(name).into_iter().min()?;
        let Pattern { pattern, tier } = &self.patterns[first];
        let evidence = TierEvidence::Pattern {
            pattern: pattern.clone(),
            place: first + 1,
        };
        Some((*tier, evidence))
    }
}

fn read_sizes(member: &Member<'_>, faults: &mut Faults) -> Option<Sizes> {
    let [tide_pool, blue_surge, open_ocean, four_bit, marks] = faults.members(
        member,
        [
            "tidePoolMax",
            "blueSurgeMax",
            "openOceanBelow",
            "openOceanFourBitMax",
            "fourBitMarks",
        ],
    );
    let limits = [&tide_pool, &blue_surge, &open_ocean, &four_bit]
        .map(|limit| faults.integer(limit, 1..=MILLIONS_MAX));
    let marks = read_marks(&marks, faults);
    let [
        Some(tide_pool_max),
        Some(blue_surge_max),
        Some(open_ocean_below),
        Some(four_bit_max),
    ] = limits
    else {
        return None;
    };
    let ascending = tide_pool_max < blue_surge_max
        && blue_surge_max < open_ocean_below
        && open_ocean_below <= four_bit_max;
    if !ascending {
        faults.add(
            &member.key,
            "is out of order",
            "tidePoolMax < blueSurgeMax < openOceanBelow <= openOceanFourBitMax (millions of parameters)",
        );
    }
    Some(Sizes {
        tide_pool_max,
        blue_surge_max,
        open_ocean_below,
        open_ocean_four_bit_max: four_bit_max,
        four_bit_marks: marks?,
    })
}

fn read_marks(member: &Member<'_>, faults: &mut Faults) -> Option<BTreeSet<String>> {
    let marks = faults.list(member, MARKS_MAX)?;
    let mut read = BTreeSet::new();
    for mark in &marks {
        let text = faults.text(mark, NAME_CHARS_MAX)?;
        if !text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        {
            faults.add(
                &mark.key,
                format!("is {text:?}"),
                "lower-case letters and digits, such as \"awq\"",
            );
        }
        read.insert(text.to_owned());
    }
    Some(read)
}

/// Names or patterns with their tiers, in file order.
fn read_entries(
    member: &Member<'_>,
    what: &str,
    faults: &mut Faults,
) -> Option<Vec<(String, Tier)>> {
    let mut seen = BTreeSet::new();
    let read: Vec<Option<(String, Tier)>> = faults
        .list(member, NAMES_MAX)?
        .iter()
        .map(|entry| {
            let [name, tier] = faults.members(entry, [what, "tier"]);
            let tier = faults.choice(&tier, &TIERS);
            let text = faults.text(&name, NAME_CHARS_MAX)?.to_lowercase();
            if text != bare_name(&text) {
                faults.add(&name.key, format!("is {text:?}"), "a name without vendor prefix (the part before a '/') and without spaces around it");
            }
            if !seen.insert(text.clone()) {
                faults.add(&name.key, format!("{text:?} is listed twice"), "each once");
            }
            Some((text, tier?))
        })
        .collect();
    read.into_iter().collect()
}

fn compile(patterns: &[(String, Tier)], key: &str, faults: &mut Faults) -> Option<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for (i, (pattern, _)) in patterns.iter().enumerate() {
        match GlobBuilder::new(pattern).build() {
            Ok(glob) => {
                set.add(glob);
            }
            Err(error) => faults.add(
                &format!("{key}.patterns[{i}].pattern"),
                format!("is {pattern:?} ({})", error.kind()),
                "a glob such as \"gpt-4o*\", \"claude-*-haiku*\" or \"gpt-[34]*\"",
            ),
        }
    }
    set.build()
        .inspect_err(|error| faults.add(key, error.to_string(), "fewer or simpler patterns"))
        .ok()
}
