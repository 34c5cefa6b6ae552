//! Merkle trees over addresses and amounts, as the contracts that pay from them expect.
//!
//! Both kinds hash a pair with the smaller hash first, so a proof is a list of hashes without
//! sides.

use crate::domain::ethereum::{Address, Hash, U256, keccak256};

/// How nodes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// OpenZeppelin's `standard-v1`: a complete binary tree in an array, the root first, the leaves
    /// last, the smallest leaf at the very end.
    Standard,
    /// Uniswap's: layers one after the other, the leaves first, in order; the last node of a layer
    /// of odd length goes up as it is.
    Layers,
}

/// What stands in a leaf: by the leaf's number in order of addresses.
pub type LeafHash = fn(u64, Address, U256) -> Hash;

/// A tree. Its nodes are in the order of its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    shape: Shape,
    nodes: Vec<Hash>,
    /// Where the leaves are among the nodes, in the order in which they were given.
    positions: Vec<u32>,
}

/// There are more leaves than a tree can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {0} addresses to pay; a tree has at most {LEAVES_MAX}")]
pub struct TreeError(pub usize);

/// Most leaves of a tree: places of nodes have 32 bits.
pub const LEAVES_MAX: usize = 1 << 30;

/// The hash of a pair.
pub fn node_hash(one: Hash, other: Hash) -> Hash {
    let (low, high) = if one <= other {
        (one, other)
    } else {
        (other, one)
    };
    let mut pair = [0; 64];
    pair[..32].copy_from_slice(&low.0);
    pair[32..].copy_from_slice(&high.0);
    keccak256(&pair)
}

/// OpenZeppelin's leaf of `["address", "uint256"]`: hashed twice, so that no pair of nodes can pass
/// for a leaf.
pub fn standard_leaf(_: u64, address: Address, amount: U256) -> Hash {
    let mut encoded = [0; 64];
    encoded[12..32].copy_from_slice(&address.0);
    encoded[32..].copy_from_slice(&amount.to_be_bytes());
    keccak256(&keccak256(&encoded).0)
}

/// Uniswap's leaf: index, address and amount, packed.
pub fn uniswap_leaf(index: u64, address: Address, amount: U256) -> Hash {
    let mut packed = [0; 84];
    packed[24..32].copy_from_slice(&index.to_be_bytes());
    packed[32..52].copy_from_slice(&address.0);
    packed[52..].copy_from_slice(&amount.to_be_bytes());
    keccak256(&packed)
}

/// The root to which a proof leads from a leaf.
pub fn proof_root(leaf: Hash, proof: &[Hash]) -> Hash {
    proof.iter().copied().fold(leaf, node_hash)
}

impl Shape {
    /// How many nodes a tree of so many leaves has.
    pub fn nodes(self, leaves: usize) -> usize {
        match self {
            Shape::Standard => (2 * leaves).saturating_sub(1),
            Shape::Layers => layers(leaves).sum(),
        }
    }

    /// Where the root is among the nodes of a tree that has any.
    pub fn root(self, leaves: usize) -> usize {
        match self {
            Shape::Standard => 0,
            Shape::Layers => self.nodes(leaves).saturating_sub(1),
        }
    }

    /// The places of the nodes that prove the leaf at `position`, from the leaf up.
    pub fn proof_places(self, leaves: usize, position: usize) -> Vec<usize> {
        let mut places = Vec::new();
        match self {
            Shape::Standard => {
                let mut at = position;
                while at > 0 {
                    places.push(if at % 2 == 1 { at + 1 } else { at - 1 });
                    at = (at - 1) / 2;
                }
            }
            Shape::Layers => {
                let (mut begin, mut at) = (0, position);
                for length in layers(leaves) {
                    let sibling = at ^ 1;
                    if sibling < length {
                        places.push(begin + sibling);
                    }
                    (begin, at) = (begin + length, at / 2);
                }
            }
        }
        places
    }
}

/// The lengths of the layers, from the leaves to the root.
fn layers(leaves: usize) -> impl Iterator<Item = usize> {
    let next = |length: &usize| (*length > 1).then(|| length.div_ceil(2));
    std::iter::successors((leaves > 0).then_some(leaves), next)
}

impl Tree {
    /// The tree of these leaves; `None`: there are none.
    ///
    /// # Errors
    /// There are too many.
    pub fn of(shape: Shape, leaves: &[Hash]) -> Result<Option<Tree>, TreeError> {
        if leaves.is_empty() {
            return Ok(None);
        }
        if leaves.len() > LEAVES_MAX {
            return Err(TreeError(leaves.len()));
        }
        let mut order: Vec<u32> = (0..leaves.len() as u32).collect();
        order.sort_unstable_by_key(|leaf| leaves[*leaf as usize]);
        let total = shape.nodes(leaves.len());
        let mut positions = vec![0; leaves.len()];
        let mut nodes = vec![Hash::default(); total];
        for (rank, leaf) in order.into_iter().enumerate() {
            let at = match shape {
                Shape::Standard => total - 1 - rank,
                Shape::Layers => rank,
            };
            nodes[at] = leaves[leaf as usize];
            positions[leaf as usize] = at as u32;
        }
        match shape {
            Shape::Standard => {
                for at in (0..leaves.len() - 1).rev() {
                    nodes[at] = node_hash(nodes[2 * at + 1], nodes[2 * at + 2]);
                }
            }
            Shape::Layers => {
                let mut begin = 0;
                for length in layers(leaves.len()) {
                    for pair in 0..length / 2 {
                        let at = begin + 2 * pair;
                        nodes[begin + length + pair] = node_hash(nodes[at], nodes[at + 1]);
                    }
                    if length % 2 == 1 && length > 1 {
                        nodes[begin + length + length / 2] = nodes[begin + length - 1];
                    }
                    begin += length;
                }
            }
        }
        Ok(Some(Tree {
            shape,
            nodes,
            positions,
        }))
    }

    /// Its root.
    pub fn root(&self) -> Hash {
        self.nodes[self.shape.root(self.positions.len())]
    }

    /// Its nodes, in the order of its shape.
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Where a leaf is among the nodes.
    pub fn position(&self, leaf: usize) -> u32 {
        self.positions[leaf]
    }

    /// What proves a leaf, from the leaf up.
    pub fn proof(&self, leaf: usize) -> Vec<Hash> {
        let position = self.positions[leaf] as usize;
        let places = self.shape.proof_places(self.positions.len(), position);
        places.into_iter().map(|place| self.nodes[place]).collect()
    }
}
