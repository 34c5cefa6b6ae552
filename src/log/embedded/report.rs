//! What opening a log found.

use std::fmt;
use std::path::PathBuf;

use super::clockwork::JUMP_MS_MAX;
use crate::domain::position::{Epoch, Partition};
use crate::domain::time::{DAY_MS, HOUR_MS};
use crate::log::{Bounds, Topic};

/// What opening a log found. Its text is one line for each thing that is worth an operator's look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// True when there was no log before.
    pub created: bool,
    /// The epoch.
    pub epoch: Epoch,
    /// What was found at the end of journal files behind their last complete write, and cut.
    pub cut: Vec<CutJournal>,
    /// Every partition, in the order of topics and partitions.
    pub partitions: Vec<PartitionReport>,
    /// How much older than the clock the newest record is; negative: the clock is behind. `None`:
    /// there is no record.
    pub newest_behind_clock_ms: Option<i64>,
}

/// Bytes of a journal that were no complete write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutJournal {
    /// The journal's file.
    pub file: PathBuf,
    /// How many bytes were cut.
    pub bytes: u64,
    /// Where the file was kept as it had been: only if complete writes followed the cut, so that
    /// this is damage and not the write that a crash tore.
    pub kept: Option<PathBuf>,
}

/// What was found of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionReport {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// What it holds.
    pub bounds: Bounds,
    /// Records behind the last acknowledged end that was noted. They are whole and are kept: they
    /// were written, and most likely acknowledged, in the last moments before the process ended.
    pub beyond_noted_end: u64,
    /// Why the partition must halt, if it must.
    pub damage: Option<String>,
}

impl OpenReport {
    /// The partitions that must halt.
    pub fn damaged(&self) -> impl Iterator<Item = &PartitionReport> {
        self.partitions.iter().filter(|p| p.damage.is_some())
    }

    /// Records behind the acknowledged ends that were noted, in all partitions.
    pub fn beyond_noted_end(&self) -> u64 {
        self.partitions.iter().map(|p| p.beyond_noted_end).sum()
    }
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: u64 = self
            .partitions
            .iter()
            .map(|p| p.bounds.end.0 - p.bounds.start.0)
            .sum();
        let what = if self.created { "created" } else { "opened" };
        write!(f, "log {what}, epoch {}, {records} records", self.epoch)?;
        if self.beyond_noted_end() > 0 {
            let beyond = self.beyond_noted_end();
            write!(
                f,
                "\n{beyond} records were written after the last recorded end; they are intact and kept"
            )?;
        }
        for cut in &self.cut {
            let (bytes, file) = (cut.bytes, cut.file.display());
            match &cut.kept {
                None => write!(
                    f,
                    "\n{bytes} bytes of a torn write at the end of {file} were cut; that write was never acknowledged"
                )?,
                Some(kept) => write!(
                    f,
                    "\n{file} is damaged: {bytes} bytes were cut, the original file is {}",
                    kept.display()
                )?,
            }
        }
        match self.newest_behind_clock_ms {
            Some(behind) if behind < -JUMP_MS_MAX => write!(
                f,
                "\nthe newest record is {} h ahead of this machine's clock; if the clock is wrong, correct it: log time does not advance until it has caught up",
                -behind / HOUR_MS
            )?,
            Some(behind) if behind > DAY_MS => write!(
                f,
                "\nthe newest record is {} h old by this machine's clock; if the clock is wrong, stop tidemark and set it first: \
                 the time in a record is for ever",
                behind / HOUR_MS
            )?,
            _ => {}
        }
        for p in self.damaged() {
            let damage = p.damage.as_deref().unwrap_or_default();
            write!(
                f,
                "\n{}/{} is damaged and halts: {damage}",
                p.topic, p.partition
            )?;
        }
        Ok(())
    }
}

/// Why a log was not opened. None of it goes away by trying again, but [`OpenError::Locked`] when
/// the other process ends.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the log in {dir} is in use by another process; stop that one first, or use another data directory"
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// A topic's file asks for another number of partitions.
    #[error(
        "{topic} has {found} partitions in {dir}, and its topic file says {wanted}; the number cannot change within an epoch, because users and accounts would move to other partitions. \
         Set it back to {found}; or start a new epoch: let tidemark catch up and stop it, move {dir} away, and start with the new number on an empty log of the next epoch"
    )]
    Partitions {
        /// The topic.
        topic: Topic,
        /// How many there are.
        found: u32,
        /// How many are wanted.
        wanted: u32,
        /// The directory.
        dir: PathBuf,
    },
    /// The log is of another epoch than the one that was asked for.
    #[error(
        "the log in {dir} is of epoch {found}, not {wanted}; name its own epoch, or use an empty directory for the new one"
    )]
    Epoch {
        /// The log's.
        found: Epoch,
        /// What was asked for.
        wanted: Epoch,
        /// The directory.
        dir: PathBuf,
    },
    /// What the log is made of contradicts itself.
    #[error(
        "the log in {dir} is damaged: {what}; restore the directory from a backup, or move it away and start a new epoch. Nothing was changed"
    )]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        what: String,
    },
    /// The directory cannot be read or written.
    #[error(
        "the log in {dir} cannot be opened: {what}: {error}; check that the directory can be written and has space"
    )]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What happened.
        error: std::io::Error,
    },
}
