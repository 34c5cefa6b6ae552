//! Checks a tree as OpenZeppelin's library dumps it.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lines::{line_of, line_of_key, lines_of, must_be_written_so, text_of};
use super::{Fault, Report, address_of, amount_of};
use crate::claims::entries::Claims;
use crate::claims::openzeppelin::{FORMAT, LEAF_ENCODING, write_openzeppelin};
use crate::domain::closing::{node_hash, standard_leaf};
use crate::domain::ethereum::{Address, Hash, U256};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Dump<'a> {
    format: String,
    leaf_encoding: Vec<String>,
    #[serde(borrow)]
    tree: Vec<&'a RawValue>,
    #[serde(borrow)]
    values: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Value {
    value: (String, String),
    tree_index: usize,
}

/// A value, and where it is in the file.
struct Leaf {
    line: usize,
    address: Address,
    amount: U256,
    position: usize,
}

/// What is checked.
struct Read<'a> {
    text: &'a str,
    nodes: Vec<Hash>,
    raw_nodes: Vec<&'a RawValue>,
    leaves: Vec<Leaf>,
}

/// Checks the file in itself.
pub fn check(bytes: &[u8]) -> Result<Report, Fault> {
    let (read, claims) = read_right(bytes)?;
    let total = claims.total();
    let total =
        total.ok_or_else(|| Fault::whole("bad_sum", "the amounts sum up to 2^256 or more"))?;
    let tree = claims.standard_tree();
    let tree = tree.map_err(|error| Fault::whole("bad_tree", error.to_string()))?;
    if let Some(tree) = tree {
        must_be_written_so(bytes, |out| write_openzeppelin(out, &claims, &tree))?;
    }
    Ok(Report {
        form: "OpenZeppelin standard-v1",
        root: read.nodes.first().copied(),
        claims: claims.entries().len() as u64,
        total,
        notes: Vec::new(),
    })
}

/// The claims of a file that is right in itself.
pub fn read_claims(bytes: &[u8]) -> Result<Claims, Fault> {
    read_right(bytes).map(|(_, claims)| claims)
}

fn read_right(bytes: &[u8]) -> Result<(Read<'_>, Claims), Fault> {
    let read = Read::of(text_of(bytes)?)?;
    read.must_have_as_many_nodes()?;
    read.must_hold_its_leaves()?;
    read.must_hash_to_its_root()?;
    let claims = read.claims()?;
    Ok((read, claims))
}

