//! The control feed.

use tidemark::domain::position::Control;
use tidemark::domain::time::Millis;
use tidemark::store::control::{
    self, Change, Entry, Head, append_writes, entries, full_head, happened, head,
};
use tidemark::store::db::{Db, Key, StoreError, Table};

use super::torn::Torn;
use super::{on_every_store, provider, user};

fn link(referee: &str) -> Change {
    Change::Link {
        referee: user(referee),
        chain: vec![user("a"), provider("b")],
    }
}

fn rules() -> Change {
    Change::Rules(Vec::new())
}

async fn append(db: &dyn Db, token: &str, change: &Change) -> Result<Head, StoreError> {
    let head = full_head(db).await?;
    let writes = append_writes(head, Millis(7), token, change);
    db.transact(writes.to_vec()).await?;
    full_head(db).await
}

#[test]
fn the_feed_counts_from_one_and_remembers_its_newest_rules() {
    on_every_store(|db| async move {
        assert_eq!(head(&db).await.unwrap(), Control(0));
        assert_eq!(entries(&db, Control(0), Control(0)).await.unwrap(), []);
        let rows = [
            (link("x"), 1, 0),
            (rules(), 2, 2),
            (link("y"), 3, 2),
            (rules(), 4, 4),
        ];
        for (change, number, rules) in &rows {
            let head = append(&db, &format!("t{number}"), change).await.unwrap();
            let expected = Head {
                number: Control(*number),
                rules: Control(*rules),
            };
            assert_eq!(head, expected);
        }
        let middle = entries(&db, Control(1), Control(3)).await.unwrap();
        let expected: Vec<Entry> = rows[1..3]
            .iter()
            .map(|(change, number, _)| Entry {
                number: Control(*number),
                written_at: Millis(7),
                token: format!("t{number}"),
                change: change.clone(),
            })
            .collect();
        assert_eq!(middle, expected);
    });
}

#[test]
fn of_two_that_append_after_the_same_head_one_wins_and_each_learns_which() {
    on_every_store(|db| async move {
        let head = full_head(&db).await.unwrap();
        let one = append_writes(head, Millis(1), "one", &link("x"));
        let two = append_writes(head, Millis(1), "two", &link("y"));
        let number = control::next(head);
        assert!(!happened(&db, number, head, "one").await.unwrap());
        let both = futures::future::join(db.transact(one.to_vec()), db.transact(two.to_vec()));
        let (first, second) = both.await;
        assert_ne!(first.is_ok(), second.is_ok());
        let now = full_head(&db).await.unwrap();
        for (token, result) in [("one", first), ("two", second)] {
            assert_eq!(
                happened(&db, number, now, token).await.unwrap(),
                result.is_ok()
            );
        }
    });
}

fn entry_key(number: u64) -> Key {
    Key::new(Table::Checkpoints, "control", format!("{number:020}"))
}

#[test]
fn an_entry_that_is_not_visible_yet_is_read_again() {
    on_every_store(|db| async move {
        for i in 0..250 {
            append(&db, &format!("t{i}"), &link(&format!("r{i}")))
                .await
                .unwrap();
        }
        let torn = Torn::new(&db, [(entry_key(3), 1), (entry_key(120), 4)]);
        let all = entries(&torn, Control(0), Control(250)).await.unwrap();
        let numbers: Vec<u64> = all.iter().map(|entry| entry.number.0).collect();
        assert_eq!(numbers, (1..=250).collect::<Vec<u64>>());
        let gone = Torn::new(&db, [(entry_key(3), usize::MAX)]);
        let missing = entries(&gone, Control(0), Control(5)).await;
        assert!(matches!(missing, Err(StoreError::Unavailable(_))));
        // Whether an append happened is not decided by an entry that is not visible.
        let head = full_head(&db).await.unwrap();
        let unknown = happened(&gone, Control(3), head, "t2").await;
        assert!(matches!(unknown, Err(StoreError::Unavailable(_))));
    });
}
