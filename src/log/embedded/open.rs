//! Opening a log: what is there, whether it is whole, and what is new.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fjall::config::{BlockSizePolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions};

use super::Options;
use super::clockwork::AppendClock;
use super::ends::{Ends, EndsFile};
use super::guard::{DiskOf, Guard};
use super::journal::{self, Tail};
use super::meta::{Meta, TopicMeta};
use super::partition::{PartitionLog, is_damage, stored_end};
use super::report::{CutJournal, OpenError, OpenReport, PartitionReport};
use super::shared::{Shared, TopicLog, empty_ends, keyspace_name};
use crate::domain::position::{Epoch, Offset, Partition};
use crate::log::topics::TopicSpec;
use crate::log::{Bounds, Topic};
use crate::ops::clock::Clock;

/// Of each partition, in memory until it is written as a table.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Of all journals, on disk until their records are in tables; bounds what a restart reads again.
const JOURNAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What is read at once; records are read in sequence.
const BLOCK_BYTES: u32 = 32 * 1024;
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// A process that just ended may hold its lock for another moment.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Opens or creates the log in `dir`.
pub(super) fn open(
    dir: &Path,
    specs: &[TopicSpec],
    clock: Arc<dyn Clock>,
    options: Options,
) -> Result<(Shared, OpenReport), OpenError> {
    let epoch = options.epoch;
    let opening = Opening { dir };
    std::fs::create_dir_all(dir).map_err(opening.io("creating the directory"))?;
    let lock = opening.lock()?;
    let (meta, noted) = opening.known(specs, epoch)?;
    let created = meta.is_none();
    let (db, cut) = opening.database()?;
    if created && db.keyspace_count() > 0 {
        return Err(opening.damaged(
            "log.json and the file 'acknowledged' are missing, although there are partitions",
        ));
    }
    let (meta, ends) = opening.write_meta(meta, noted, specs, epoch)?;
    let found = opening.find(
        specs,
        &Engine {
            db: &db,
            meta: &meta,
            ends: ends.ends(),
            look_for_holes: opening.kept().exists(),
        },
    )?;
    let logs = found.topics.values().flat_map(|log| &log.partitions);
    let newest = logs.filter_map(PartitionLog::newest).max();
    let now = clock.now();
    let clock = AppendClock::new(clock, dir, options.clock_confirmed_until, newest);
    let disk = options
        .disk
        .unwrap_or_else(|| Arc::new(DiskOf(dir.to_owned())));
    let shared = Shared {
        epoch: meta.epoch,
        guard: Guard::new(clock, disk),
        dir: dir.to_owned(),
        topics: found.topics,
        ends: Mutex::new(ends),
        failure: OnceLock::new(),
        db,
        _lock: lock,
    };
    let report = OpenReport {
        created,
        epoch: meta.epoch,
        cut,
        partitions: found.reports,
        newest_behind_clock_ms: newest.map(|newest| now.0.saturating_sub(newest.0)),
    };
    Ok((shared, report))
}

struct Opening<'a> {
    dir: &'a Path,
}

