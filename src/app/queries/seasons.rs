//! Seasons: which there are, and the leaderboards of those that have ended, from the archive.
//!
//! A season's leaderboard counts the points of requests that were made in it, and referrers' shares
//! of them, reversals taken back. Streaks, quality, first uses and awards are not in it: they
//! belong to days and months. What is received more than 72 hours after the end does not count, as
//! for months, so that the result is the same whoever computes it and when.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_64;

use super::replay::{ArchivePath, OverlappingFiles, StoredArchive, check_overlap};
use super::{Queries, QueryError, as_text};
use crate::archive::{ArchiveError, ArchiveFile, ArchivedRequest, Column, Columns};
use crate::domain::amount::Points;
use crate::domain::event::AHEAD_MS_MAX;
use crate::domain::ids::AccountRef;
use crate::domain::rules::SeasonSpan;
use crate::domain::time::{MINUTE_MS, MONTH_OPEN_MS, Millis, Month};
use crate::store::audits::coverage::{Coverage, Gap};
use crate::store::{layout, seasons};

/// Places of a season's leaderboards.
const PLACES: usize = 100;
/// Accounts that are summed up in one pass over the archive; beyond it there are several.
const ACCOUNTS_MAX: usize = 2_000_000;
/// Most passes.
const PASSES_MAX: u64 = 1_024;

/// What is read of the archive.
const READ: Columns = Columns::of(&[
    Column::offset,
    Column::user,
    Column::provider,
    Column::time,
    Column::log_time,
    Column::user_points,
    Column::provider_points,
    Column::user_referrer_1,
    Column::user_referrer_1_kind,
    Column::user_referrer_2,
    Column::user_referrer_2_kind,
    Column::user_referrer_3,
    Column::user_referrer_3_kind,
    Column::user_referral_1,
    Column::user_referral_2,
    Column::user_referral_3,
    Column::provider_referrer_1,
    Column::provider_referrer_1_kind,
    Column::provider_referrer_2,
    Column::provider_referrer_2_kind,
    Column::provider_referrer_3,
    Column::provider_referrer_3_kind,
    Column::provider_referral_1,
    Column::provider_referral_2,
    Column::provider_referral_3,
]);

/// A place on the leaderboard of a season.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeasonPlace {
    /// From 1.
    pub rank: u64,
    /// Who.
    pub id: String,
    /// Points.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub points: Points,
}

/// The leaderboards of a season that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeasonBoards {
    /// The season.
    pub name: String,
    /// Its first instant.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub from: Millis,
    /// The first instant after it.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub to: Millis,
    /// How many requests, completions and reversals count.
    pub rows: u64,
    /// The best users.
    pub users: Vec<SeasonPlace>,
    /// The best providers.
    pub providers: Vec<SeasonPlace>,
}

