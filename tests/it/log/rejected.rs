//! Rejects: nothing of the original is lost, and nothing of it can be taken for our own words.

use bytes::Bytes;
use proptest::prelude::*;
use tidemark::domain::event::{Reason, Rejection};
use tidemark::domain::position::{Epoch, Offset, Partition, Position};
use tidemark::domain::time::Millis;
use tidemark::log::rejected::{
    ForeignReject, Reject, RejectError, decode, decode_reject, encode, encode_foreign,
    largest_reject,
};
use tidemark::log::{NewRecord, Record};

use super::record::any_record;

fn any_rejection() -> impl Strategy<Value = Rejection> {
    let field = prop::option::of(prop::sample::select(vec!["data.statusCode", "time", "id"]));
    let reason = prop::sample::select(Reason::ALL.to_vec());
    (reason, field, ".{0,200}").prop_map(|(reason, field, detail)| Rejection {
        reason,
        field,
        detail,
    })
}

/// The reject as it is read back.
fn stored(new: NewRecord) -> Record {
    Record {
        offset: Offset(7),
        append_time: Millis(8),
        key: new.key,
        value: new.value,
        headers: new.headers,
    }
}

fn plain(headers: Vec<(String, Bytes)>) -> Record {
    Record {
        offset: Offset(42),
        append_time: Millis(1),
        key: Some(Bytes::from_static(b"user-1")),
        value: Bytes::from_static(b"{"),
        headers,
    }
}

fn malformed(detail: &str) -> Rejection {
    Rejection {
        reason: Reason::Malformed,
        field: None,
        detail: detail.to_owned(),
    }
}

proptest! {
    #[test]
    fn a_reject_gives_back_the_original_and_the_reason(
        original in any_record(), rejection in any_rejection(), epoch: u32, source: u32, log_time: i64,
    ) {
        let reject = encode(&original, Epoch(epoch), Partition(source), Millis(log_time), &rejection);
        let largest = largest_reject(original.size());
        prop_assert!(reject.size() <= largest, "{} of at most {largest}", reject.size());
        let read = decode(&stored(reject)).unwrap();
        prop_assert_eq!(read.reason, rejection.reason);
        prop_assert_eq!(read.field.as_deref(), rejection.field);
        prop_assert_eq!(read.detail, rejection.detail);
        prop_assert_eq!(read.partition, Partition(source));
        prop_assert_eq!(read.position, Position { epoch: Epoch(epoch), offset: original.offset });
        prop_assert_eq!(read.log_time, Millis(log_time));
        prop_assert_eq!(read.original.key, original.key);
        prop_assert_eq!(read.original.value, original.value);
        prop_assert_eq!(read.original.headers, original.headers);
    }
}

#[test]
fn headers_of_the_original_cannot_pose_as_ours() {
    let liar = plain(vec![
        ("reason".to_owned(), Bytes::from_static(b"conflict")),
        ("original.reason".to_owned(), Bytes::from_static(b"too_old")),
        ("key".to_owned(), Bytes::from_static(b"someone else")),
    ]);
    let reject = encode(
        &liar,
        Epoch(0),
        Partition(3),
        Millis(9),
        &malformed("not JSON"),
    );
    assert_eq!(reject.key.as_deref(), Some(b"0:3:42".as_slice()));
    let read = decode(&stored(reject)).unwrap();
    assert_eq!(read.reason, Reason::Malformed);
    assert_eq!(read.original.key.as_deref(), Some(b"user-1".as_slice()));
    assert_eq!(read.original.headers, liar.headers);
}

#[test]
fn a_long_detail_is_cut_between_characters() {
    let reject = encode(
        &plain(vec![]),
        Epoch(0),
        Partition(0),
        Millis(0),
        &malformed(&"€".repeat(9_999)),
    );
    assert_eq!(decode(&stored(reject)).unwrap().detail, "€".repeat(341));
}

