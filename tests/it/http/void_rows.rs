//! Usage rows of chunks that were given up: readers ignore them as rating does.

use tidemark::domain::position::{Chunk, Epoch, Offset, Partition, WriteId};
use tidemark::store::db::{Attr, Db};
use tidemark::store::losses::{self, LostChunk};
use tidemark::store::usage_list;

use super::rows;
use super::stand::{NOON, Stand};

/// Whether a request whose row stands at record 7 of source partition 1 in epoch 0 is shown although a chunk was
/// lost; every reader must say the same.
async fn is_shown(lost: &LostChunk) -> bool {
    let stand = Stand::new().await;
    rows::request(&stand, "alice", "r-1", NOON).await;
    let keep = losses::keep(lost, WriteId::default());
    stand.db.write(keep).await.unwrap();
    let (db, day) = (&stand.db, NOON.day());
    let rows = usage_list::of_day(db, "alice", day, NOON).await.unwrap();
    let page = usage_list::page_of_day(db, "alice", day, None, 10, NOON);
    let page = page.await.unwrap().lines;
    let last = usage_list::last_of_day(db, "alice", day, 10, NOON);
    let last = last.await.unwrap();
    let sample = usage_list::sample(db, NOON.plus(-1), 10, NOON);
    let sample = sample.await.unwrap().lines;
    let item = rows::usage_item("alice", "r-1", NOON);
    let Some(Attr::S(source)) = item.get("source") else {
        panic!("a row names its source");
    };
    let one = usage_list::one(db, "alice", source, "r-1", NOON, NOON);
    let one = Vec::from_iter(one.await.unwrap());
    let all = [&page, &last, &sample, &one];
    assert!(all.iter().all(|of| **of == rows), "{all:?}");
    let path = format!("/api/users/alice/usage?day={day}");
    let told = stand.get(&path).await.json();
    let told = told["requests"].as_array().map_or(0, Vec::len);
    assert_eq!(told, rows.len(), "the API");
    !rows.is_empty()
}

#[tokio::test]
async fn rows_of_chunks_of_which_nothing_was_counted_are_not_shown() {
    let lost = |epoch, source, (from, to): (u64, u64), counted: u64| LostChunk {
        epoch: Epoch(epoch),
        source: Partition(source),
        chunk: Chunk(3),
        from: Offset(from),
        to: Offset(to),
        counted: (counted > 0)
            .then_some((Partition(0), counted))
            .into_iter()
            .collect(),
        unsure: Vec::new(),
    };
    let unsure = LostChunk {
        unsure: vec![Partition(2)],
        ..lost(0, 1, (5, 10), 0)
    };
    for (shown, lost) in [
        (false, lost(0, 1, (5, 10), 0)),
        (false, lost(0, 1, (7, 8), 0)),
        (true, lost(0, 1, (8, 10), 0)),
        (true, lost(0, 1, (5, 7), 0)),
        (true, lost(0, 2, (5, 10), 0)),
        (true, lost(1, 1, (5, 10), 0)),
        // Some of it may be in accounts.
        (true, lost(0, 1, (5, 10), 2)),
        (true, unsure),
    ] {
        assert_eq!(is_shown(&lost).await, shown, "{lost:?}");
    }
}
