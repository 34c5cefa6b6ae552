//! Records: fingerprints, and where a user's events go.

use bytes::Bytes;
use proptest::prelude::*;
use tidemark::domain::position::{Offset, Partition};
use tidemark::domain::time::Millis;
use tidemark::log::{Fingerprint, NewRecord, Record, murmur2, usage_partition};

/// Any record to append, hostile names and sizes included.
pub fn any_new_record() -> impl Strategy<Value = NewRecord> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let headers = prop::collection::vec((".{0,12}", bytes()), 0..4);
    (prop::option::of(bytes()), bytes(), headers).prop_map(|(key, value, headers)| NewRecord {
        key,
        value,
        headers,
    })
}

/// Any record as read.
pub fn any_record() -> impl Strategy<Value = Record> {
    (any_new_record(), any::<u64>(), any::<i64>()).prop_map(|(new, offset, time)| Record {
        offset: Offset(offset),
        append_time: Millis(time),
        key: new.key,
        value: new.value,
        headers: new.headers,
    })
}

#[test]
fn murmur2_gives_what_javas_kafka_client_gives() {
    // From Kafka's own UtilsTest.
    let rows: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        (
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        ),
        ("abc", 479_470_107),
    ];
    for (text, expected) in rows {
        assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
    }
}

#[test]
fn a_users_partition_is_javas_default() {
    // toPositive(murmur2(key)) % partitions
    assert_eq!(
        usage_partition("foobar", 4),
        Partition((-790_332_482i32 & 0x7fff_ffff) as u32 % 4)
    );
    assert_eq!(usage_partition("21", 1), Partition(0));
}

#[test]
fn text_that_is_no_fingerprint_is_refused() {
    for text in [
        "",
        "1",
        "1@2",
        "1#2",
        "a@2#3",
        "1@b#3",
        "1@2#g",
        "1@2#3#4",
        "-1@2#3",
        "1@2#11112222333344445",
    ] {
        let error = text.parse::<Fingerprint>().unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn no_key_and_an_empty_key_are_different_records() {
    let record = |key| Record {
        offset: Offset(1),
        append_time: Millis(2),
        key,
        value: Bytes::from_static(b"v"),
        headers: Vec::new(),
    };
    assert_ne!(
        Fingerprint::of(&record(None)),
        Fingerprint::of(&record(Some(Bytes::new())))
    );
}

proptest! {
    #[test]
    fn a_fingerprint_comes_back_from_its_text(record in any_record()) {
        let fingerprint = Fingerprint::of(&record);
        prop_assert_eq!(fingerprint.to_string().parse::<Fingerprint>(), Ok(fingerprint));
    }

    #[test]
    fn different_records_have_different_fingerprints(a in any_record(), b in any_record()) {
        prop_assert_eq!(a == b, Fingerprint::of(&a) == Fingerprint::of(&b));
    }

    #[test]
    fn bytes_that_move_between_fields_change_the_fingerprint(record in any_record(), at in 0usize..40) {
        let mut moved = record.clone();
        let at = at.min(record.value.len());
        moved.headers.push((String::new(), moved.value.split_off(at)));
        prop_assert_ne!(Fingerprint::of(&record), Fingerprint::of(&moved));
    }
}
