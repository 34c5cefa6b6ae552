//! What the tests of the core share.

use std::sync::{Arc, LazyLock};

use tidemark::domain::position::Control;
use tidemark::domain::rules::{
    Network, RateClass, RuleBook, RuleChange, Rules, RulesDocument, Timeline,
};
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
    static RULES: [LazyLock<Arc<Timeline>>; 2] = [
        LazyLock::new(|| timeline(Network::Testnet)),
        LazyLock::new(|| timeline(Network::Mainnet)),
    ];
    Arc::clone(RULES[network as usize].at(Millis(0)))
}

/// The testnet's document with parts of its text replaced.
pub fn edited(edits: &[(&str, &str)]) -> String {
    let (_, text) = Network::Testnet.document();
    edits.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the document");
        text.replacen(from, to, 1)
    })
}

/// A timeline of the testnet's document with parts of its text replaced.
pub fn timeline_with(edits: &[(&str, &str)]) -> Arc<Timeline> {
    let document = RulesDocument::parse_toml("edited.toml", &edited(edits)).expect("no fault");
    book(&document)
        .as_of(Control(1))
        .expect("a document is complete")
}

/// The rules at an instant of the testnet's document with parts of its text replaced.
pub fn rules_with(edits: &[(&str, &str)], time: Millis) -> Arc<Rules> {
    Arc::clone(timeline_with(edits).at(time))
}

/// Where the document's seasons stand.
pub const NO_SEASON: &str = "\nseason = []";

/// A season with one multiplier for each rate class, in place of [`NO_SEASON`].
pub fn season(from: &str, to: &str, multipliers: [u32; 7]) -> String {
    let by_class: Vec<String> = RateClass::NAMES
        .iter()
        .zip(multipliers)
        .map(|(name, multiplier)| format!("{name} = {multiplier}"))
        .collect();
    format!(
        "\nseason = [{{ name = \"a season\", from = {from}, to = {to}, multiplier = {{ {} }} }}]",
        by_class.join(", ")
    )
}
