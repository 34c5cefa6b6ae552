//! All versions of all keys, and what a control position sees of them.

mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use history::RuleHistory;

use super::RuleChange;
use super::badges::BadgeRules;
use super::fault::RuleFault;
use super::in_force::{Rules, SeasonSpan, ServicesAsOf, assemble};
use super::key::SettingKey;
use super::provider_names::ProviderTimeline;
use super::services::{ServiceRules, Terms};
use super::setting::{Season, Setting, UNIQUE_SEASONS};
use super::version::Version;
use crate::domain::badges::Badges;
use crate::domain::ledger::Activity;
use crate::domain::position::Control;
use crate::domain::service::{Service, Services};
use crate::domain::time::Millis;

/// Every version that has come through the control feed.
#[derive(Debug, Default)]
pub struct RuleBook {
    versions: BTreeMap<SettingKey, Vec<Version>>,
    /// The control numbers that brought versions.
    controls: BTreeSet<Control>,
    /// The newest compiled timeline, and the number of the last change that is in it.
    compiled: Option<(Control, Arc<Timeline>)>,
}

impl RuleBook {
    /// Takes the changes of one entry of the control feed. Entries come in order; nothing is taken
    /// of an entry with a fault.
    ///
    /// # Errors
    /// Every fault: an unknown key, a value that is not allowed, a key twice, an entry out of
    /// order, a version without a beginning that is not the first, a change of `rules.activity`, a
    /// service of `rules.services` that is renamed or missing.
    pub fn apply(
        &mut self,
        control: Control,
        changes: &[RuleChange],
    ) -> Result<(), Vec<RuleFault>> {
        if changes.is_empty() {
            return Ok(());
        }
        for (key, version) in self.read_all(control, changes)? {
            self.versions.entry(key).or_default().push(version);
        }
        self.controls.insert(control);
        Ok(())
    }

