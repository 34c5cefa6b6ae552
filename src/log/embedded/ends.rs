//! What was acknowledged, kept outside the storage engine.
//!
//! The engine opens without an error when its journal is damaged in the middle, and drops what
//! follows. This file remembers how far each partition reached, so that a log that comes back
//! shorter is seen. It has two slots that are written in turn, each one line with its checksum: if
//! the machine stops while one is written, the other still holds what was acknowledged a moment
//! before.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Start and acknowledged end of each partition, by topic name.
pub(super) type Ends = BTreeMap<String, Vec<(u64, u64)>>;

/// What one slot says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Slot {
    /// Counts the writes; the higher one is the newer.
    generation: u64,
    ends: Ends,
}

/// The file, open for writing.
pub(super) struct EndsFile {
    file: File,
    slot_bytes: u64,
    last: Slot,
}

/// Digits of the largest offset, twice, and what stands around them.
const BYTES_PER_PARTITION: usize = 2 * 20 + 4;
const SLOT_ALIGNMENT: usize = 4_096;

impl EndsFile {
    /// Where it is.
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join("acknowledged")
    }

    /// Creates the file, or replaces it by one that has room for other partitions. Durable when it
    /// returns.
    pub(super) fn create(dir: &Path, ends: Ends) -> io::Result<EndsFile> {
        let partitions: usize = ends.values().map(Vec::len).sum();
        let names: usize = ends.keys().map(|name| name.len() + 8).sum();
        let needed = 128 + names + partitions * BYTES_PER_PARTITION;
        let slot_bytes = needed.next_multiple_of(SLOT_ALIGNMENT) as u64;
        let temporary = dir.join("acknowledged.new");
        let file = File::create(&temporary)?;
        let mut ends_file = EndsFile {
            file,
            slot_bytes,
            last: Slot::default(),
        };
        ends_file.write(ends.clone())?;
        ends_file.write(ends)?;
        ends_file.file.sync_all()?;
        std::fs::rename(&temporary, EndsFile::path(dir))?;
        sync_dir(dir)?;
        Ok(ends_file)
    }

    /// Opens the file. `Ok(None)` when no slot can be read.
    pub(super) fn open(dir: &Path) -> io::Result<Option<EndsFile>> {
        let path = EndsFile::path(dir);
        let bytes = std::fs::read(&path)?;
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let newest = [first, second]
            .into_iter()
            .filter_map(parse)
            .max_by_key(|slot| slot.generation);
        let Some(last) = newest else {
            return Ok(None);
        };
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Some(EndsFile {
            file,
            slot_bytes: first.len() as u64,
            last,
        }))
    }

    /// What was written last.
    pub(super) const fn ends(&self) -> &Ends {
        &self.last.ends
    }

    /// Writes the other slot; durable when it returns.
    pub(super) fn write(&mut self, ends: Ends) -> io::Result<()> {
        let slot = Slot {
            generation: self.last.generation + 1,
            ends,
        };
        let line = format_slot(&slot, self.slot_bytes as usize)?;
        let at = slot.generation % 2 * self.slot_bytes;
        self.file.write_all_at(&line, at)?;
        self.file.sync_data()?;
        self.last = slot;
        Ok(())
    }
}

/// `checksum json`, filled up with spaces, and a line's end.
fn format_slot(slot: &Slot, bytes: usize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(slot)?;
    let mut line = format!("{:016x} {json}", xxh3_64(json.as_bytes())).into_bytes();
    if line.len() >= bytes {
        return Err(io::Error::other(
            "more partitions than the file has room for",
        ));
    }
    line.resize(bytes - 1, b' ');
    line.push(b'\n');
    Ok(line)
}

fn parse(bytes: &[u8]) -> Option<Slot> {
    let line = std::str::from_utf8(bytes).ok()?.trim_end();
    let (checksum, json) = line.split_once(' ')?;
    let checksum = u64::from_str_radix(checksum, 16).ok()?;
    if xxh3_64(json.as_bytes()) != checksum {
        return None;
    }
    serde_json::from_str(json).ok()
}

/// Makes a created or renamed file's name durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(end: u64) -> Ends {
        Ends::from([(
            "usage.events".to_owned(),
            vec![(0, end), (u64::MAX, u64::MAX)],
        )])
    }

    fn reopened(dir: &Path) -> Option<Ends> {
        EndsFile::open(dir).unwrap().map(|file| file.ends().clone())
    }

    #[test]
    fn what_was_written_last_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = EndsFile::create(dir.path(), ends(0)).unwrap();
        for end in 1..5 {
            file.write(ends(end)).unwrap();
            assert_eq!(reopened(dir.path()), Some(ends(end)));
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = EndsFile::create(dir.path(), ends(0)).unwrap();
        file.write(ends(1)).unwrap();
        file.write(ends(2)).unwrap();
        let newest = file.last.generation % 2 * file.slot_bytes;
        file.file.write_all_at(b"????", newest + 30).unwrap();
        assert_eq!(reopened(dir.path()), Some(ends(1)));
        file.file
            .write_all_at(b"????", file.slot_bytes - newest)
            .unwrap();
        assert_eq!(reopened(dir.path()), None);
    }

    #[test]
    fn cut_and_empty_files_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        EndsFile::create(dir.path(), ends(9)).unwrap();
        let path = EndsFile::path(dir.path());
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 1, 40, bytes.len() / 2, bytes.len() / 2 + 30] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let read = reopened(dir.path());
            assert!(
                read.is_none() || read == Some(ends(9)),
                "{length}: {read:?}"
            );
        }
        std::fs::remove_file(&path).unwrap();
        assert!(EndsFile::open(dir.path()).is_err());
    }

    #[test]
    fn a_thousand_partitions_have_room() {
        let dir = tempfile::tempdir().unwrap();
        let many = Ends::from([("usage.events".to_owned(), vec![(u64::MAX, u64::MAX); 1_024])]);
        EndsFile::create(dir.path(), many.clone()).unwrap();
        assert_eq!(reopened(dir.path()), Some(many));
    }
}
