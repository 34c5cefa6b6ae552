//! How the embedded log stores a record: its key is the offset, big-endian; its value is this.
//!
//! ```text
//! version:u8 (1)  checksum:u64 LE  append_time:i64 LE  key  n  (name value)*  value
//! ```
//! `key` is 0 for none, else its length + 1 and its bytes; `n`, names and header values have varint
//! lengths; the value is the rest. The checksum is XXH3-64 of everything after it, seeded with the
//! offset, so that a record in another's place is found too.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::domain::position::Offset;
use crate::domain::time::Millis;
use crate::log::varint::{FormatError, Reader, put_varint};
use crate::log::{Headers, NewRecord, Record};

const VERSION: u8 = 1;
/// Where the checksummed part begins.
const CHECKED_FROM: usize = 9;

/// The stored form of a record.
pub(super) fn encode(record: &NewRecord, offset: Offset, append_time: Millis) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.size() + 32);
    out.push(VERSION);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&append_time.0.to_le_bytes());
    match &record.key {
        None => out.push(0),
        Some(key) => {
            put_varint(&mut out, key.len() as u64 + 1);
            out.extend_from_slice(key);
        }
    }
    put_varint(&mut out, record.headers.len() as u64);
    for (name, value) in &record.headers {
        put_bytes(&mut out, name.as_bytes());
        put_bytes(&mut out, value);
    }
    out.extend_from_slice(&record.value);
    let checksum = xxh3_64_with_seed(&out[CHECKED_FROM..], offset.0);
    out[1..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    out
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a stored record; key, headers and value are slices of `stored`.
pub(super) fn decode(offset: Offset, stored: &Bytes) -> Result<Record, FormatError> {
    let mut input = Reader::new(stored);
    let version = input.byte()?;
    if version != VERSION {
        return Err(FormatError::Version {
            found: version,
            known: VERSION,
        });
    }
    let checksum = u64::from_le_bytes(take_eight(&mut input)?);
    let sum = xxh3_64_with_seed(&stored[CHECKED_FROM..], offset.0);
    input.check(sum == checksum, "a checksum that does not match")?;
    let append_time = Millis(i64::from_le_bytes(take_eight(&mut input)?));
    let key = match input.length()? {
        0 => None,
        length => Some(stored.slice_ref(input.bytes(length - 1)?)),
    };
    Ok(Record {
        offset,
        append_time,
        key,
        headers: take_headers(&mut input, stored)?,
        value: stored.slice_ref(input.rest()),
    })
}

fn take_eight(input: &mut Reader<'_>) -> Result<[u8; 8], FormatError> {
    let bytes = input.bytes(8)?;
    bytes
        .try_into()
        .map_err(|_| input.invalid("no eight bytes"))
}

fn take_headers(input: &mut Reader<'_>, stored: &Bytes) -> Result<Headers, FormatError> {
    let count = input.length()?;
    let mut headers = Vec::with_capacity(count.min(input.left() / 2));
    for _ in 0..count {
        let length = input.length()?;
        let name = std::str::from_utf8(input.bytes(length)?);
        let name = name
            .map_err(|_| input.invalid("a header name that is not UTF-8"))?
            .to_owned();
        let length = input.length()?;
        headers.push((name, stored.slice_ref(input.bytes(length)?)));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn new_record()(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            value in prop::collection::vec(any::<u8>(), 0..60),
            headers in prop::collection::vec((".{0,9}", prop::collection::vec(any::<u8>(), 0..9)), 0..4),
        ) -> NewRecord {
            NewRecord {
                key: key.map(Bytes::from),
                value: Bytes::from(value),
                headers: headers.into_iter().map(|(name, value)| (name, Bytes::from(value))).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_stored_record_comes_back(new in new_record(), offset: u64, time: i64) {
            let stored = Bytes::from(encode(&new, Offset(offset), Millis(time)));
            let record = decode(Offset(offset), &stored).unwrap();
            prop_assert_eq!(record.append_time, Millis(time));
            prop_assert_eq!(NewRecord { key: record.key, value: record.value, headers: record.headers }, new);
        }

        #[test]
        fn any_flipped_bit_is_found(new in new_record(), at: prop::sample::Index, bit in 0u8..8) {
            let mut stored = encode(&new, Offset(7), Millis(1));
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            prop_assert!(decode(Offset(7), &Bytes::from(stored)).is_err());
        }

        #[test]
        fn a_record_in_anothers_place_is_found(new in new_record()) {
            let stored = Bytes::from(encode(&new, Offset(7), Millis(1)));
            prop_assert!(decode(Offset(8), &stored).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(Offset(0), &Bytes::from(bytes));
        }
    }
}