/// Why a season has no leaderboards.
#[derive(Debug, thiserror::Error)]
pub enum SeasonError {
    /// There is no such season.
    #[error("rules.season has no season \"{0}\"; `tidemark season list` lists the seasons")]
    Unknown(String),
    /// The archive does not hold all of it yet.
    #[error(
        "the season cannot be frozen yet: what was received until {until} counts, and the archive of \
         source partition {source_partition} {}; try again later",
        .covered.map_or("has no file yet".to_owned(), |covered| format!("has come to {covered}"))
    )]
    NotYet {
        /// Until when what is received counts.
        until: Millis,
        /// The partition that is behind.
        source_partition: u32,
        /// Up to where it is archived; `None`: it is not at all yet.
        covered: Option<Millis>,
    },
    /// The archive began too late.
    #[error(
        "the archive does not hold the whole season: that of source partition {source_partition} begins \
         at {begins}{}, and must begin before {needed}, because requests may be dated up to {} minutes \
         ahead; the season's leaderboards cannot be frozen",
        if *.in_later_epoch { " with an epoch after the first" } else { "" },
        AHEAD_MS_MAX / MINUTE_MS
    )]
    BeganLate {
        /// The partition.
        source_partition: u32,
        /// When its archive begins.
        begins: Millis,
        /// Before when it must begin.
        needed: Millis,
        /// Whether it begins with its epoch, and there were earlier ones.
        in_later_epoch: bool,
    },
    /// Something of it is missing.
    #[error(
        "the archive lacks requests of the season ({0}); its leaderboards cannot be frozen unless the \
         archive is completed (docs/archive.md)"
    )]
    Gap(String),
    /// Two files hold the same records.
    #[error("{0}; `tidemark verify` checks the whole archive")]
    Overlap(#[from] OverlappingFiles),
    /// Files are missing, or hold other rows than they should.
    #[error(
        "the archive should hold {expected} rows of {month}, but its files hold {found}: files are missing, or \
         do not belong to it. Nothing was frozen; run `tidemark verify`, restore the files \
         (docs/archive.md), then try again"
    )]
    RowsMissing {
        /// The month in which they are booked.
        month: Month,
        /// According to its coverage.
        expected: u64,
        /// In its files.
        found: u64,
    },
    /// The archive does not answer, or a file cannot be understood.
    #[error("{what}: {error}; nothing was frozen, so repeat this when the archive can be read")]
    Archive {
        /// What was read.
        what: String,
        /// Why it failed.
        error: String,
    },
    /// There are too many accounts.
    #[error("there are too many accounts in the season to be summed up")]
    TooMany,
    /// The store.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl SeasonError {
    /// Stable: scripts compare it. `None`: the tables failed, or cannot be understood.
    pub const fn code(&self) -> Option<&'static str> {
        Some(match self {
            SeasonError::Unknown(_) => "unknown_season",
            SeasonError::NotYet { .. } => "season_not_archived_yet",
            SeasonError::BeganLate { .. } => "season_archived_late",
            SeasonError::Gap(_) => "season_archive_gap",
            SeasonError::Overlap(_) => "season_archive_overlaps",
            SeasonError::RowsMissing { .. } => "season_archive_rows_missing",
            SeasonError::Archive { .. } => "season_archive_unreadable",
            SeasonError::TooMany => "season_too_many_accounts",
            SeasonError::Query(_) => return None,
        })
    }
}

/// What received later does not count.
fn closes(season: &SeasonSpan) -> Millis {
    season.to.plus(MONTH_OPEN_MS)
}

/// Whether the archive holds everything of a season. `sources`: how many source partitions there
/// are in the present epoch, `is_first` whether it is the first one.
fn check_coverage(
    coverages: &[Coverage],
    season: &SeasonSpan,
    sources: u32,
    is_first: bool,
) -> Result<(), SeasonError> {
    let until = closes(season);
    let begins = season.from.plus(-AHEAD_MS_MAX);
    for source in 0..sources {
        let found = coverages
            .iter()
            .find(|coverage| coverage.source.0 == source);
        let covered = found.filter(|coverage| coverage.chunk.is_some());
        let covered = covered.map(|coverage| coverage.log_time);
        let Some(coverage) = found.filter(|coverage| coverage.log_time > until) else {
            return Err(SeasonError::NotYet {
                until,
                source_partition: source,
                covered,
            });
        };
        let is_whole = coverage.is_from_start && is_first || coverage.log_time_from < begins;
        if !is_whole {
            return Err(SeasonError::BeganLate {
                source_partition: source,
                begins: coverage.log_time_from,
                needed: begins,
                in_later_epoch: coverage.is_from_start,
            });
        }
        let mut gaps = coverage.gaps.iter();
        let gap = gaps.find(|gap| gap.log_time_to >= begins && gap.log_time_from <= until);
        if let Some(gap) = gap {
            return Err(SeasonError::Gap(gap.reason.clone()));
        }
    }
    Ok(())
}

impl Queries {
    /// The season of a name; of several, which versions of the rules before this one allowed, the
    /// last.
    pub async fn season_named(&self, name: &str) -> Result<SeasonSpan, SeasonError> {
        let rules = self.rules().await.map_err(QueryError::from)?;
        let seasons = rules.as_ref().map_or(&[][..], |rules| rules.seasons());
        let found = seasons.iter().rfind(|season| season.name == name);
        found
            .cloned()
            .ok_or_else(|| SeasonError::Unknown(name.to_owned()))
    }