    /// Whether [`RuleBook::apply`] would take these changes as the next entry. Whoever writes to
    /// the control feed must ask first: an entry with a fault stops every rater.
    ///
    /// # Errors
    /// As [`RuleBook::apply`].
    pub fn check(&self, changes: &[RuleChange]) -> Result<(), Vec<RuleFault>> {
        let last = self.controls.last().map_or(0, |control| control.0);
        let read = self.read_all(Control(last + 1), changes)?;
        let of_new = |(key, version): &(SettingKey, Version)| {
            let of_list = version.setting.check_new(*key);
            of_list.and_then(|()| self.check_season_names(Control(last), *key, version))
        };
        let faults: Vec<RuleFault> = read.iter().filter_map(|new| of_new(new).err()).collect();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(faults),
        }
    }

    /// Whether new seasons leave the names alone of those that end before the list takes effect.
    fn check_season_names(
        &self,
        last: Control,
        key: SettingKey,
        version: &Version,
    ) -> Result<(), RuleFault> {
        let (Setting::Seasons(new), Some(from)) = (&version.setting, version.effective_from) else {
            return Ok(());
        };
        let earlier = self.seasons_as_of(last);
        let mut pairs = new.iter().filter(|new| new.to.0 > from).flat_map(|new| {
            let ended = earlier.iter().filter(move |ended| ended.to <= from);
            ended.map(move |ended| (new, ended))
        });
        let same = pairs.find(|(new, ended)| new.name == ended.name);
        same.map_or(Ok(()), |(new, ended)| {
            let problem = format!(
                "the season from {} is named \"{}\", as the one from {} to {}",
                new.from.0, new.name, ended.from, ended.to
            );
            Err(RuleFault::new(key.name(), problem, UNIQUE_SEASONS))
        })
    }

    fn read_all(
        &self,
        control: Control,
        changes: &[RuleChange],
    ) -> Result<Vec<(SettingKey, Version)>, Vec<RuleFault>> {
        self.check_order(control, changes)?;
        let mut faults = Vec::new();
        let mut read = Vec::new();
        for change in changes {
            match self.read(control, change) {
                Ok(version) => read.push(version),
                Err(found) => faults.extend(found),
            }
        }
        faults.extend(self.check_badge_services(control, &read).err());
        if faults.is_empty() {
            Ok(read)
        } else {
            Err(faults)
        }
    }

    /// Whether the services are known that new badges name, of these changes or of earlier ones.
    fn check_badge_services(
        &self,
        control: Control,
        read: &[(SettingKey, Version)],
    ) -> Result<(), RuleFault> {
        let mut services = None;
        for (_, version) in read {
            if let Setting::Services(new) = &version.setting {
                services = Some(Arc::new(new.table()));
            }
        }
        for (key, version) in read {
            if let Setting::Badges(badges) = &version.setting {
                let services = services.clone().unwrap_or_else(|| self.services(control));
                badges.check_services(&services, key.name())?;
            }
        }
        Ok(())
    }

    fn check_order(&self, control: Control, changes: &[RuleChange]) -> Result<(), Vec<RuleFault>> {
        let mut faults = Vec::new();
        if let Some(last) = self.controls.last().filter(|last| control <= **last) {
            faults.push(RuleFault::new(
                changes[0].key.clone(),
                format!("comes with control number {control} after {last}"),
                "entries of the control feed in order, each once",
            ));
        }
        let mut seen = BTreeSet::new();
        let twice = changes.iter().filter(|change| !seen.insert(&change.key));
        faults.extend(twice.map(|change| {
            RuleFault::new(
                change.key.clone(),
                "is in one change twice",
                "each key once",
            )
        }));
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }

    fn read(
        &self,
        control: Control,
        change: &RuleChange,
    ) -> Result<(SettingKey, Version), Vec<RuleFault>> {
        let key = SettingKey::known(&change.key)?;
        let setting = Setting::parse(key, &change.value)?;
        let versions = self.versions.get(&key).map_or(&[][..], Vec::as_slice);
        let first = versions.first();
        if let Some(first) = first {
            check_follower(key, change, &setting, first).map_err(|fault| vec![fault])?;
        }
        if let Setting::Services(services) = &setting {
            check_services(services, versions).map_err(|fault| vec![fault])?;
        }
        if let Setting::Badges(badges) = &setting {
            check_badges(badges, versions).map_err(|fault| vec![fault])?;
        }
        let fingerprint = xxhash_rust::xxh3::xxh3_64(setting.canonical().as_bytes());
        let version = Version {
            control,
            // Before an optional key has a value, rules are complete without it.
            effective_from: match key.is_optional() {
                true => change.effective_from,
                false => first.and(change.effective_from),
            },
            setting,
            fingerprint,
        };
        Ok((key, version))
    }

    /// The control number of the newest change up to a control position.
    pub fn newest(&self, control: Control) -> Option<Control> {
        self.controls.range(..=control).next_back().copied()
    }

    /// What is in force as of a control position; `None` before the first complete rules.
    pub fn as_of(&mut self, control: Control) -> Option<Arc<Timeline>> {
        let last = self.newest(control)?;
        match &self.compiled {
            Some((compiled, timeline)) if *compiled == last => Some(Arc::clone(timeline)),
            _ => {
                let timeline = Arc::new(self.compile(last)?);
                self.compiled = Some((last, Arc::clone(&timeline)));
                Some(timeline)
            }
        }
    }

    /// The version of each key that is in force at an instant, as of a control position.
    pub fn versions_at(&self, control: Control, time: Millis) -> Vec<VersionInForce> {
        let of_key = |key: SettingKey| {
            let found = self.in_force(key, control, Some(time))?;
            let mut versions = self.versions.get(&key)?.iter();
            let place = versions.position(|version| std::ptr::eq(version, found))?;
            Some(VersionInForce {
                key,
                number: place + 1,
                control: found.control,
                since: found.effective_from,
            })
        };
        SettingKey::all().filter_map(of_key).collect()
    }

    fn compile(&self, control: Control) -> Option<Timeline> {
        let services = self.services_as_of(control);
        let first = assemble(None, &services, |key| self.in_force(key, control, None))?;
        let mut intervals = Vec::new();
        for start in self.boundaries(control) {
            let in_force = |key| self.in_force(key, control, Some(start));
            let rules = assemble(Some(start), &services, in_force)?;
            intervals.push((start, Arc::new(rules)));
        }
        Some(Timeline {
            activity: first.activity(),
            services: services.table,
            badges: self.badges_as_of(control),
            provider_names: Arc::new(self.provider_names_as_of(control)),
            seasons: self.seasons_as_of(control),
            first: Arc::new(first),
            intervals,
        })
    }

    /// The number of the newest version of `rules.services` up to a control position; `None`: there
    /// are only the built-in services.
    pub fn services_version(&self, control: Control) -> Option<Control> {
        self.services_up_to(control)
            .last()
            .map(|(number, _)| number)
    }

    /// The services as of a control position. Which there are does not depend on an event's time: a
    /// request that was made before its service was added can be counted after it was.
    pub fn services(&self, control: Control) -> Arc<Services> {
        self.services_as_of(control).table
    }

    fn services_as_of(&self, control: Control) -> ServicesAsOf {
        let mut first: Vec<(Service, Terms)> = Vec::new();
        let mut newest = None;
        for (_, rules) in self.services_up_to(control) {
            for (service, terms) in rules.terms() {
                if !first.iter().any(|(known, _)| *known == service) {
                    first.push((service, *terms));
                }
            }
            newest = Some(rules);
        }
        first.sort_by_key(|(service, _)| *service);
        let table = newest.map_or_else(Services::default, |rules| rules.table());
        ServicesAsOf {
            table: Arc::new(table),
            first,
        }
    }

    fn services_up_to(&self, control: Control) -> impl Iterator<Item = (Control, &ServiceRules)> {
        let versions = self
            .versions
            .get(&SettingKey::Services)
            .into_iter()
            .flatten();
        versions
            .filter(move |version| version.control <= control)
            .filter_map(|version| match &version.setting {
                Setting::Services(rules) => Some((version.control, &**rules)),
                _ => None,
            })
    }

    /// The badges as of a control position, at every time: no event is rated by them, so a version
    /// holds from its publication on.
    fn badges_as_of(&self, control: Control) -> Option<(Control, Arc<Badges>)> {
        let versions = self.versions.get(&SettingKey::Badges)?.iter();
        let seen = versions.filter(|version| version.control <= control);
        seen.filter_map(|version| match &version.setting {
            Setting::Badges(rules) => Some((version.control, Arc::new(rules.badges().clone()))),
            _ => None,
        })
        .next_back()
    }

    /// The versions of `rules.providers` as of a control position, in the order in which they come
    /// into force.
    fn provider_names_as_of(&self, control: Control) -> ProviderTimeline {
        let key = SettingKey::Providers;
        let versions = self.versions.get(&key).into_iter().flatten();
        let mut seen: Vec<&Version> = versions.filter(|v| v.control <= control).collect();
        seen.sort_by_key(|version| (version.effective_from, version.control));
        let names = seen
            .into_iter()
            .filter_map(|version| match &version.setting {
                Setting::Providers(names) => Some((version.effective_from, Arc::clone(names))),
                _ => None,
            });
        ProviderTimeline::new(names.collect())
    }

    /// The seasons as of a control position, by time, also those that are to come: each as the
    /// version has it that is in force when it ends. So one that has ended stays, whatever later
    /// lists say.
    fn seasons_as_of(&self, control: Control) -> Vec<SeasonSpan> {
        let key = SettingKey::Season;
        let versions = self.versions.get(&key).into_iter().flatten();
        let mut spans = Vec::new();
        for version in versions.filter(|version| version.control <= control) {
            let Setting::Seasons(seasons) = &version.setting else {
                continue;
            };
            let is_in_force = |season: &&Season| {
                let in_force = self.in_force(key, control, Some(season.to.0.plus(-1)));
                in_force.is_some_and(|in_force| std::ptr::eq(in_force, version))
            };
            spans.extend(seasons.iter().filter(is_in_force).map(|season| SeasonSpan {
                name: season.name.clone(),
                from: season.from.0,
                to: season.to.0,
            }));
        }
        spans.sort_by_key(|season| season.from);
        spans
    }

    /// Every instant at which something may change.
    fn boundaries(&self, control: Control) -> BTreeSet<Millis> {
        let mut instants = BTreeSet::new();
        let seen = |version: &&Version| version.control <= control;
        let timed = self.versions.iter();
        let timed = timed.filter(|(key, _)| key.decides_amounts());
        for version in timed.flat_map(|(_, versions)| versions).filter(seen) {
            instants.extend(version.effective_from);
            if let Setting::Seasons(seasons) = &version.setting {
                instants.extend(seasons.iter().flat_map(|s| [s.from.0, s.to.0]));
            }
        }
        instants
    }

    /// The version of a key with a number up to `control` that is in force at `time` (`None`:
    /// before every other instant): the one with the greatest beginning, of those the one with the
    /// greatest number.
    fn in_force(
        &self,
        key: SettingKey,
        control: Control,
        time: Option<Millis>,
    ) -> Option<&Version> {
        self.versions
            .get(&key)?
            .iter()
            .filter(|version| version.control <= control && version.effective_from <= time)
            .max_by_key(|version| (version.effective_from, version.control))
    }
}

