//! The format of `ledger.cuts`: how one chunk was cut, one record per chunk, compact, versioned and
//! canonical (as [`posting`](super::posting)).
//!
//! ```text
//! record = version:u8 (1)  epoch  source  chunk  control  log_time:zigzag  partitions  posting_partitions
//!          n bytes(n): the id of usage.events  n bytes(n): the recorded cut  checksum:u64 LE
//! ```
//! Numbers are minimal LEB128 varints unless said otherwise. The recorded cut is what each posting
//! block of the chunk carries in its header `tidemark-cut`; this module does not look into it. The
//! checksum is the XXH3-64 of everything before it.

use bytes::Bytes;

use super::posting::BlockHeader;
use super::varint::{FormatError, Reader, put_signed, put_varint};
use crate::domain::position::{Chunk, Control, Epoch, Partition};
use crate::domain::time::Millis;

/// The version of the format.
const VERSION: u8 = 1;
/// Bytes of the checksum.
const CHECKSUM_BYTES: usize = size_of::<u64>();

/// One record of `ledger.cuts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutRecord {
    /// What the cut has in common with the chunk's posting blocks.
    pub header: BlockHeader,
    /// The id of `usage.events`.
    pub topic_id: String,
    /// Partitions of `usage.events`.
    pub partitions: u32,
    /// Partitions of `ledger.postings`.
    pub posting_partitions: u32,
    /// The recorded cut, encoded.
    pub cut: Bytes,
}

/// The bytes of a record.
pub fn encode(record: &CutRecord) -> Bytes {
    let header = &record.header;
    let mut out = Vec::with_capacity(64 + record.topic_id.len() + record.cut.len());
    out.push(VERSION);
    put_varint(&mut out, header.epoch.0.into());
    put_varint(&mut out, header.source.0.into());
    put_varint(&mut out, header.chunk.0);
    put_varint(&mut out, header.control.0);
    put_signed(&mut out, header.source_log_time.0);
    put_varint(&mut out, record.partitions.into());
    put_varint(&mut out, record.posting_partitions.into());
    put_bytes(&mut out, record.topic_id.as_bytes());
    put_bytes(&mut out, &record.cut);
    seal(out)
}

/// Appends the checksum. Public for the fuzz targets.
#[doc(hidden)]
pub fn seal(mut content: Vec<u8>) -> Bytes {
    let checksum = xxhash_rust::xxh3::xxh3_64(&content);
    content.extend_from_slice(&checksum.to_le_bytes());
    Bytes::from(content)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The record of these bytes.
pub fn decode(bytes: &[u8]) -> Result<CutRecord, FormatError> {
    let found = Reader::new(bytes).byte()?;
    if found != VERSION {
        return Err(FormatError::Version {
            found,
            known: VERSION,
        });
    }
    let Some(end) = bytes.len().checked_sub(CHECKSUM_BYTES) else {
        return Err(FormatError::Truncated { at: bytes.len() });
    };
    let (content, checksum) = bytes.split_at(end);
    let mut input = Reader::new(content);
    let is_whole = xxhash_rust::xxh3::xxh3_64(content).to_le_bytes() == checksum;
    input.check(is_whole, "a wrong checksum")?;
    input.byte()?;
    let header = BlockHeader {
        epoch: Epoch(input.small()?),
        source: Partition(input.small()?),
        chunk: Chunk(input.varint()?),
        control: Control(input.varint()?),
        source_log_time: Millis(input.signed()?),
    };
    let (partitions, posting_partitions) = (input.small()?, input.small()?);
    let topic_id = take_bytes(&mut input)?;
    let topic_id = std::str::from_utf8(topic_id).map_err(|_| input.invalid("an id not in UTF-8"));
    let record = CutRecord {
        header,
        topic_id: topic_id?.to_owned(),
        partitions,
        posting_partitions,
        cut: Bytes::copy_from_slice(take_bytes(&mut input)?),
    };
    input.check(input.left() == 0, "bytes after the end")?;
    Ok(record)
}

fn take_bytes<'a>(input: &mut Reader<'a>) -> Result<&'a [u8], FormatError> {
    let length = input.length()?;
    input.bytes(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn record()(
            (epoch, source) in any::<(u32, u32)>(),
            (chunk, control) in any::<(u64, u64)>(),
            log_time in any::<i64>(),
            (partitions, posting_partitions) in any::<(u32, u32)>(),
            topic_id in ".{0,40}",
            cut in proptest::collection::vec(any::<u8>(), 0..200),
        ) -> CutRecord {
            CutRecord {
                header: BlockHeader {
                    epoch: Epoch(epoch),
                    source: Partition(source),
                    chunk: Chunk(chunk),
                    control: Control(control),
                    source_log_time: Millis(log_time),
                },
                topic_id,
                partitions,
                posting_partitions,
                cut: Bytes::from(cut),
            }
        }
    }

    /// Records outlive the program that wrote them: their bytes change only with their version.
    #[test]
    fn a_record_keeps_its_bytes() {
        let record = CutRecord {
            header: BlockHeader {
                epoch: Epoch(1),
                source: Partition(2),
                chunk: Chunk(300),
                control: Control(4),
                source_log_time: Millis(-5),
            },
            topic_id: "id".to_owned(),
            partitions: 6,
            posting_partitions: 7,
            cut: Bytes::from_static(&[8, 9]),
        };
        let bytes = encode(&record);
        let content = [1, 1, 2, 0xac, 2, 4, 9, 6, 7, 2, b'i', b'd', 2, 8, 9];
        assert_eq!(bytes[..bytes.len() - CHECKSUM_BYTES], content);
        let checksum = xxhash_rust::xxh3::xxh3_64(&content).to_le_bytes();
        assert_eq!(bytes[content.len()..], checksum);
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(record in record()) {
            prop_assert_eq!(decode(&encode(&record)), Ok(record));
        }

        #[test]
        fn a_changed_or_shortened_record_is_refused(
            record in record(),
            place in any::<prop::sample::Index>(),
            change in 1..=u8::MAX,
        ) {
            let bytes = encode(&record);
            let place = place.index(bytes.len());
            prop_assert!(decode(&bytes[..place]).is_err());
            let mut changed = bytes.to_vec();
            changed[place] ^= change;
            prop_assert!(decode(&changed).is_err());
        }

        #[test]
        fn bytes_that_are_read_are_those_that_are_written(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            // With a right checksum, or hardly any would be read.
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let sealed = seal(bytes);
            if let Ok(record) = decode(&sealed) {
                prop_assert_eq!(encode(&record), sealed);
            }
        }
    }
}
