//! Records of `ledger.cuts`: the recorded cut of a chunk and what holds after it, as one record.
//! What a record says is what the chunk's posting blocks say in their headers ([`recorded_cut`]);
//! it stands there for every chunk, also for those without blocks, and in the order of the source
//! partition.

use bytes::Bytes;
use serde::Serialize;

use super::recorded_cut::{self, LogIdentity, LoggedChunk};
use crate::domain::position::Partition;
use crate::log::NewRecord;
use crate::log::cuts::{self, CutRecord};
use crate::log::posting::BlockHeader;
use crate::log::varint::FormatError;
use crate::store::checkpoints::RateCheckpoint;

/// A chunk as its record in `ledger.cuts` describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditedCut {
    /// The source partition.
    pub source: Partition,
    /// Its recorded cut, and what holds once all of it is done.
    #[serde(flatten)]
    pub chunk: LoggedChunk,
}

/// The record of a chunk. `encoded` is its recorded cut, as its posting blocks carry it.
pub(super) fn encode(source: Partition, cut: &RateCheckpoint, encoded: Bytes) -> NewRecord {
    let record = CutRecord {
        header: BlockHeader {
            epoch: cut.epoch,
            source,
            chunk: cut.chunk,
            control: cut.control,
            source_log_time: cut.log_time,
        },
        topic_id: cut.topic_id.clone(),
        partitions: cut.partitions,
        posting_partitions: cut.posting_partitions,
        cut: encoded,
    };
    NewRecord {
        value: cuts::encode(&record),
        ..NewRecord::default()
    }
}

/// The chunk that a record of `ledger.cuts` describes.
pub fn decode_cut(value: &[u8]) -> Result<AuditedCut, FormatError> {
    let record = cuts::decode(value)?;
    let identity = LogIdentity {
        topic_id: record.topic_id,
        partitions: record.partitions,
        posting_partitions: record.posting_partitions,
    };
    let chunk = recorded_cut::decode(&record.cut, &record.header, &identity)?;
    Ok(AuditedCut {
        source: record.header.source,
        chunk,
    })
}
