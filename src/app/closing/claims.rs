//! What an account can claim, with its proofs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use utoipa::ToSchema;

use super::Closing;
use super::carry::close_file;
use crate::app::{CommandError, Refusal};
use crate::claims::{
    AccountRow, AccountsIndex, CloseFile, FileKind, LEAF_BYTES, NODE_BYTES, TreeLeaf, TreePlaces,
    node_of_bytes, read_rows,
};
use crate::domain::closing::{
    ClaimStatus, LeafHash, Shape, proof_root, standard_leaf, uniswap_leaf,
};
use crate::domain::ethereum::{Address, Hash};
use crate::domain::ids::Account;
use crate::domain::time::Month;
use crate::store::closes;

/// Closes of a page.
const CLOSES_PER_PAGE: u32 = 12;
/// Closes, or trees, that a request reads at once: the place of the files answers slowly rather than
/// seldom.
const READS_AT_ONCE: usize = 4;
/// Indexes that are kept in memory take about this much.
const INDEX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Leaves that are read at once when one is looked for.
const LEAVES_PER_READ: u64 = 64;

/// The month of an index and the SHA-256 of its file: a month that was closed anew, after the tables
/// were restored, has another one.
type IndexKey = (Month, String);

/// Indexes of accounts.
#[derive(Default)]
pub(super) struct IndexCache(Mutex<BTreeMap<IndexKey, Arc<AccountsIndex>>>);

impl IndexCache {
    fn get(&self, key: &IndexKey) -> Option<Arc<AccountsIndex>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).cloned()
    }

    /// Old months go first.
    fn keep(&self, key: IndexKey, index: &Arc<AccountsIndex>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(key, Arc::clone(index));
        let weight = |kept: &BTreeMap<IndexKey, Arc<AccountsIndex>>| {
            kept.values().map(|index| index.weight()).sum::<usize>()
        };
        while weight(&kept) > INDEX_BYTES_MAX && kept.len() > 1 {
            kept.pop_first();
        }
    }
}

/// What proves a claim to a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ClaimProof)]
pub struct Proof {
    /// The root that the contract has.
    pub root: String,
    /// The number of the claim, for contracts that ask for it.
    pub index: u64,
    /// Whose claim it is.
    #[schema(value_type = String)]
    pub address: Address,
    /// Its amount in the token's smallest unit. It is that of all accounts that have linked the
    /// address.
    pub amount: String,
    /// Hashes, from the leaf up.
    pub proof: Vec<String>,
}

/// An account in a close. Amounts are in the token's smallest unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimOfClose {
    /// The month that was closed.
    #[schema(value_type = String, example = "2026-10")]
    pub month: Month,
    /// `claimable`, `no_wallet`, `below_minimum`, `debt`, `nothing` or `excluded`.
    pub status: String,
    /// Its wallet as of the close.
    #[schema(value_type = Option<String>)]
    pub address: Option<Address>,
    /// How many decimals a whole token has.
    pub decimals: u32,
    /// The total of its statement.
    pub points: String,
    /// Points of earlier months that were taken off.
    pub debt_before: String,
    /// The points that were paid for.
    pub eligible_points: String,
    /// What they brought.
    pub amount: String,
    /// What earlier closes had not paid.
    pub carried: String,
    /// What this close pays.
    pub paid: String,
    /// What waits for a later close.
    pub unpaid: String,
    /// Points that later closes take off.
    pub debt: String,
    /// For OpenZeppelin's trees; `null` if nothing is paid.
    pub openzeppelin: Option<Proof>,
    /// For Uniswap's distributor; `null` if nothing is paid.
    pub uniswap: Option<Proof>,
}

/// What an address was paid in all closes so far, for contracts that pay the difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CumulativeClaim {
    /// The newest close: its root counts.
    #[schema(value_type = String, example = "2026-10")]
    pub month: Month,
    /// The claim.
    pub claim: Proof,
}

