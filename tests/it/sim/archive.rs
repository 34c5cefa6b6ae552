//! The archive: a simulated place for its files, and what must hold of them at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::executor::block_on;
use futures::stream::{BoxStream, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tidemark::archive::{ArchiveFile, ArchiveStore, Columns, FileName, Posted};
use tidemark::domain::event::Service;
use tidemark::domain::ids::Account;
use tidemark::domain::posting::{Cascade, Cell, Charge, Deduction, Entry, FirstSuccess, Slot};
use tidemark::domain::time::{Millis, Month};
use tidemark::pipeline::{ArchiveSetup, Settings};
use tidemark::store::audits::coverage::Coverage;
use tidemark::store::referrals::{AwardPolicy, Referrer, SignupRequest, signup};

use super::adapter;
use super::faults::hop;
use super::quiet::Quiet;
use super::workload::{MINUTE, provider, user};
use super::world::World;

/// The files, and whether a file was ever replaced by another.
#[derive(Debug, Default)]
pub struct Files {
    objects: InMemory,
    written: std::sync::Mutex<BTreeMap<String, bytes::Bytes>>,
}

impl Files {
    fn all(&self) -> BTreeMap<String, bytes::Bytes> {
        self.written.lock().unwrap().clone()
    }
}

/// The place as a worker sees it.
struct Place {
    world: World,
    files: Arc<Files>,
}

/// What a worker of this token archives, if there is an archive in the world.
pub fn archiving(world: &World, token: u64) -> Option<ArchiveSetup> {
    let files = world.with(|inner| inner.archive.clone())?;
    let place = Place {
        world: world.clone(),
        files,
    };
    let draw = |choices: [u64; 3], by: u64| choices[(token / by % 3) as usize];
    Some(ArchiveSetup {
        files: ArchiveStore::on(Arc::new(place), "a simulated place"),
        file_rows_max: draw([3, 50, 1_000], 1),
        file_age_max: Duration::from_millis(draw([500, 5_000, 60_000], 3)),
    })
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated place")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated place")
    }
}

fn away() -> object_store::Error {
    object_store::Error::Generic {
        store: "simulated",
        source: "it does not answer".into(),
    }
}

#[async_trait]
impl ObjectStore for Place {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let (there, lost_before, lost_after, back) = self.world.with(|inner| {
            let (before, after) = (inner.faults.throttled, inner.faults.lost_after);
            let (there, back) = (hop(inner), hop(inner));
            (there, inner.chance(before), inner.chance(after), back)
        });
        self.world.sleep(there).await;
        if lost_before {
            return Err(away());
        }
        let bytes = bytes::Bytes::from(payload.clone());
        let put = self.files.objects.put_opts(path, payload, options).await;
        let what = match put {
            Ok(_) => "",
            Err(_) => ", which was there",
        };
        self.world
            .with(|inner| inner.note(|| format!("archive {path} {} bytes{what}", bytes.len())));
        if put.is_ok() {
            let mut written = self.files.written.lock().unwrap();
            let is_again = written.insert(path.to_string(), bytes).is_some();
            // Older ones of coverage are deleted, and a worker that slept may write one again.
            if is_again && path.as_ref().ends_with(".parquet") {
                self.world
                    .with(|inner| inner.fail(format!("{path} was written again")));
            }
        }
        self.world.sleep(back).await;
        match lost_after {
            true => Err(away()),
            false => put,
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let (hop, is_lost) = self.world.with(|inner| {
            let chance = inner.faults.read_failed;
            (hop(inner), inner.chance(chance))
        });
        self.world.sleep(hop).await;
        match is_lost {
            true => Err(away()),
            false => self.files.objects.get_opts(path, options).await,
        }
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.files.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.objects.copy_opts(from, to, options).await
    }
}

/// The files as they are, without faults.
pub fn store(files: &Files) -> ArchiveStore {
    ArchiveStore::on(Arc::new(files.objects.fork()), "memory")
}

