//! A tree in entries of fixed width, so that one proof can be read without the others: a head, the
//! leaves in order of addresses, the nodes in the order of the tree's shape.

use std::io::{self, Write};
use std::ops::Range;

use super::FileError;
use super::entries::Claims;
use crate::domain::closing::{Shape, Tree};
use crate::domain::ethereum::{Address, Hash, U256};

const MAGIC: &[u8; 8] = b"TMTREE1\n";
const HEAD_BYTES: u64 = 16;
/// Bytes of a leaf: address, amount, position among the nodes.
pub const LEAF_BYTES: u64 = 20 + 32 + 4;
/// Bytes of a node.
pub const NODE_BYTES: u64 = 32;

/// Writes the file.
///
/// # Errors
/// Those of `out`.
pub fn write_tree(out: &mut dyn Write, claims: &Claims, tree: &Tree) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&(claims.entries().len() as u64).to_be_bytes())?;
    for (leaf, (address, amount)) in claims.entries().iter().enumerate() {
        let amount: [u8; 32] = amount.to_be_bytes();
        out.write_all(&address.0)?;
        out.write_all(&amount)?;
        out.write_all(&tree.position(leaf).to_be_bytes())?;
    }
    tree.nodes()
        .iter()
        .try_for_each(|node| out.write_all(&node.0))
}

/// A leaf of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLeaf {
    /// Whose.
    pub address: Address,
    /// How much.
    pub amount: U256,
    /// Where it is among the nodes.
    pub position: u32,
}

impl TreeLeaf {
    /// Reads one; `None`: these are not the bytes of one.
    pub fn of_bytes(bytes: &[u8]) -> Option<TreeLeaf> {
        let (address, rest) = bytes.split_first_chunk::<20>()?;
        let (amount, rest) = rest.split_first_chunk::<32>()?;
        Some(TreeLeaf {
            address: Address(*address),
            amount: U256::from_be_bytes(*amount),
            position: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// Where things are in the file of a tree.
#[derive(Clone, Copy, Debug)]
pub struct TreePlaces {
    /// The tree's shape.
    pub shape: Shape,
    /// How many leaves it has.
    pub leaves: u64,
}

impl TreePlaces {
    /// The bytes of a leaf.
    pub const fn leaf(self, number: u64) -> Range<u64> {
        let begin = HEAD_BYTES + number * LEAF_BYTES;
        begin..begin + LEAF_BYTES
    }

    /// The bytes of the nodes that prove a leaf, from the leaf up.
    pub fn proof(self, position: u32) -> Vec<Range<u64>> {
        let leaves = usize::try_from(self.leaves).unwrap_or(usize::MAX);
        let places = self.shape.proof_places(leaves, position as usize);
        let nodes = HEAD_BYTES + self.leaves * LEAF_BYTES;
        let node = |place: usize| {
            let begin = nodes + place as u64 * NODE_BYTES;
            begin..begin + NODE_BYTES
        };
        places.into_iter().map(node).collect()
    }

    /// How large the file is.
    pub fn bytes(self) -> u64 {
        let leaves = usize::try_from(self.leaves).unwrap_or(usize::MAX);
        let nodes = self.shape.nodes(leaves) as u64;
        HEAD_BYTES + self.leaves * LEAF_BYTES + nodes * NODE_BYTES
    }
}

/// A node of the file; `None`: these are not the bytes of one.
pub fn node_of_bytes(bytes: &[u8]) -> Option<Hash> {
    Some(Hash(bytes.try_into().ok()?))
}

/// Reads the leaves of a whole file.
///
/// # Errors
/// It is not such a file.
pub fn read_leaves(file: &str, bytes: &[u8], shape: Shape) -> Result<Vec<TreeLeaf>, FileError> {
    let wrong = |what: &str| FileError {
        file: file.to_owned(),
        what: what.to_owned(),
    };
    let body = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| wrong("it is not a tree file"))?;
    let head = body.split_first_chunk::<8>();
    let (count, body) = head.ok_or_else(|| wrong("it is too short"))?;
    let leaves = u64::from_be_bytes(*count);
    let is_whole =
        leaves <= u64::from(u32::MAX) && TreePlaces { shape, leaves }.bytes() == bytes.len() as u64;
    if !is_whole {
        return Err(wrong("it is not as long as its head says"));
    }
    let count = usize::try_from(leaves).unwrap_or(usize::MAX);
    let leaves = body.chunks_exact(LEAF_BYTES as usize).take(count);
    let leaves: Option<Vec<TreeLeaf>> = leaves.map(TreeLeaf::of_bytes).collect();
    leaves.ok_or_else(|| wrong("a leaf is damaged"))
}
