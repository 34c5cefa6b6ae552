//! The rules of the benchmarks.

use tidemark::domain::rules::{Network, RulesDocument};
use tidemark::domain::time::Millis;
use tidemark::store::db::Db;
use tidemark::store::pricing::{self, NewValue, Publish};

/// Publishes those of mainnet as shipped.
pub async fn publish(db: &dyn Db, now: Millis) {
    let (file, text) = Network::Mainnet.document();
    let document = RulesDocument::parse_toml(file, text).expect("the shipped rules are valid");
    let changes = document.changes().into_iter();
    let publication = Publish {
        values: changes
            .map(|(key, value)| NewValue { key, value })
            .collect(),
        effective_from: now,
        by: "bench".to_owned(),
        reason: "bench".to_owned(),
        now,
        token: "rules".to_owned(),
    };
    let published = pricing::publish(db, &publication).await;
    published.expect("the shipped rules are valid");
}