/// What an account can claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountClaims {
    /// `user` or `provider`.
    pub kind: String,
    /// Whose.
    pub id: String,
    /// Closes that have something to do with the account, newest first.
    pub closes: Vec<ClaimOfClose>,
    /// Of each address in these.
    pub cumulative: Vec<CumulativeClaim>,
    /// Ask again with `before` set to this; `null`: there are no earlier closes.
    #[schema(value_type = Option<String>)]
    pub next: Option<Month>,
}

impl Closing {
    /// What an account can claim, of the newest closes before a month, or of all.
    pub async fn claims_of(
        &self,
        account: &Account,
        before: Option<Month>,
    ) -> Result<AccountClaims, CommandError> {
        // One more tells whether there is another page.
        let mut found = closes::newest(self.db(), before, CLOSES_PER_PAGE + 1).await?;
        let has_more = found.len() > CLOSES_PER_PAGE as usize;
        found.truncate(CLOSES_PER_PAGE as usize);
        let next = found
            .last()
            .filter(|_| has_more)
            .map(|close| close.begun.month);
        let mut files = Vec::with_capacity(found.len());
        for close in &found {
            files.extend(close_file(close)?);
        }
        let reads = files.into_iter().map(|file| self.claim_in(file, account));
        let read: Vec<Option<ClaimOfClose>> = stream::iter(reads)
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await?;
        let lines: Vec<ClaimOfClose> = read.into_iter().flatten().collect();
        let paid = ClaimStatus::Claimable.to_string();
        let addresses = lines.iter().filter(|line| line.status == paid);
        let addresses = addresses.filter_map(|line| line.address).collect();
        Ok(AccountClaims {
            kind: account.kind.to_string(),
            id: account.id().to_owned(),
            closes: lines,
            cumulative: self.cumulative_of(addresses).await?,
            next,
        })
    }

    /// What an account can claim of a close; `None`: the close has nothing to do with it.
    async fn claim_in(
        &self,
        file: CloseFile,
        account: &Account,
    ) -> Result<Option<ClaimOfClose>, CommandError> {
        match self.row_of(&file, account).await? {
            Some(row) => self.claim_of(&file, &row).await.map(Some),
            None => Ok(None),
        }
    }

    /// What addresses that were paid were paid in all.
    async fn cumulative_of(
        &self,
        mut addresses: Vec<Address>,
    ) -> Result<Vec<CumulativeClaim>, CommandError> {
        addresses.sort_unstable();
        addresses.dedup();
        let newest = closes::newest(self.db(), None, 2).await?;
        let newest = newest.iter().find(|close| close.finished.is_some());
        let newest = newest.map(close_file).transpose()?.flatten();
        let Some(file) = newest else {
            return Ok(Vec::new());
        };
        let reads = addresses.into_iter();
        let reads = reads.map(|address| self.proof(&file, &CUMULATIVE, address));
        let read: Vec<Proof> = stream::iter(reads)
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await?;
        let month = file.month;
        let claims = read.into_iter();
        let claims = claims.map(|claim| CumulativeClaim { month, claim });
        Ok(claims.collect())
    }

    async fn claim_of(
        &self,
        file: &CloseFile,
        row: &AccountRow,
    ) -> Result<ClaimOfClose, CommandError> {
        let claimed = row.address.filter(|_| row.status == ClaimStatus::Claimable);
        let (mut openzeppelin, mut uniswap) = (None, None);
        if let Some(address) = claimed {
            openzeppelin = Some(self.proof(file, &OPENZEPPELIN, address).await?);
            uniswap = Some(self.proof(file, &UNISWAP, address).await?);
        }
        Ok(ClaimOfClose {
            month: file.month,
            status: row.status.to_string(),
            address: row.address,
            decimals: u32::from(file.terms.decimals),
            points: row.total.to_string(),
            debt_before: row.debt_before.to_string(),
            eligible_points: row.eligible.to_string(),
            amount: row.amount.to_string(),
            carried: row.carried.to_string(),
            paid: row.paid.to_string(),
            unpaid: row.unpaid.to_string(),
            debt: row.debt.to_string(),
            openzeppelin,
            uniswap,
        })
    }

