//! Rules documents: what is shipped, and how faults are told.

use tidemark::domain::rules::Network;

use super::helpers::{rules, shipped};

#[test]
fn the_shipped_rules_have_no_fault() {
    shipped(Network::Testnet);
    shipped(Network::Mainnet);
    assert!(rules(Network::Mainnet).is_mainnet());
}