impl<'a> Read<'a> {
    fn of(text: &'a str) -> Result<Read<'a>, Fault> {
        let dump: Dump<'a> = serde_json::from_str(text).map_err(|error| Fault::of_json(&error))?;
        if dump.format != FORMAT {
            let what = format!("the format is '{}', not {FORMAT}", dump.format);
            return Err(Fault::at("bad_format", line_of_key(text, "format"), what));
        }
        if dump.leaf_encoding != LEAF_ENCODING {
            let what = format!(
                "leafEncoding is {:?}, not {LEAF_ENCODING:?}",
                dump.leaf_encoding
            );
            let line = line_of_key(text, "leafEncoding");
            return Err(Fault::at("bad_format", line, what));
        }
        let node = |(place, raw): (usize, &&RawValue)| {
            let digits = raw.get().trim_matches('"');
            Hash::of_text(digits).ok_or_else(|| {
                let what = format!("tree[{place}] is {}, not a hash", raw.get());
                Fault::at("bad_tree", line_of(text, raw.get()), what)
            })
        };
        let nodes = dump
            .tree
            .iter()
            .enumerate()
            .map(node)
            .collect::<Result<_, _>>()?;
        let leaf = |(place, raw): (usize, &&RawValue)| {
            read_leaf(raw).map_err(|what| {
                let what = format!("values[{place}]: {what}");
                Fault::at("bad_claim", line_of(text, raw.get()), what)
            })
        };
        let leaves: Vec<_> = dump
            .values
            .iter()
            .enumerate()
            .map(leaf)
            .collect::<Result<_, _>>()?;
        let lines = lines_of(text, &dump.values);
        let leaves = leaves
            .into_iter()
            .zip(lines)
            .map(|(leaf, line)| Leaf { line, ..leaf });
        Ok(Read {
            text,
            nodes,
            raw_nodes: dump.tree,
            leaves: leaves.collect(),
        })
    }

    fn line_of_node(&self, place: usize) -> usize {
        let raw = self.raw_nodes.get(place);
        raw.map_or(1, |raw| line_of(self.text, raw.get()))
    }

    fn must_have_as_many_nodes(&self) -> Result<(), Fault> {
        let (nodes, leaves) = (self.nodes.len(), self.leaves.len());
        if leaves > 0 && nodes == 2 * leaves - 1 {
            return Ok(());
        }
        let what = format!("there are {leaves} values and {nodes} nodes: something is missing");
        Err(Fault::whole("bad_tree", what))
    }

    fn must_hold_its_leaves(&self) -> Result<(), Fault> {
        let inner = self.leaves.len() - 1;
        let mut of_node: HashMap<usize, usize> = HashMap::with_capacity(self.leaves.len());
        for (place, leaf) in self.leaves.iter().enumerate() {
            let (line, position) = (leaf.line, leaf.position);
            if position < inner || position >= self.nodes.len() {
                let what = format!("values[{place}]: treeIndex {position} is not that of a leaf");
                return Err(Fault::at("bad_claim", line, what));
            }
            let hash = standard_leaf(0, leaf.address, leaf.amount);
            if hash != self.nodes[position] {
                return Err(self.wrong_leaf(place, leaf, hash));
            }
            if let Some(other) = of_node.insert(position, place) {
                let what = format!("values[{place}]: it is the same as values[{other}]");
                return Err(Fault::at("bad_claim", line, what));
            }
        }
        Ok(())
    }

    /// The value, its place, or the node was edited: the other two tell.
    fn wrong_leaf(&self, place: usize, leaf: &Leaf, hash: Hash) -> Fault {
        let (address, position) = (leaf.address, leaf.position);
        if let Some(right) = self.nodes.iter().position(|node| *node == hash) {
            let what = format!("values[{place}], {address}: treeIndex is {position}, not {right}");
            return Fault::at("bad_claim", leaf.line, what);
        }
        let sibling = if position % 2 == 1 {
            position + 1
        } else {
            position.wrapping_sub(1)
        };
        let parent = position.wrapping_sub(1) / 2;
        let pair = self.nodes.get(sibling).zip(self.nodes.get(parent));
        if pair.is_some_and(|(sibling, parent)| node_hash(hash, *sibling) == *parent) {
            let what = format!("tree[{position}] is not the hash of values[{place}], {address}");
            return Fault::at("bad_tree", self.line_of_node(position), what);
        }
        let what = format!("values[{place}]: the address or amount of {address} was edited");
        Fault::at("bad_claim", leaf.line, what)
    }

    fn must_hash_to_its_root(&self) -> Result<(), Fault> {
        // From the leaves up: those below were right.
        for place in (0..self.leaves.len() - 1).rev() {
            let (left, right) = (self.nodes[2 * place + 1], self.nodes[2 * place + 2]);
            if self.nodes[place] != node_hash(left, right) {
                let what = format!("tree[{place}] is not the hash of the two nodes below it");
                return Err(Fault::at("bad_tree", self.line_of_node(place), what));
            }
        }
        Ok(())
    }

    fn claims(&self) -> Result<Claims, Fault> {
        for pair in self.leaves.windows(2) {
            if pair[0].address >= pair[1].address {
                let what = format!("{} is out of order or stands twice", pair[1].address);
                return Err(Fault::at("bad_order", pair[1].line, what));
            }
        }
        let entries = self.leaves.iter().map(|leaf| (leaf.address, leaf.amount));
        let claims = Claims::sorted(entries.collect());
        claims.ok_or_else(|| Fault::whole("bad_order", "the values are not in order"))
    }
}

fn read_leaf(raw: &RawValue) -> Result<Leaf, String> {
    let value: Value = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
    let (address, amount) = value.value;
    Ok(Leaf {
        line: 0,
        address: address_of(&address)?,
        amount: amount_of(&amount)?,
        position: value.tree_index,
    })
}
