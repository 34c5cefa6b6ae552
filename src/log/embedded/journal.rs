//! A look at the engine's journals before it opens them. The engine cuts a journal at the first
//! write that it cannot read and says nothing of it: here we find out beforehand what will be cut,
//! tell the torn write of a crash from damage, and keep a copy of what is damaged.
//!
//! Reads the journal of fjall 3 (format version 3): batches of `Start`, items, `End` with a
//! checksum and the bytes `FJL\x03`. Nothing here decides what the log holds: that is the engine's
//! replay, and the noted ends.

use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3Default;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";
/// An item's tag, value type, compression, keyspace, key length, value length and stored length.
const ITEM_HEAD_BYTES: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;

/// Bytes of one journal that are no complete write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) file: PathBuf,
    /// Where the last complete write before them ends.
    pub(super) at: u64,
    /// How many there are; zeros at the end do not count, they are room for later writes.
    pub(super) bytes: u64,
    /// True when this is not the write that a crash tore: complete writes follow, or the journal
    /// was complete once.
    pub(super) is_damage: bool,
}

/// What will be cut from the journals in `db`.
pub(super) fn examine(db: &Path) -> io::Result<Vec<Tail>> {
    let journals = list(db)?;
    let mut tails = Vec::new();
    for (n, file) in journals.iter().enumerate() {
        let bytes = std::fs::read(file)?;
        let at = complete(&bytes);
        let Some(last) = bytes[at..].iter().rposition(|byte| *byte != 0) else {
            continue;
        };
        let is_active = n + 1 == journals.len();
        tails.push(Tail {
            file: file.clone(),
            at: at as u64,
            bytes: last as u64 + 1,
            is_damage: !is_active || batch_follows(&bytes, at),
        });
    }
    Ok(tails)
}

/// The journals, oldest first.
fn list(db: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(db) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut journals = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let id = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        journals.extend(id.map(|id| (id, path)));
    }
    journals.sort();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// Where the complete writes at the beginning end.
fn complete(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = batch(&bytes[at..]) {
        at += length;
    }
    at
}

/// Whether a complete write stands anywhere behind `at`: right after the end of another one.
fn batch_follows(bytes: &[u8], at: usize) -> bool {
    let ends = bytes[at..].windows(TRAILER.len()).enumerate();
    ends.filter(|(_, window)| *window == TRAILER)
        .any(|(n, _)| batch(&bytes[at + n + TRAILER.len()..]).is_some())
}

/// The length of the complete batch at the beginning.
fn batch(bytes: &[u8]) -> Option<usize> {
    let [START, head @ ..] = bytes else {
        return None;
    };
    let items = u32::from_le_bytes(*head.first_chunk()?);
    let mut at = 1 + 4 + 8;
    let mut hash = Xxh3Default::new();
    for _ in 0..items {
        let length = item(bytes.get(at..)?)?;
        hash.update(bytes.get(at..at + length)?);
        at += length;
    }
    let [END, end @ ..] = bytes.get(at..)? else {
        return None;
    };
    let checksum = u64::from_le_bytes(*end.first_chunk()?);
    let whole = checksum == hash.digest() && end.get(8..8 + TRAILER.len())? == TRAILER;
    whole.then_some(at + 1 + 8 + TRAILER.len())
}

/// The length of the item at the beginning.
fn item(bytes: &[u8]) -> Option<usize> {
    match *bytes.first()? {
        CLEAR => Some(1 + 8),
        ITEM => {
            let key = u16::from_le_bytes(*bytes.get(11..)?.first_chunk()?);
            let stored = u32::from_le_bytes(*bytes.get(17..)?.first_chunk()?);
            Some(ITEM_HEAD_BYTES + usize::from(key) + stored as usize)
        }
        _ => None,
    }
}

impl Tail {
    /// Copies a damaged journal as it is into `dir`, and returns where.
    pub(super) fn keep(&self, dir: &Path) -> io::Result<PathBuf> {
        std::fs::create_dir_all(dir)?;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let free = (0..)
            .map(|n| dir.join(format!("{name}.{n}")))
            .find(|path| !path.exists());
        let copy = free.unwrap_or_else(|| dir.join(&*name));
        std::fs::copy(&self.file, &copy)?;
        Ok(copy)
    }

