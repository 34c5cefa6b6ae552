//! The frozen weights of proposals. Table Checkpoints:
//! - partition `votes`, item `<proposal>`: what was frozen, by whom, and the hash of its document.
//!   Written last, once, and never changed.
//! - partition `votes#<proposal>`, items `<hash>#<number>`: the document in pieces of whole lines.
//!
//! Pieces are named by the document's hash, so that two who freeze at once either write the same
//! bytes to the same items or do not touch each other's; and one that was killed leaves nothing
//! that anybody reads. (Files were considered: every process that serves scores would have to reach
//! the place, and an installation without one could not vote. A document of 100,000 addresses is 9
//! MB.)

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::audit;
use super::conditional::{Attempts, WriteOutcome};
use super::db::{Attr, Condition, Db, Item, Key, Query, StoreError, Table, Write};
use super::pages;
use super::row::{Fields, Row};
use crate::domain::amount::Points;
use crate::domain::ids::AccountKind;
use crate::domain::position::Control;
use crate::domain::time::{Millis, Month};
use crate::domain::votes::{Formula, ProposalId, VoteTerms};

const PARTITION: &str = "votes";
/// Most bytes of a piece: an item holds 400 KiB.
pub const PIECE_BYTES_MAX: usize = 256 << 10;

/// A proposal whose weights are frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenVotes {
    /// Which.
    pub proposal: ProposalId,
    /// What the weights were computed from.
    pub terms: VoteTerms,
    /// The control position as of which wallets count.
    pub control: Control,
    /// SHA-256 of the document, in hexadecimal.
    pub hash: String,
    /// How long it is.
    pub bytes: u64,
    /// In how many pieces it is kept.
    pub pieces: u32,
    /// How many addresses have a weight.
    pub addresses: u64,
    /// The sum of the weights.
    pub total: u128,
    /// When it was frozen.
    pub frozen_at: Millis,
    /// By whom.
    pub by: String,
}

fn record_key(proposal: &ProposalId) -> Key {
    Key::new(Table::Checkpoints, PARTITION, proposal.as_str())
}

fn pieces_partition(proposal: &ProposalId) -> String {
    format!("{PARTITION}#{proposal}")
}

fn piece_key(proposal: &ProposalId, hash: &str, number: u32) -> Key {
    let item = format!("{hash}#{number:06}");
    Key::new(Table::Checkpoints, pieces_partition(proposal), item)
}

/// A proposal, if its weights are frozen.
pub async fn find(db: &dyn Db, proposal: &ProposalId) -> Result<Option<FrozenVotes>, StoreError> {
    let item = db.get(&record_key(proposal)).await?;
    item.map(|item| decode_votes(&item)).transpose()
}

/// Proposals by name, those behind `after`, at most `limit`; and whether there are more.
pub async fn list(
    db: &dyn Db,
    after: Option<&ProposalId>,
    limit: u32,
) -> Result<(Vec<FrozenVotes>, bool), StoreError> {
    let query = Query {
        after: after.map(|proposal| record_key(proposal).item()),
        ..pages::whole(Table::Checkpoints, PARTITION)
    };
    let page = pages::first(db, query, limit as usize).await?;
    let found = page.items.iter().map(decode_votes);
    let found = found.collect::<Result<Vec<FrozenVotes>, StoreError>>()?;
    Ok((found, !page.is_whole))
}

/// Keeps a piece of the document with this hash. Idempotent.
pub async fn put_piece(
    db: &dyn Db,
    proposal: &ProposalId,
    hash: &str,
    number: u32,
    bytes: Vec<u8>,
) -> Result<(), StoreError> {
    let mut item = piece_key(proposal, hash, number).into_item();
    item.insert("bytes", Attr::B(bytes.into()));
    db.put_all(Table::Checkpoints, vec![item]).await
}

/// A piece of a frozen document.
pub async fn piece(
    db: &dyn Db,
    frozen: &FrozenVotes,
    number: u32,
) -> Result<bytes::Bytes, StoreError> {
    let key = piece_key(&frozen.proposal, &frozen.hash, number);
    let item = db.get(&key).await?.unwrap_or_default();
    match item.get("bytes") {
        Some(Attr::B(bytes)) => Ok(bytes.clone()),
        _ => Err(Row::new(key, &item).corrupt("the piece of the frozen document is missing")),
    }
}