impl Opening<'_> {
    fn io(&self, what: &'static str) -> impl Fn(io::Error) -> OpenError {
        let dir = self.dir.to_owned();
        move |error| OpenError::Io {
            dir: dir.clone(),
            what,
            error,
        }
    }

    fn damaged(&self, what: impl Into<String>) -> OpenError {
        OpenError::Damaged {
            dir: self.dir.to_owned(),
            what: what.into(),
        }
    }

    /// Where copies of damaged journals are kept.
    fn kept(&self) -> PathBuf {
        self.dir.join("damaged")
    }

    /// Takes the directory for this process.
    fn lock(&self) -> Result<File, OpenError> {
        let file = File::create(self.dir.join("lock")).map_err(self.io("creating the lock"))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(self.io("locking it")(error));
                }
            }
        }
        Err(OpenError::Locked {
            dir: self.dir.to_owned(),
        })
    }

    /// What the log says of itself, checked against what is wanted; nothing of either if there is
    /// none yet.
    fn known(
        &self,
        specs: &[TopicSpec],
        epoch: Epoch,
    ) -> Result<(Option<Meta>, Option<EndsFile>), OpenError> {
        let meta = Meta::load(self.dir).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => self.damaged(format!("log.json is unreadable: {e}")),
            _ => self.io("reading log.json")(e),
        })?;
        let noted = self.noted()?;
        let Some(meta) = meta else {
            let wrote =
                noted.is_some_and(|file| file.ends().values().flatten().any(|(_, end)| *end > 0));
            return if wrote {
                Err(self.damaged("log.json is missing, although records were acknowledged"))
            } else {
                Ok((None, None))
            };
        };
        let noted = noted.ok_or_else(|| {
            self.damaged("the file 'acknowledged' is missing or unreadable; without it, it is unknown whether the log is complete")
        })?;
        self.check(&meta, specs, epoch)?;
        Ok((Some(meta), Some(noted)))
    }

    fn noted(&self) -> Result<Option<EndsFile>, OpenError> {
        match EndsFile::open(self.dir) {
            Ok(file) => Ok(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.io("reading the acknowledged ends")(e)),
        }
    }

    fn check(&self, meta: &Meta, specs: &[TopicSpec], epoch: Epoch) -> Result<(), OpenError> {
        if meta.layout != Meta::LAYOUT {
            let what = format!(
                "its layout is {}, but this build reads {}",
                meta.layout,
                Meta::LAYOUT
            );
            return Err(self.damaged(what));
        }
        if meta.epoch != epoch {
            return Err(OpenError::Epoch {
                found: meta.epoch,
                wanted: epoch,
                dir: self.dir.to_owned(),
            });
        }
        for spec in specs {
            let found = meta
                .topics
                .get(spec.topic.name())
                .map(|topic| topic.partitions);
            if let Some(found) = found.filter(|found| *found != spec.partitions) {
                return Err(OpenError::Partitions {
                    topic: spec.topic,
                    found,
                    wanted: spec.partitions,
                    dir: self.dir.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Opens the engine, after a look at what it will cut.
    fn database(&self) -> Result<(Database, Vec<CutJournal>), OpenError> {
        let path = self.dir.join("db");
        let tails = journal::examine(&path).map_err(self.io("reading the journals"))?;
        let cut = tails
            .iter()
            .map(|tail| self.keep(tail))
            .collect::<Result<_, _>>()?;
        let db = match self.try_database(&path) {
            // The engine cuts some tails by itself, and refuses others.
            Err(fjall::Error::JournalRecovery(_)) if !tails.is_empty() => {
                for tail in &tails {
                    tail.cut().map_err(self.io("cutting a journal"))?;
                }
                self.try_database(&path)
            }
            other => other,
        };
        db.map(|db| (db, cut))
            .map_err(|error| self.engine_error(error))
    }

    /// What is reported of a tail; a damaged journal is copied before it is cut.
    fn keep(&self, tail: &Tail) -> Result<CutJournal, OpenError> {
        let copy = tail.is_damage.then(|| tail.keep(&self.kept()));
        let kept = copy
            .transpose()
            .map_err(self.io("copying a damaged journal"))?;
        Ok(CutJournal {
            file: tail.file.clone(),
            bytes: tail.bytes,
            kept,
        })
    }

    /// The engine asserts some things about its files, so a panic is one more way of being damaged.
    fn try_database(&self, path: &Path) -> fjall::Result<Database> {
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Database::builder(path)
                .cache_size(CACHE_BYTES)
                .max_journaling_size(JOURNAL_BYTES_MAX)
                .journal_compression(CompressionType::None)
                .open()
        }));
        opened.unwrap_or(Err(fjall::Error::Unrecoverable))
    }

    fn engine_error(&self, error: fjall::Error) -> OpenError {
        match error {
            fjall::Error::Locked => OpenError::Locked {
                dir: self.dir.to_owned(),
            },
            fjall::Error::Io(e) if !is_damage(&fjall::Error::Io(e.kind().into())) => {
                self.io("opening the storage engine")(e)
            }
            other => self.damaged(format!("the storage engine does not open: {other}")),
        }
    }

    /// Writes down what is new: the whole log, or topics that were added.
    fn write_meta(
        &self,
        meta: Option<Meta>,
        noted: Option<EndsFile>,
        specs: &[TopicSpec],
        epoch: Epoch,
    ) -> Result<(Meta, EndsFile), OpenError> {
        let mut meta = meta.unwrap_or_else(|| Meta {
            layout: Meta::LAYOUT,
            epoch,
            topics: BTreeMap::new(),
        });
        let is_new = |spec: &&TopicSpec| !meta.topics.contains_key(spec.topic.name());
        let added: Vec<&TopicSpec> = specs.iter().filter(is_new).collect();
        if let Some(noted) = noted.as_ref() {
            self.check_noted(&meta, noted)?;
        }
        let mut ends = match noted {
            Some(noted) if added.is_empty() => return Ok((meta, noted)),
            Some(noted) => noted.ends().clone(),
            None => Ends::new(),
        };
        // The ends first: a topic that has ends and no description was never written to.
        ends.extend(empty_ends(
            added.iter().map(|spec| (spec.topic, spec.partitions)),
        ));
        let noted =
            EndsFile::create(self.dir, ends).map_err(self.io("writing the acknowledged ends"))?;
        let drawn = added.iter().map(|spec| {
            (
                spec.topic.name().to_owned(),
                TopicMeta::draw(spec.partitions),
            )
        });
        meta.topics.extend(drawn);
        meta.store(self.dir).map_err(self.io("writing log.json"))?;
        Ok((meta, noted))
    }

    /// Fails unless every partition that is described has an end.
    fn check_noted(&self, meta: &Meta, noted: &EndsFile) -> Result<(), OpenError> {
        let complete = meta.topics.iter().all(|(name, topic)| {
            let ends = noted.ends().get(name);
            ends.is_some_and(|ends| ends.len() == topic.partitions as usize)
        });
        if complete {
            return Ok(());
        }
        Err(self.damaged(
            "the file 'acknowledged' belongs to another log: it lists other topics or partitions",
        ))
    }

    /// Finds every partition of `specs` in the engine.
    fn find(&self, specs: &[TopicSpec], engine: &Engine<'_>) -> Result<Found, OpenError> {
        let mut found = Found::default();
        for spec in specs {
            let name = spec.topic.name();
            let (Some(topic), Some(noted)) = (engine.meta.topics.get(name), engine.ends.get(name))
            else {
                return Err(self.damaged(format!("{name} is not described")));
            };
            let mut partitions = Vec::new();
            for (n, noted) in (0..).zip(noted) {
                let log = engine
                    .partition(spec.topic, Partition(n), *noted)
                    .map_err(|error| self.engine_error(error))?;
                found
                    .reports
                    .push(report(spec.topic, Partition(n), &log, noted.1));
                partitions.push(log);
            }
            let log = TopicLog {
                info: topic.info(),
                retention: spec.retention,
                largest_record_bytes: spec.largest_record_bytes,
                partitions,
            };
            found.topics.insert(spec.topic, log);
        }
        Ok(found)
    }
}

/// What is open, before it is a log.
struct Engine<'a> {
    db: &'a Database,
    meta: &'a Meta,
    ends: &'a Ends,
    /// A journal that was damaged may have left a hole that no end shows. As long as its copy is
    /// kept, nobody has mended it.
    look_for_holes: bool,
}