/// What must hold of a version that is not the first of its key.
fn check_follower(
    key: SettingKey,
    change: &RuleChange,
    setting: &Setting,
    first: &Version,
) -> Result<(), RuleFault> {
    if change.effective_from.is_none() {
        return Err(RuleFault::new(
            key.name(),
            "has no beginning, but is not the first version",
            "an instant from which it is in force",
        ));
    }
    if key == SettingKey::Activity && setting.canonical() != first.setting.canonical() {
        return Err(RuleFault::new(
            key.name(),
            "would change, but streaks that are carried from month to month depend on it",
            format!("its first value for ever: {}", first.setting.canonical()),
        ));
    }
    Ok(())
}

/// Checkpoints name the versions that rated a duplicate window, so their number has a limit.
const SERVICES_VERSIONS_MAX: usize = 1_000;

fn check_services(services: &ServiceRules, before: &[Version]) -> Result<(), RuleFault> {
    let key = SettingKey::Services.name();
    if before.len() >= SERVICES_VERSIONS_MAX {
        return Err(RuleFault::new(
            key,
            format!("has {} versions", before.len()),
            format!("at most {SERVICES_VERSIONS_MAX}"),
        ));
    }
    match before.last().map(Version::setting) {
        Some(Setting::Services(before)) => services.check_follows(before, key),
        _ => Ok(()),
    }
}