    /// The account's row in a close.
    async fn row_of(
        &self,
        file: &CloseFile,
        account: &Account,
    ) -> Result<Option<AccountRow>, CommandError> {
        let index = self.index(file).await?;
        let Some(block) = index.block(account) else {
            return Ok(None);
        };
        let bytes = self.part(file, FileKind::Accounts, block).await?;
        let name = file.name_of(FileKind::Accounts);
        let rows = read_rows(&name.to_string(), &bytes).map_err(|_| super::files::damaged(name))?;
        Ok(rows.into_iter().find(|row| row.account == *account))
    }

    async fn index(&self, file: &CloseFile) -> Result<Arc<AccountsIndex>, CommandError> {
        let kind = FileKind::AccountsIndex;
        let entry = file.entry(kind);
        let entry = entry.ok_or_else(|| super::files::damaged(file.name_of(kind)))?;
        let key = (file.month, entry.sha256.clone());
        if let Some(index) = self.indexes.get(&key) {
            return Ok(index);
        }
        let bytes = self.read_whole(file, kind).await?;
        let bytes = bytes.ok_or_else(|| gone(file, kind))?;
        let index = AccountsIndex::read(&kind.to_string(), &bytes);
        let index = index.map_err(|error| CommandError::Internal(error.to_string()))?;
        let index = Arc::new(index);
        self.indexes.keep(key, &index);
        Ok(index)
    }

    async fn part(
        &self,
        file: &CloseFile,
        kind: FileKind,
        range: Range<u64>,
    ) -> Result<bytes::Bytes, CommandError> {
        let parts = self.parts(file, kind, &[range]).await?;
        parts.into_iter().next().ok_or_else(|| gone(file, kind))
    }

    /// Whole parts of a file, in their order.
    async fn parts(
        &self,
        file: &CloseFile,
        kind: FileKind,
        ranges: &[Range<u64>],
    ) -> Result<Vec<bytes::Bytes>, CommandError> {
        let path = file.name_of(kind).to_string();
        let files = self.files()?;
        let is_whole = |(part, range): (&bytes::Bytes, &Range<u64>)| {
            part.len() as u64 == range.end - range.start
        };
        match files.get_ranges(&path, ranges).await {
            Ok(Some(parts)) if parts.iter().zip(ranges).all(is_whole) => Ok(parts),
            Ok(_) => Err(gone(file, kind)),
            // Stores also refuse what lies behind the end of a file that was cut short.
            Err(error) => {
                let size = files.size(&path).await?;
                let end = ranges.iter().map(|range| range.end).max();
                match size.is_some_and(|size| Some(size) >= end) {
                    true => Err(error.into()),
                    false => Err(gone(file, kind)),
                }
            }
        }
    }

    /// What proves the claim of an address that was paid.
    async fn proof(
        &self,
        file: &CloseFile,
        tree: &ClaimTree,
        address: Address,
    ) -> Result<Proof, CommandError> {
        let path = file.name_of(tree.kind);
        let damaged = || super::files::damaged(path);
        let entry = file.entry(tree.kind).ok_or_else(damaged)?;
        let places = TreePlaces {
            shape: tree.shape,
            leaves: leaves_of(tree.shape, entry.bytes),
        };
        let found = self.leaf_of(file, tree.kind, places, address).await?;
        let (index, leaf) = found.ok_or_else(damaged)?;
        let nodes = places.proof(leaf.position);
        let nodes = self.parts(file, tree.kind, &nodes).await?;
        let nodes: Option<Vec<Hash>> = nodes.iter().map(|bytes| node_of_bytes(bytes)).collect();
        let nodes = nodes.ok_or_else(damaged)?;
        // What was read in parts is only as good as its root.
        let root = proof_root((tree.leaf)(index, address, leaf.amount), &nodes);
        if file.roots.of(tree.kind).and_then(Hash::of_text) != Some(root) {
            return Err(damaged());
        }
        Ok(Proof {
            root: root.to_string(),
            index,
            address,
            amount: leaf.amount.to_string(),
            proof: nodes.iter().map(Hash::to_string).collect(),
        })
    }

