//! Roots and files that other programs made.

use bnum::cast::As as _;
use tidemark::claims::{Claims, TreePlaces, read_leaves, write_openzeppelin, write_tree};
use tidemark::domain::closing::{Shape, proof_root, standard_leaf};
use tidemark::domain::ethereum::{Address, U256};

/// The example in the README of `@openzeppelin/merkle-tree`: its root is printed there.
#[test]
fn the_example_of_openzeppelin_has_its_root() {
    let units = |text: &str| U256::from_str_radix(text, 10).unwrap();
    let claims = Claims::sorted(vec![
        (Address([0x11; 20]), units("5000000000000000000")),
        (Address([0x22; 20]), units("2500000000000000000")),
    ]);
    let tree = claims.unwrap().standard_tree().unwrap().unwrap();
    assert_eq!(
        tree.root().to_string(),
        "0xd4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77"
    );
}

#[test]
fn a_tree_file_gives_every_proof() {
    for count in [1_u8, 2, 3, 7, 64, 65] {
        let entries = (1..=count).map(|n| (Address([n; 20]), n.as_::<U256>()));
        let claims = Claims::sorted(entries.collect()).unwrap();
        let tree = claims.standard_tree().unwrap().unwrap();
        let mut bytes = Vec::new();
        write_tree(&mut bytes, &claims, &tree).unwrap();
        let leaves = read_leaves("a.tree", &bytes, Shape::Standard).unwrap();
        let places = TreePlaces {
            shape: Shape::Standard,
            leaves: u64::from(count),
        };
        assert_eq!(places.bytes(), bytes.len() as u64);
        for (number, leaf) in leaves.iter().enumerate() {
            let nodes = places.proof(leaf.position).into_iter().map(|range| {
                let range = range.start as usize..range.end as usize;
                tidemark::claims::node_of_bytes(&bytes[range]).unwrap()
            });
            let nodes: Vec<_> = nodes.collect();
            assert_eq!(nodes, tree.proof(number));
            let hash = standard_leaf(0, leaf.address, leaf.amount);
            assert_eq!(proof_root(hash, &nodes), tree.root());
        }
        let mut dump = Vec::new();
        write_openzeppelin(&mut dump, &claims, &tree).unwrap();
        serde_json::from_slice::<serde_json::Value>(&dump).unwrap();
    }
}