fn check_badges(badges: &BadgeRules, before: &[Version]) -> Result<(), RuleFault> {
    match before.last().map(Version::setting) {
        Some(Setting::Badges(before)) => badges.check_follows(before, SettingKey::Badges.name()),
        _ => Ok(()),
    }
}

/// Which version of a key is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionInForce {
    /// The key.
    pub key: SettingKey,
    /// 1, 2, 3, … of this key.
    pub number: usize,
    /// The entry of the control feed that published it.
    pub control: Control,
    /// From when on, in event time; `None`: from the beginning.
    pub since: Option<Millis>,
}

/// The versions up to one control position, by business time.
#[derive(Debug)]
pub struct Timeline {
    activity: Activity,
    services: Arc<Services>,
    badges: Option<(Control, Arc<Badges>)>,
    provider_names: Arc<ProviderTimeline>,
    seasons: Vec<SeasonSpan>,
    /// In force before the first interval.
    first: Arc<Rules>,
    /// From when on, by time; each until the next.
    intervals: Vec<(Millis, Arc<Rules>)>,
}

impl Timeline {
    /// The rules in force at an instant.
    pub fn at(&self, time: Millis) -> &Arc<Rules> {
        // Nearly every event belongs to the newest rules.
        if let Some((start, rules)) = self.intervals.last()
            && *start <= time
        {
            return rules;
        }
        let next = self.intervals.partition_point(|(start, _)| *start <= time);
        next.checked_sub(1)
            .map_or(&self.first, |i| &self.intervals[i].1)
    }

    /// Since when the rules in force at an instant have been in force, whatever changed then;
    /// `None`: from the beginning.
    pub fn since(&self, time: Millis) -> Option<Millis> {
        let next = self.intervals.partition_point(|(start, _)| *start <= time);
        next.checked_sub(1).map(|place| self.intervals[place].0)
    }

    /// The services as of the control position, at every time.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// The badges as of the control position, and the number of the change that brought them;
    /// `None`: there never were any.
    pub fn badges(&self) -> Option<(Control, &Arc<Badges>)> {
        let (control, badges) = self.badges.as_ref()?;
        Some((*control, badges))
    }

    /// The accounts behind gateways' own names that are published as of the control position, at
    /// every time.
    pub const fn provider_names(&self) -> &Arc<ProviderTimeline> {
        &self.provider_names
    }

    /// The seasons of all versions of `rules.season` as of the control position, by time: each as
    /// the version has it that is in force when it ends.
    pub fn seasons(&self) -> &[SeasonSpan] {
        &self.seasons
    }

    /// When a day is active; the same in every version.
    pub fn activity(&self) -> Activity {
        self.activity
    }
}