/// What is posted to an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    cells: BTreeMap<(Slot, Service), Cell>,
    deductions: BTreeMap<(Slot, Service), Deduction>,
    referral: BTreeMap<Slot, Cascade>,
    charges: BTreeMap<Month, Charge>,
    firsts: Vec<FirstSuccess>,
}

impl Sums {
    fn add(&mut self, posted: Posted) {
        match posted {
            Posted::Cell(slot, service, cell) => {
                self.cells.entry((slot, service)).or_default().add(&cell);
            }
            Posted::Deduction(slot, service, deduction) => {
                let sum = self.deductions.entry((slot, service)).or_default();
                sum.add(&deduction);
            }
            Posted::Referral(slot, cascade) => {
                self.referral.entry(slot).or_default().add(&cascade);
            }
            Posted::Charge(month, charge) => self.charges.entry(month).or_default().add(&charge),
            Posted::First(first) => self.firsts.push(first),
        }
    }

    fn add_entry(&mut self, entry: &Entry) {
        let cells = entry.cells.iter();
        cells.for_each(|(slot, of, cell)| self.add(Posted::Cell(*slot, *of, *cell)));
        let deductions = entry.deductions.by_service.iter();
        deductions.for_each(|(slot, of, less)| self.add(Posted::Deduction(*slot, *of, *less)));
        let referral = entry.referral.iter();
        referral.for_each(|(slot, cascade)| self.add(Posted::Referral(*slot, *cascade)));
        let charges = entry.charges.iter();
        charges.for_each(|(month, charge)| self.add(Posted::Charge(*month, *charge)));
        let firsts = entry.firsts.iter();
        firsts.for_each(|first| self.add(Posted::First(*first)));
    }

    /// Without what adds up to nothing, and in one order.
    fn in_order(mut self) -> Sums {
        self.cells.retain(|_, cell| *cell != Cell::default());
        self.deductions
            .retain(|_, less| *less != Deduction::default());
        self.referral.retain(|_, cascade| !cascade.is_zero());
        self.charges
            .retain(|_, charge| *charge != Charge::default());
        self.firsts
            .sort_by_key(|first| (first.service, first.slot, first.points));
        self
    }
}

type Accounts = BTreeMap<Account, Sums>;

fn in_order(accounts: Accounts) -> Accounts {
    let sums = accounts.into_iter().map(|(of, sums)| (of, sums.in_order()));
    sums.filter(|(_, sums)| *sums != Sums::default()).collect()
}

fn coverages(files: &Files) -> Vec<Coverage> {
    block_on(store(files).coverages()).unwrap()
}

/// What all rows of the archive add up to, by account.
fn of_files(files: &Files) -> Accounts {
    let store = store(files);
    let mut sums = Accounts::new();
    let names: Vec<_> = block_on(store.files(None).try_collect()).unwrap();
    for (folder, name) in names {
        let bytes = block_on(store.get(&name.path_in(folder))).unwrap().unwrap();
        let file = ArchiveFile::open(bytes).unwrap();
        for batch in file.batches(Columns::ALL) {
            let batch = batch.unwrap();
            for row in (0..batch.len()).map(|row| batch.row(row).unwrap()) {
                assert_eq!(tidemark::archive::Folder::of(&row), folder);
                assert!(name.from <= row.offset && row.offset < name.to, "{row:?}");
                assert_eq!((row.epoch, row.partition), (name.epoch, name.source));
                row.posted(|account, posted| {
                    sums.entry(account.to_account()).or_default().add(posted);
                });
            }
        }
    }
    in_order(sums)
}

/// Whether two files hold the same records: a worker died while it wrote one, and then tables were
/// restored. Readers name them.
fn has_overlap(files: &Files) -> bool {
    let names: Vec<_> = block_on(store(files).files(None).try_collect::<Vec<_>>()).unwrap();
    let mut names: Vec<FileName> = names.into_iter().map(|(_, name)| name).collect();
    names.sort_unstable();
    names.dedup();
    names.windows(2).any(|pair| pair[0].overlaps(&pair[1]))
}

