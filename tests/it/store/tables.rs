//! Creating the tables.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TimeToLiveStatus,
};
use tidemark::store::db::{Condition, Db, Key, StoreError, Table, Write};
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::tables::{Report, create_tables};

use super::{client, endpoints, run, settings};

fn on_every_empty_store<Fut: Future<Output = ()>>(test: impl Fn(DynamoDb) -> Fut) {
    for (name, endpoint) in endpoints() {
        eprintln!("on {name}");
        run(test(client(&settings(&endpoint))));
    }
}

#[test]
fn all_nine_tables_are_created_once_however_often_it_is_asked() {
    on_every_empty_store(|db| async move {
        let first = create_tables(&db).await.unwrap();
        assert_eq!(first.created, Table::ALL);
        assert!(first.existing.is_empty());
        let again = create_tables(&db).await.unwrap();
        let expected = Report {
            created: Vec::new(),
            existing: Table::ALL.to_vec(),
        };
        assert_eq!(again, expected);
    });
}

#[test]
fn a_table_is_not_created_beside_others_that_hold_data() {
    on_every_empty_store(|db| async move {
        create_tables(&db).await.unwrap();
        let drop = |table: Table| {
            let name = db.table_name(table);
            db.client().delete_table().table_name(name).send()
        };
        drop(Table::UserPoints).await.unwrap();
        // Nothing is lost while there is nothing.
        assert_eq!(
            create_tables(&db).await.unwrap().created,
            [Table::UserPoints]
        );
        let key = Key::new(Table::StreakTracking, "somebody", "user");
        let put = Write::Put {
            table: key.table,
            item: key.item(),
            condition: Condition::Always,
        };
        db.write(put).await.unwrap();
        for table in [Table::UserPoints, Table::Checkpoints] {
            drop(table).await.unwrap();
        }
        let refused = create_tables(&db).await;
        let Err(StoreError::Refused(why)) = refused else {
            panic!("{refused:?}");
        };
        for part in ["UserPoints", "Checkpoints", "restore it"] {
            assert!(why.contains(part), "{part}: {why}");
        }
        assert_eq!(create_tables(&db).await, Err(StoreError::Refused(why)));
    });
}

#[test]
fn two_that_create_at_once_both_succeed() {
    on_every_empty_store(|db| async move {
        let both = futures::future::join(create_tables(&db), create_tables(&db)).await;
        let created = both.0.unwrap().created.len() + both.1.unwrap().created.len();
        assert_eq!(created, Table::ALL.len());
    });
}

#[test]
fn a_table_has_its_index_its_time_to_live_and_no_provisioned_capacity() {
    on_every_empty_store(|db| async move {
        create_tables(&db).await.unwrap();
        for table in Table::ALL {
            let name = db.table_name(table);
            let answer = db.client().describe_table().table_name(&name).send().await;
            let found = answer.unwrap().table.unwrap();
            let billing = found.billing_mode_summary().and_then(|b| b.billing_mode());
            assert_eq!(billing, Some(&BillingMode::PayPerRequest), "{name}");
            let indexes: Vec<_> = found
                .global_secondary_indexes()
                .iter()
                .filter_map(|index| index.index_name())
                .collect();
            let expected: Vec<_> = table.index().map(|(name, _)| name).into_iter().collect();
            assert_eq!(indexes, expected, "{name}");
            let request = db.client().describe_time_to_live().table_name(&name);
            let ttl = request
                .send()
                .await
                .unwrap()
                .time_to_live_description
                .unwrap();
            let on = matches!(
                ttl.time_to_live_status(),
                Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
            );
            assert_eq!(on, table.ttl().is_some(), "{name}");
            assert_eq!(ttl.attribute_name(), table.ttl(), "{name}");
        }
    });
}

async fn create_other(db: &DynamoDb, hash: &str, kind: ScalarAttributeType) {
    let key = KeySchemaElement::builder()
        .attribute_name(hash)
        .key_type(KeyType::Hash);
    let attribute = AttributeDefinition::builder()
        .attribute_name(hash)
        .attribute_type(kind);
    db.client()
        .create_table()
        .table_name(db.table_name(Table::ReferralCodes))
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key.build().unwrap())
        .attribute_definitions(attribute.build().unwrap())
        .send()
        .await
        .unwrap();
}

#[test]
fn somebody_elses_table_of_the_same_name_is_refused_with_what_is_wrong() {
    let rows = [
        ("other", ScalarAttributeType::S, "key is other"),
        (
            "referralCode",
            ScalarAttributeType::N,
            "attribute referralCode is N",
        ),
        (
            "referralCode",
            ScalarAttributeType::S,
            "attribute owner is missing",
        ),
    ];
    for (hash, kind, says) in rows {
        on_every_empty_store(|db| {
            let kind = kind.clone();
            async move {
                create_other(&db, hash, kind).await;
                let refused = create_tables(&db).await;
                let Err(StoreError::Refused(why)) = refused else {
                    panic!("{refused:?}");
                };
                assert!(why.contains(says), "{why}");
                assert!(why.contains("choose another table prefix"), "{why}");
            }
        });
    }
}