#[test]
fn what_is_no_reject_is_named() {
    let good = stored(encode(
        &plain(vec![]),
        Epoch(0),
        Partition(0),
        Millis(0),
        &malformed("x"),
    ));
    for name in [
        "reason",
        "detail",
        "epoch",
        "partition",
        "offset",
        "logTime",
    ] {
        let mut without = good.clone();
        without.headers.retain(|(header, _)| header != name);
        assert_eq!(decode(&without), Err(RejectError::Missing(name)));
        let mut garbled = good.clone();
        for (header, value) in &mut garbled.headers {
            if header == name {
                *value = Bytes::from_static(b"\xff");
            }
        }
        let error = decode(&garbled).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

fn foreign() -> ForeignReject {
    ForeignReject {
        reason: Reason::MissingField,
        field: Some("consumer.username".to_owned()),
        detail: "consumer.username is missing".to_owned(),
        source: "apisix-eu".to_owned(),
        topic: "apisix-logs".to_owned(),
        partition: Partition(3),
        offset: Offset(42),
        index: 7,
        log_time: Millis(9),
    }
}

#[test]
fn the_reject_of_an_adapter_says_where_the_original_stands_and_holds_nothing_of_it() {
    let new = encode_foreign(&foreign());
    assert_eq!(new.key.as_deref(), Some(b"apisix-logs:3:42:7".as_slice()));
    assert!(new.value.is_empty());
    assert_eq!(decode_reject(&stored(new)), Ok(Reject::Foreign(foreign())));
    let without_field = ForeignReject {
        field: None,
        ..foreign()
    };
    let new = encode_foreign(&without_field);
    assert_eq!(
        decode_reject(&stored(new)),
        Ok(Reject::Foreign(without_field))
    );
}

#[test]
fn the_reject_of_an_adapter_cannot_be_taken_for_one_that_has_its_original() {
    let error = decode(&stored(encode_foreign(&foreign()))).unwrap_err();
    let sentence = error.to_string();
    for part in [
        "entry 7 of apisix-logs/3 offset 42",
        "not kept",
        "tidemark emit",
    ] {
        assert!(sentence.contains(part), "{sentence}");
    }
    let poser = plain(vec![("foreignTopic".to_owned(), Bytes::from_static(b"x"))]);
    let reject = encode(&poser, Epoch(0), Partition(0), Millis(0), &malformed("x"));
    assert!(matches!(
        decode_reject(&stored(reject)),
        Ok(Reject::Usage(_))
    ));
}

#[test]
fn a_garbled_reject_of_an_adapter_is_named() {
    let good = stored(encode_foreign(&foreign()));
    for name in [
        "reason",
        "detail",
        "source",
        "logTime",
        "foreignPartition",
        "foreignOffset",
        "foreignIndex",
    ] {
        let mut without = good.clone();
        without.headers.retain(|(header, _)| header != name);
        assert_eq!(decode_reject(&without), Err(RejectError::Missing(name)));
        assert_eq!(decode(&without), Err(RejectError::Missing(name)));
    }
}

#[test]
fn an_original_beyond_what_the_topic_takes_is_kept_by_its_beginning_and_its_size() {
    let mut original = plain(vec![("h".to_owned(), Bytes::from(vec![b'h'; 1 << 20]))]);
    original.value = Bytes::from(vec![b'x'; 3 << 20]);
    let rejection = malformed("too large");
    let reject = encode(&original, Epoch(1), Partition(2), Millis(3), &rejection);
    assert!(reject.size() < 100 * 1024, "{}", reject.size());
    let read = decode(&stored(reject)).unwrap();
    assert_eq!(read.whole_bytes, Some(original.size() as u64));
    assert!(original.value.starts_with(&read.original.value));
    assert_eq!(read.original.value.len(), 64 * 1024);
    assert_eq!((read.original.key, read.original.headers.len()), (None, 0));
    assert_eq!(read.position.offset, original.offset);
}