/// The archive adds up to what was posted, account by account, unless it has gaps; whether it has
/// none.
pub fn check<'a>(
    files: &Files,
    entries: impl Iterator<Item = (&'a Account, &'a Entry)>,
) -> std::result::Result<bool, String> {
    let covered = coverages(files);
    // What of an epoch that has ended was not archived, nobody knows.
    let epochs: BTreeSet<u32> = covered.iter().map(|coverage| coverage.epoch.0).collect();
    if epochs.len() > 1
        || covered
            .iter()
            .any(|coverage| !coverage.gaps.is_empty() || coverage.from.0 > 0)
    {
        return Ok(false);
    }
    if has_overlap(files) {
        return Ok(false);
    }
    let mut must = Accounts::new();
    for (account, entry) in entries {
        must.entry(account.clone()).or_default().add_entry(entry);
    }
    let (is, must) = (of_files(files), in_order(must));
    for account in is.keys().chain(must.keys()) {
        if is.get(account) != must.get(account) {
            return Err(format!(
                "the archive says of {account}\n  {:?}\nposted is\n  {:?}\ncovered is {covered:?}",
                is.get(account),
                must.get(account)
            ));
        }
    }
    Ok(true)
}

fn archiving_quiet() -> (Quiet, Arc<Files>) {
    let quiet = Quiet::new(1, 2);
    let files = Arc::new(Files::default());
    quiet
        .world
        .with(|inner| inner.archive = Some(files.clone()));
    (quiet, files)
}

fn rate_some(quiet: &mut Quiet, round: &str) {
    for n in 0..5 {
        quiet.chat(&format!("{round}-{n}"), user(n).id());
        quiet.pass(1_000);
    }
    quiet.pass(MINUTE / 2);
}