/// Freezes a proposal whose pieces are all written, once. `None`: it was frozen now; else what was
/// frozen before, which may be the same.
pub async fn freeze(
    db: &dyn Db,
    frozen: &FrozenVotes,
    reason: &str,
) -> Result<Option<FrozenVotes>, StoreError> {
    let mut attempts = Attempts::new(db);
    loop {
        if let Some(before) = find(db, &frozen.proposal).await? {
            // Also after a lost answer: this very attempt.
            return Ok(Some(before).filter(|before| before != frozen));
        }
        let writes = vec![put(frozen), audit_write(frozen, reason)];
        if attempts.write(writes).await? == WriteOutcome::Written {
            return Ok(None);
        }
    }
}

/// Removes pieces of documents that were not frozen.
pub async fn sweep(db: &dyn Db, frozen: &FrozenVotes) -> Result<(), StoreError> {
    let mut query = Query {
        limit: Some(1),
        ..pages::whole(Table::Checkpoints, pieces_partition(&frozen.proposal))
    };
    loop {
        let page = db.query(&query).await?;
        for item in &page.items {
            let row = Row::new(piece_key(&frozen.proposal, "?", 0), item);
            let name = row.text("item")?;
            if !name.starts_with(&format!("{}#", frozen.hash)) {
                let key = Key::new(Table::Checkpoints, pieces_partition(&frozen.proposal), name);
                let condition = Condition::Always;
                db.write(Write::Delete { key, condition }).await?;
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

/// The terms as they are stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredTerms {
    from: String,
    to: String,
    kinds: Vec<AccountKind>,
    formula: String,
    cap: Option<i64>,
}

fn audit_write(frozen: &FrozenVotes, reason: &str) -> Write {
    audit::write(&audit::Entry {
        at: frozen.frozen_at,
        action: "votes.freeze".to_owned(),
        subject: frozen.proposal.to_string(),
        by: frozen.by.clone(),
        detail: json!({
            "hash": frozen.hash,
            "control": frozen.control,
            "from": frozen.terms.from,
            "to": frozen.terms.to,
            "formula": frozen.terms.formula.as_str(),
            "addresses": frozen.addresses,
            "reason": reason,
        }),
    })
}

fn put(frozen: &FrozenVotes) -> Write {
    let terms = StoredTerms {
        from: frozen.terms.from.to_string(),
        to: frozen.terms.to.to_string(),
        kinds: frozen.terms.kinds.clone(),
        formula: frozen.terms.formula.as_str().to_owned(),
        cap: frozen.terms.formula.cap().map(|cap| cap.0),
    };
    let fields = Fields::of(&record_key(&frozen.proposal))
        .json("terms", &terms)
        .number("control", frozen.control.0)
        .text("hash", &frozen.hash)
        .number("bytes", frozen.bytes)
        .number("pieces", frozen.pieces)
        .number("addresses", frozen.addresses)
        .text("total", frozen.total)
        .number("frozenAt", frozen.frozen_at.0)
        .text("by", &frozen.by);
    Write::Put {
        table: Table::Checkpoints,
        item: fields.item(),
        condition: Condition::Absent,
    }
}

fn decode_votes(item: &Item) -> Result<FrozenVotes, StoreError> {
    let unknown = Row::new(Key::new(Table::Checkpoints, PARTITION, "?"), item);
    let proposal: ProposalId = unknown.parsed("item")?;
    let row = Row::new(record_key(&proposal), item);
    let terms: StoredTerms = row.json("terms")?;
    let month = |text: &str| {
        let month: Result<Month, _> = text.parse();
        month.map_err(|_| row.corrupt(format!("the month {text}")))
    };
    let formula = match (terms.formula.as_str(), terms.cap) {
        ("total", None) => Formula::Total,
        ("square_root", None) => Formula::SquareRoot,
        ("cap", Some(cap)) => Formula::Cap(Points(cap)),
        (other, _) => return Err(row.newer(format!("the formula {other}"))),
    };
    let terms = VoteTerms {
        from: month(&terms.from)?,
        to: month(&terms.to)?,
        kinds: terms.kinds,
        formula,
    };
    Ok(FrozenVotes {
        terms,
        control: Control(row.number("control")?),
        hash: row.text("hash")?.to_owned(),
        bytes: row.number("bytes")?,
        pieces: row.number("pieces")?,
        addresses: row.number("addresses")?,
        total: row.parsed("total")?,
        frozen_at: Millis(row.number("frozenAt")?),
        by: row.text("by")?.to_owned(),
        proposal,
    })
}