    /// Every season that there was, is, or is to come, by time.
    pub async fn seasons(&self) -> Result<Vec<SeasonSpan>, QueryError> {
        let rules = self.rules().await?;
        Ok(rules.map_or_else(Vec::new, |rules| rules.seasons().to_vec()))
    }

    /// The coverages that hold everything of a season, of those of an archive.
    pub async fn season_coverages(
        &self,
        season: &SeasonSpan,
        mut coverages: Vec<Coverage>,
    ) -> Result<Vec<Coverage>, SeasonError> {
        let layouts = layout::all(self.db()).await.map_err(QueryError::from)?;
        let (sources, is_first) = match layouts.last() {
            Some(present) => {
                coverages.retain(|coverage| coverage.epoch == present.epoch);
                (present.source, layouts.len() == 1)
            }
            None => {
                coverages.clear();
                (1, true)
            }
        };
        check_coverage(&coverages, season, sources, is_first)?;
        Ok(coverages)
    }

    /// The leaderboards of a season, if they were frozen.
    pub async fn frozen_season(&self, name: &str) -> Result<Option<SeasonBoards>, QueryError> {
        let Some(text) = seasons::frozen(self.db(), name).await? else {
            return Ok(None);
        };
        let broken =
            |error: serde_json::Error| QueryError::Store(seasons::unreadable(name, &error));
        serde_json::from_str(&text).map(Some).map_err(broken)
    }

    /// The names of all seasons that were frozen.
    pub async fn frozen_seasons(&self) -> Result<BTreeSet<String>, QueryError> {
        Ok(seasons::names(self.db()).await?)
    }
}

/// The leaderboards of a season, from the files of these coverages. Blocks, for as long as it takes
/// to read the archive.
///
/// What is frozen stays for good, so files that overlap and rows that are missing are refused.
pub fn season_boards(
    archive: &StoredArchive,
    season: &SeasonSpan,
    coverages: &[Coverage],
) -> Result<SeasonBoards, SeasonError> {
    let mut files = Vec::new();
    for month in (season.from.month().0..=closes(season).month().0).map(Month) {
        let mut found = archive.files(month).map_err(|error| SeasonError::Archive {
            what: archive.place(),
            error: error.to_string(),
        })?;
        // Others are being written, or are of an epoch that ended before the season.
        found.retain(|path| coverage_of(path, coverages).is_some());
        check_overlap(&found)?;
        files.push((month, found));
    }
    let mut passes = 1;
    while passes <= PASSES_MAX {
        if let Some(boards) = in_parts(archive, season, &files, coverages, passes)? {
            return Ok(boards);
        }
        passes *= 2;
    }
    Err(SeasonError::TooMany)
}

/// The coverage that a file belongs to, if it is covered.
fn coverage_of<'c>(path: &ArchivePath, coverages: &'c [Coverage]) -> Option<&'c Coverage> {
    let mut coverages = coverages.iter();
    coverages.find(|coverage| path.name.is_covered_by(coverage))
}

/// Refuses a month of which there are not as many rows as there should be.
fn check_rows(month: Month, found: u64, coverages: &[Coverage]) -> Result<(), SeasonError> {
    let of_month = |coverage: &Coverage| coverage.rows_of_month.get(&month).copied();
    let expected: u64 = coverages.iter().filter_map(of_month).sum();
    match found == expected {
        true => Ok(()),
        false => Err(SeasonError::RowsMissing {
            month,
            expected,
            found,
        }),
    }
}