fn covered(files: &Files) -> Coverage {
    let mut all = coverages(files);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn rows(files: &Files) -> u64 {
    let rows = |bytes: &bytes::Bytes| ArchiveFile::open(bytes.clone()).unwrap().rows();
    let all = files.all();
    let of_rows = all.iter().filter(|(path, _)| path.ends_with(".parquet"));
    of_rows.map(|(_, bytes)| rows(bytes)).sum()
}

#[test]
fn every_accepted_request_is_in_the_archive_once() {
    let (mut quiet, files) = archiving_quiet();
    quiet.start_worker(Settings::default());
    quiet.start_auditors(Settings::default());
    for round in ["first", "second", "third"] {
        rate_some(&mut quiet, round);
        // Sent again, it is a duplicate.
        let sent = quiet.last_sent().unwrap();
        quiet.append(user(4).id(), sent);
    }
    quiet.pass(2 * MINUTE);
    assert_eq!(rows(&files), 15);
    let coverage = covered(&files);
    assert_eq!((coverage.rows, coverage.gaps.len()), (15, 0));
    assert_eq!(coverage.from.0, 0);
}

/// A user may be referred by a provider, who may be referred by a user.
#[test]
fn referrers_keep_their_kind() {
    let (mut quiet, files) = archiving_quiet();
    // Of these only the first makes requests.
    let chain = [user(0), provider(1), user(9), provider(3)];
    for (place, pair) in chain.windows(2).enumerate().rev() {
        let request = SignupRequest {
            referrer: Referrer::Account(pair[1].clone()),
            referee: pair[0].clone(),
            now: Millis(quiet.world.now()),
            token: format!("signup-{place}"),
            awards: AwardPolicy::Elsewhere,
            by: None,
        };
        let db = quiet.db();
        quiet.finish(async move {
            signup(&db, &request, 2).await.unwrap();
        });
    }
    quiet.start_worker(Settings::default());
    quiet.start_auditors(Settings::default());
    rate_some(&mut quiet, "first");
    quiet.pass(2 * MINUTE);
    let archived = of_files(&files);
    let referral = |account: &Account| {
        let sums = archived.get(account)?;
        let slots: Vec<_> = sums.referral.values().collect();
        assert!(slots.len() <= 1, "{sums:?}");
        slots
            .first()
            .map(|cascade| cascade.0.map(|points| points.0))
    };
    // The user gets 0.3 points for the request; of these 20 %, 10 % and 5 %.
    assert_eq!(referral(&provider(1)), Some([60_000, 0, 0]));
    assert_eq!(referral(&user(9)), Some([0, 30_000, 0]));
    assert_eq!(referral(&provider(3)), Some([0, 0, 15_000]));
    for other in [user(1), provider(9), user(3)] {
        assert_eq!(referral(&other), None, "{other} referred no account");
    }
}

#[test]
fn a_killed_auditor_writes_the_same_files_again() {
    let (mut quiet, files) = archiving_quiet();
    quiet.start_worker(Settings::default());
    for round in 0..6 {
        quiet.start_auditors(Settings::default());
        rate_some(&mut quiet, &format!("round-{round}"));
        quiet.kill_worker();
    }
    quiet.start_auditors(Settings::default());
    quiet.pass(3 * MINUTE);
    // The simulated place fails the run if a file is replaced by another.
    assert!(quiet.world.with(|inner| inner.failure.is_none()));
    assert_eq!(rows(&files), 30);
    assert_eq!(covered(&files).rows, 30);
}

#[test]
fn a_chunk_that_cannot_be_rated_again_is_a_gap() {
    let (mut quiet, files) = archiving_quiet();
    quiet.start_worker(Settings::default());
    rate_some(&mut quiet, "first");
    rate_some(&mut quiet, "second");
    let half = quiet.world.with(|inner| {
        let log = inner.logs.get_mut(&1).unwrap();
        let (topic, p) = (tidemark::log::Topic::UsageEvents, 0);
        let half = log
            .of(topic, tidemark::domain::position::Partition(p))
            .len() as u64
            / 2;
        log.starts.insert((topic, p), half);
        half
    });
    quiet.start_auditors(Settings::default());
    rate_some(&mut quiet, "third");
    quiet.pass(3 * MINUTE);
    let coverage = covered(&files);
    let [gap, ..] = &coverage.gaps[..] else {
        panic!("a gap: {coverage:?}");
    };
    assert_eq!(gap.reason, "events_expired");
    assert!(gap.from.0 < half && gap.to <= coverage.to, "{coverage:?}");
    assert!(gap.log_time_from <= gap.log_time_to, "{coverage:?}");
    assert!(rows(&files) >= 5);
    assert_eq!(rows(&files), coverage.rows);
}

#[test]
fn the_files_know_better_than_restored_tables_what_is_archived() {
    let (mut quiet, files) = archiving_quiet();
    quiet.start_worker(Settings::default());
    quiet.start_auditors(Settings::default());
    rate_some(&mut quiet, "first");
    let key = |quiet: &Quiet| quiet.world.with(|inner| adapter::audit_item(&inner.db, 0));
    let (older_key, older) = key(&quiet).expect("it audits");
    rate_some(&mut quiet, "second");
    quiet.pass(3 * MINUTE);
    let before = files.all();
    assert_eq!(rows(&files), 10);
    quiet.kill_worker();
    quiet
        .world
        .with(|inner| inner.db.items.insert(older_key, older));
    quiet.start_auditors(Settings::default());
    quiet.pass(3 * MINUTE);
    assert_eq!(rows(&files), 10, "no row is there twice");
    let names = |files: &BTreeMap<String, bytes::Bytes>| -> Vec<String> {
        let of_rows = files.keys().filter(|path| path.ends_with(".parquet"));
        of_rows.cloned().collect()
    };
    assert_eq!(names(&files.all()), names(&before));
}
