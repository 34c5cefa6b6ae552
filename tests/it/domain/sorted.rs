//! A sorted list is a map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemark::domain::sorted::SortedMap;

proptest! {
    #[test]
    fn a_sorted_list_behaves_as_a_tree_does(steps in proptest::collection::vec((0..4u8, 0..12i32, any::<u8>()), 0..60)) {
        let mut tree: BTreeMap<i32, u8> = BTreeMap::new();
        let mut list: SortedMap<i32, u8> = SortedMap::new();
        for (step, key, value) in steps {
            match step {
                0 => prop_assert_eq!(list.insert(key, value), tree.insert(key, value)),
                1 => prop_assert_eq!(list.remove(&key), tree.remove(&key)),
                2 => prop_assert_eq!(*list.get_or_insert_with(key, || value), *tree.entry(key).or_insert(value)),
                _ => {
                    if let Some(of) = list.get_mut(&key) {
                        *of = value;
                    }
                    tree.entry(key).and_modify(|of| *of = value);
                }
            }
            prop_assert!(list.iter().eq(tree.iter()));
            prop_assert_eq!(list.get(&key), tree.get(&key));
            prop_assert_eq!(list.contains_key(&key), tree.contains_key(&key));
            prop_assert_eq!(list.first_key_value(), tree.first_key_value());
            prop_assert_eq!(list.last_key_value(), tree.last_key_value());
            prop_assert_eq!(list.last_before(&key), tree.range(..key).next_back());
            let from: Vec<(i32, u8)> = list.from_mut(&key).map(|(key, value)| (*key, *value)).collect();
            prop_assert!(from.iter().map(|(key, value)| (key, value)).eq(tree.range(key..)));
        }
        let again: SortedMap<i32, u8> = tree.clone().into_iter().rev().collect();
        prop_assert_eq!(&again, &list);
        prop_assert!(again.into_iter().eq(tree));
    }
}
