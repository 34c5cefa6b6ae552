//! What the tests of the core share.

use std::sync::Arc;

use tidemark::domain::position::Control;
use tidemark::domain::rules::{Network, RuleBook, RuleChange, Rules, RulesDocument, Timeline};
use tidemark::domain::time::Millis;

/// The rules that are shipped for a network.
pub fn shipped(network: Network) -> RulesDocument {
    let (name, text) = network.document();
    RulesDocument::parse_toml(name, text).expect("the shipped rules have no fault")
}

/// The first versions of all keys of a document.
pub fn first_versions(document: &RulesDocument) -> Vec<RuleChange> {
    let change = |(key, value)| RuleChange {
        key,
        value,
        effective_from: None,
    };
    document.changes().into_iter().map(change).collect()
}

/// A book that holds a document as its first control entry.
pub fn book(document: &RulesDocument) -> RuleBook {
    let mut book = RuleBook::default();
    book.apply(Control(1), &first_versions(document))
        .expect("a document's own values are taken");
    book
}

/// A timeline of one document alone.
pub fn timeline(network: Network) -> Arc<Timeline> {
    book(&shipped(network))
        .as_of(Control(1))
        .expect("a document is complete")
}

/// The rules of a network.
pub fn rules(network: Network) -> Arc<Rules> {
    Arc::clone(timeline(network).at(Millis(0)))
}
