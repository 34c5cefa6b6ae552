//! Usage rows.

use proptest::prelude::*;
use tidemark::domain::amount::Points;
use tidemark::domain::position::{Control, Epoch, Offset, Partition, Position};
use tidemark::domain::posting::{Charge, Slot};
use tidemark::store::usage::{UsageRow, encode, event_of, key};

use crate::domain::completion::any_report;

proptest! {
    #[test]
    fn the_event_of_a_row_is_the_one_that_was_written(event in any_report()) {
        let row = UsageRow {
            key: key(&event),
            event: &event,
            service: "chat_completions",
            tier: None,
            partition: Partition(1),
            position: Position { epoch: Epoch(1), offset: Offset(7) },
            log_time: event.time,
            control: Control(1),
            slot: Slot::Day(event.time.day()),
            provider_points: Points(1),
            user_points: Points(1),
            charge: Charge::default(),
            is_total_odd: false,
            expires_at: event.time,
        };
        let item = encode(&row);
        prop_assert_eq!(event_of(&row.key, &item).unwrap(), event);
    }
}