/// `None`: the accounts of a part are too many.
fn in_parts(
    archive: &StoredArchive,
    season: &SeasonSpan,
    files: &[(Month, Vec<ArchivePath>)],
    coverages: &[Coverage],
    passes: u64,
) -> Result<Option<SeasonBoards>, SeasonError> {
    let mut best: [Vec<(Points, String)>; 2] = [Vec::new(), Vec::new()];
    let mut rows = 0;
    for part in 0..passes {
        let mut sums = Sums {
            season,
            part,
            passes,
            rows: 0,
            accounts: [HashMap::new(), HashMap::new()],
        };
        for (month, files) in files {
            let mut found = 0;
            for path in files {
                let coverage = coverage_of(path, coverages);
                found += sums.add_file(archive, path, coverage.map_or(&[][..], |of| &of.gaps))?;
                if sums.accounts.iter().map(HashMap::len).sum::<usize>() > ACCOUNTS_MAX {
                    return Ok(None);
                }
            }
            check_rows(*month, found, coverages)?;
        }
        // Each pass sees every row.
        rows = sums.rows;
        for (best, accounts) in best.iter_mut().zip(sums.accounts) {
            best.extend(accounts.into_iter().map(|(id, points)| (points, id)));
            best.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            best.truncate(PLACES);
        }
    }
    let places = |best: Vec<(Points, String)>| {
        let place = |(rank, (points, id))| SeasonPlace { rank, id, points };
        (1..).zip(best).map(place).collect()
    };
    let [users, providers] = best;
    Ok(Some(SeasonBoards {
        name: season.name.clone(),
        from: season.from,
        to: season.to,
        rows,
        users: places(users),
        providers: places(providers),
    }))
}

/// What accounts of a part have.
struct Sums<'s> {
    season: &'s SeasonSpan,
    part: u64,
    passes: u64,
    rows: u64,
    accounts: [HashMap<String, Points>; 2],
}