    /// The leaf of an address and its number; `None`: it has none. Addresses are spread evenly, so that a guess is near;
    /// and every second guess halves what is left, however they are spread.
    async fn leaf_of(
        &self,
        file: &CloseFile,
        kind: FileKind,
        places: TreePlaces,
        address: Address,
    ) -> Result<Option<(u64, TreeLeaf)>, CommandError> {
        let (mut low, mut high) = (0, places.leaves);
        let mut is_guess = true;
        while low < high {
            let middle = match is_guess {
                true => share_of(address, places.leaves).clamp(low, high - 1),
                false => low + (high - low) / 2,
            };
            is_guess = !is_guess;
            let begin = middle.saturating_sub(LEAVES_PER_READ / 2).max(low);
            let end = (begin + LEAVES_PER_READ).min(high);
            let range = places.leaf(begin).start..places.leaf(end).start;
            let bytes = self.part(file, kind, range).await?;
            let leaves: Vec<TreeLeaf> = bytes
                .chunks(LEAF_BYTES as usize)
                .filter_map(TreeLeaf::of_bytes)
                .collect();
            match leaves.binary_search_by_key(&address, |leaf| leaf.address) {
                Ok(at) => return Ok(Some((begin + at as u64, leaves[at]))),
                Err(0) => high = begin,
                Err(at) if at == leaves.len() => low = end,
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// A tree in which a claim is looked up.
struct ClaimTree {
    kind: FileKind,
    shape: Shape,
    leaf: LeafHash,
}

const OPENZEPPELIN: ClaimTree = ClaimTree {
    kind: FileKind::OpenZeppelinTree,
    shape: Shape::Standard,
    leaf: standard_leaf,
};
const UNISWAP: ClaimTree = ClaimTree {
    kind: FileKind::UniswapTree,
    shape: Shape::Layers,
    leaf: uniswap_leaf,
};
const CUMULATIVE: ClaimTree = ClaimTree {
    kind: FileKind::CumulativeTree,
    shape: Shape::Standard,
    leaf: standard_leaf,
};

/// How many leaves a tree file of this length has.
fn leaves_of(shape: Shape, bytes: u64) -> u64 {
    let (mut low, mut high) = (0, bytes / (LEAF_BYTES + NODE_BYTES) + 1);
    while low < high {
        let leaves = low + (high - low) / 2;
        match (TreePlaces { shape, leaves }).bytes() < bytes {
            true => low = leaves + 1,
            false => high = leaves,
        }
    }
    low
}

/// Where an address would be among so many that are spread evenly.
fn share_of(address: Address, leaves: u64) -> u64 {
    let mut head = [0; 8];
    head.copy_from_slice(&address.0[..8]);
    let share = u128::from(u64::from_be_bytes(head)) * u128::from(leaves);
    u64::try_from(share >> 64).unwrap_or(u64::MAX)
}

/// A file that an admin has to bring back.
fn gone(file: &CloseFile, kind: FileKind) -> CommandError {
    let detail = format!(
        "the file {} is gone or was cut short; an admin makes it again with `tidemark close {}`",
        file.name_of(kind),
        file.month
    );
    Refusal::waits("closing_file_missing", detail).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{IndexCache, IndexKey};
    use crate::claims::AccountsIndex;

    #[test]
    fn an_index_is_kept_for_the_file_from_which_it_was_read() {
        let key = |sha256: &str| -> IndexKey { ("2026-08".parse().unwrap(), sha256.to_owned()) };
        let cache = IndexCache::default();
        let index = AccountsIndex::read("a test", b"0,,\n").unwrap();
        cache.keep(key("one"), &Arc::new(index));
        assert!(cache.get(&key("one")).is_some());
        assert!(cache.get(&key("other")).is_none());
    }
}