#[derive(Default)]
struct Found {
    topics: BTreeMap<Topic, TopicLog>,
    reports: Vec<PartitionReport>,
}

impl Engine<'_> {
    /// One partition; it halts if it holds less than it should.
    fn partition(
        &self,
        topic: Topic,
        partition: Partition,
        (start, noted_end): (u64, u64),
    ) -> fjall::Result<PartitionLog> {
        let name = keyspace_name(topic, partition.0);
        let keyspace = self.db.keyspace(&name, keyspace_options)?;
        let found = found_end(&keyspace, start);
        let end = found.as_ref().map_or(start, |end| *end);
        let bounds = Bounds {
            start: Offset(start),
            end: Offset(end),
        };
        let log = PartitionLog::new(topic, partition, keyspace, bounds);
        if let Err(what) = found {
            log.halt(what);
        }
        log.must_reach(Offset(noted_end));
        if log.damage().is_none()
            && self.look_for_holes
            && let Err(error) = log.check_complete()
        {
            log.halt(error.to_string());
        }
        Ok(log)
    }
}

fn report(
    topic: Topic,
    partition: Partition,
    log: &PartitionLog,
    noted_end: u64,
) -> PartitionReport {
    let bounds = log.extent();
    PartitionReport {
        topic,
        partition,
        bounds,
        beyond_noted_end: bounds.end.0.saturating_sub(noted_end),
        damage: log.damage().map(str::to_owned),
    }
}

/// The end of what the engine holds, if its first record is there too.
fn found_end(keyspace: &Keyspace, start: u64) -> Result<u64, String> {
    let unreadable = |error: fjall::Error| format!("its storage cannot be read: {error}");
    let end = stored_end(keyspace).map_err(unreadable)?;
    let Some(end) = end.filter(|end| *end > start) else {
        return Ok(start);
    };
    let first = keyspace
        .contains_key(start.to_be_bytes())
        .map_err(unreadable)?;
    if first {
        Ok(end)
    } else {
        Err(format!(
            "its first record, {start}, is missing, although [{start}, {end}) is acknowledged"
        ))
    }
}

fn keyspace_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        .filter_policy(FilterPolicy::disabled())
}