impl Sums<'_> {
    /// How many rows a file has, without those of gaps, which count as missing whatever files hold.
    fn add_file(
        &mut self,
        archive: &StoredArchive,
        path: &ArchivePath,
        gaps: &[Gap],
    ) -> Result<u64, SeasonError> {
        let failed = |error: String| SeasonError::Archive {
            what: path.to_string(),
            error,
        };
        let broken = |error: ArchiveError| failed(error.to_string());
        let bytes = archive
            .read(path)
            .map_err(|error| failed(error.to_string()))?;
        let file = ArchiveFile::open_at(path.folder, path.name, bytes).map_err(broken)?;
        let mut rows = 0;
        for batch in file.batches(READ) {
            let batch = batch.map_err(broken)?;
            for place in 0..batch.len() {
                let row = batch.row(place).map_err(broken)?;
                if !gaps.iter().any(|gap| gap.has(row.offset)) {
                    rows += 1;
                    self.add(&row);
                }
            }
        }
        Ok(rows)
    }

    fn add(&mut self, row: &ArchivedRequest<'_>) {
        let is_in = self.season.from <= row.time && row.time < self.season.to;
        if !is_in || row.log_time > closes(self.season) {
            return;
        }
        self.rows += 1;
        self.credit(AccountRef::user(row.user), row.user_points);
        if let Some(provider) = row.provider {
            self.credit(AccountRef::provider(provider), row.provider_points);
        }
        let referrals = row.user_referrals().into_iter();
        for (referrer, points) in referrals.chain(row.provider_referrals()) {
            if let Some(referrer) = referrer {
                self.credit(referrer, points);
            }
        }
    }

    fn credit(&mut self, AccountRef { kind, id }: AccountRef<'_>, points: Points) {
        if points == Points::ZERO || xxh3_64(id.as_bytes()) % self.passes != self.part {
            return;
        }
        let accounts = &mut self.accounts[kind as usize];
        match accounts.get_mut(id) {
            Some(sum) => *sum = sum.plus(points),
            None => {
                accounts.insert(id.to_owned(), points);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AHEAD_MS_MAX, SeasonError, SeasonSpan, check_coverage, closes};
    use crate::domain::position::{Epoch, Offset, Partition};
    use crate::domain::time::{DAY_MS, Millis};
    use crate::store::audits::coverage::{Coverage, Gap};

    const FROM: Millis = Millis(1_795_000_000_000);

    fn season() -> SeasonSpan {
        SeasonSpan {
            name: "s".to_owned(),
            from: FROM,
            to: FROM.plus(DAY_MS),
        }
    }

    /// The archive of a source partition, which holds everything between two instants.
    fn covered(source: u32, from: Millis, to: Millis) -> Coverage {
        Coverage {
            log_time_from: from,
            log_time: to,
            ..Coverage::beginning("t", Epoch(0), Partition(source), Offset(0))
        }
    }

    fn gap(from: Millis, to: Millis) -> Gap {
        Gap {
            from: Offset(3),
            to: Offset(5),
            reason: "lost".to_owned(),
            log_time_from: from,
            log_time_to: to,
        }
    }

    /// The code, and of what it says that it is about; or that nothing was refused.
    fn refusal(coverages: &[Coverage], sources: u32, is_first: bool) -> String {
        let Err(error) = check_coverage(coverages, &season(), sources, is_first) else {
            return "whole".to_owned();
        };
        let (code, text) = (error.code().expect("a code"), error.to_string());
        match error {
            SeasonError::NotYet {
                source_partition, ..
            } => {
                // No archive has come to 1970.
                assert!(text.contains("has no file yet"), "{text}");
                format!("{code} {source_partition}")
            }
            SeasonError::BeganLate {
                source_partition,
                begins,
                needed,
                in_later_epoch,
            } => {
                assert!(begins >= needed, "{begins} is early enough");
                let why = format!(
                    ", and must begin before {needed}, because requests may be dated up to 5 minutes ahead"
                );
                assert!(
                    text.contains(&format!("begins at {begins}")) && text.contains(&why),
                    "{text}"
                );
                let epoch = if in_later_epoch { " later epoch" } else { "" };
                format!("{code} {source_partition}{epoch}")
            }
            SeasonError::Gap(reason) => format!("{code} {reason}"),
            error => panic!("{error}"),
        }
    }

    #[test]
    fn a_season_is_frozen_only_from_an_archive_that_holds_all_of_it() {
        // Events may be dated a little ahead, and count for 72 hours after the end.
        let (begins, until) = (FROM.plus(-AHEAD_MS_MAX), closes(&season()));
        let (before, after) = (begins.plus(-1), until.plus(1));
        let whole = |source| covered(source, before, after);
        let with = |gap: Gap| Coverage {
            gaps: vec![gap],
            ..whole(0)
        };
        let from_start = |from| Coverage {
            is_from_start: true,
            ..covered(0, from, after)
        };
        for (what, coverages, sources, is_first, expected) in [
            ("all of it", vec![whole(0)], 1, true, "whole"),
            (
                "both partitions",
                vec![whole(1), whole(0)],
                2,
                true,
                "whole",
            ),
            ("nothing", vec![], 1, true, "season_not_archived_yet 0"),
            (
                "one of two",
                vec![whole(0)],
                2,
                true,
                "season_not_archived_yet 1",
            ),
            (
                "up to the end, but not past it",
                vec![covered(0, before, until)],
                1,
                true,
                "season_not_archived_yet 0",
            ),
            (
                "from its beginning, but not before it",
                vec![covered(0, begins, after)],
                1,
                true,
                "season_archived_late 0",
            ),
            (
                "from less than five minutes before its beginning",
                vec![covered(0, FROM.plus(-1), after)],
                1,
                true,
                "season_archived_late 0",
            ),
            (
                "from the first record of the first epoch",
                vec![from_start(FROM.plus(1))],
                1,
                true,
                "whole",
            ),
            (
                "from the first record of a later epoch",
                vec![from_start(FROM.plus(1))],
                1,
                false,
                "season_archived_late 0 later epoch",
            ),
            (
                "a gap within",
                vec![with(gap(FROM, FROM.plus(1)))],
                1,
                true,
                "season_archive_gap lost",
            ),
            (
                "a gap that ends as it begins",
                vec![with(gap(Millis(0), begins))],
                1,
                true,
                "season_archive_gap lost",
            ),
            (
                "a gap before",
                vec![with(gap(Millis(0), begins.plus(-1)))],
                1,
                true,
                "whole",
            ),
            (
                "a gap that begins as it closes",
                vec![with(gap(until, after))],
                1,
                true,
                "season_archive_gap lost",
            ),
            (
                "a gap after",
                vec![with(gap(after, after))],
                1,
                true,
                "whole",
            ),
        ] {
            assert_eq!(refusal(&coverages, sources, is_first), expected, "{what}");
        }
    }
}