    /// Cuts the journal to its complete writes.
    pub(super) fn cut(&self) -> io::Result<()> {
        let file = std::fs::OpenOptions::new().write(true).open(&self.file)?;
        file.set_len(self.at)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use fjall::{Database, KeyspaceCreateOptions, PersistMode};

    use super::*;

    /// A journal that fjall wrote: `batches` of three records.
    fn journal(dir: &Path, batches: usize) -> PathBuf {
        let db = Database::builder(dir).open().unwrap();
        let keyspace = db.keyspace("k", KeyspaceCreateOptions::default).unwrap();
        for n in 0..batches {
            let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
            for m in 0..3 {
                batch.insert(&keyspace, format!("{n:04}{m}"), vec![n as u8 + 1; 500 + n]);
            }
            batch.commit().unwrap();
        }
        drop((keyspace, db));
        let file = dir.join("0.jnl");
        // Some of the room for later writes is enough.
        let room = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        room.set_len(40_000).unwrap();
        file
    }

    fn stored(dir: &Path) -> usize {
        let db = Database::builder(dir).open().unwrap();
        let keyspace = db.keyspace("k", KeyspaceCreateOptions::default).unwrap();
        keyspace.len().unwrap()
    }

    #[test]
    fn a_whole_journal_has_no_tail() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), 5);
        assert_eq!(examine(dir.path()).unwrap(), []);
        assert_eq!(stored(dir.path()), 15);
        assert_eq!(examine(dir.path()).unwrap(), []);
    }

    #[test]
    fn a_torn_last_write_is_a_tail_wherever_it_tears() {
        let dir = tempfile::tempdir().unwrap();
        let file = journal(dir.path(), 3);
        let whole = std::fs::read(&file).unwrap();
        let two = batch(&whole).unwrap() + batch(&whole[batch(&whole).unwrap()..]).unwrap();
        let three = complete(&whole);
        for at in [
            two + 1,
            two + 13,
            two + 20,
            two + 700,
            three - 13,
            three - 1,
        ] {
            let mut torn = whole.clone();
            torn[at..].fill(0);
            std::fs::write(&file, &torn).unwrap();
            let tails = examine(dir.path()).unwrap();
            assert_eq!(tails.len(), 1, "{at}");
            assert_eq!(
                (tails[0].at, tails[0].is_damage),
                (two as u64, false),
                "{at}"
            );
            assert!(tails[0].bytes <= (at - two) as u64);
        }
    }

    #[test]
    fn a_hole_in_the_last_write_is_a_tail_that_can_be_cut() {
        let dir = tempfile::tempdir().unwrap();
        let file = journal(dir.path(), 3);
        let mut bytes = std::fs::read(&file).unwrap();
        let end = complete(&bytes);
        // A page that never reached the disk, before one that did.
        bytes[end - 300..end - 200].fill(0);
        std::fs::write(&file, &bytes).unwrap();
        let tails = examine(dir.path()).unwrap();
        assert!(!tails[0].is_damage);
        assert!(
            Database::builder(dir.path()).open().is_err(),
            "fjall refuses this; if it no longer does, cutting is not needed"
        );
        tails[0].cut().unwrap();
        assert_eq!(stored(dir.path()), 6);
    }

    #[test]
    fn a_flipped_bit_before_other_writes_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let file = journal(dir.path(), 6);
        let whole = std::fs::read(&file).unwrap();
        let first = batch(&whole).unwrap();
        let end = complete(&whole) - batch(&whole).unwrap() - 200;
        for at in (first..end).step_by(97) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&file, &bytes).unwrap();
            // The sequence number of a batch is not covered by its checksum.
            if let Some(tail) = examine(dir.path()).unwrap().first() {
                assert!(tail.is_damage, "{at}");
            }
        }
    }
}
