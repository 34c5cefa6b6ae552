//! Referral codes: one per account, each with one owner.

use serde_json::json;

use crate::domain::ids::Account;
use crate::domain::referral::{RANDOM_VALUES, ReferralCode};
use crate::domain::time::Millis;
use crate::store::audit;
use crate::store::awards::read_account;
use crate::store::conditional::{Attempts, WriteOutcome, until_visible};
use crate::store::db::{Attr, Condition, Db, Item, Key, StoreError, Table, Write};
use crate::store::row::{Fields, Row};

/// How many random codes are tried before a collision with each is reported; 28 million endings
/// make one rare.
const CODES_TRIED_MAX: u64 = 20;

/// A referral code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// `ABCD-EFGHJ`.
    pub code: String,
    /// Whose.
    pub owner: Account,
    /// Whether signups are accepted.
    pub active: bool,
    /// How many signed up with it.
    pub signups: u64,
    /// When it was made.
    pub created_at: Millis,
}

fn code_key(code: &str) -> Key {
    Key::new(Table::ReferralCodes, code, "")
}

fn owner_key(owner: &Account) -> Key {
    Key::new(Table::Checkpoints, format!("code#{owner}"), "code")
}

/// The account's code; made now if it has none. `random` decides the new code's ending. `by`: who
/// makes it in the account's stead, for the audit trail.
pub async fn code_for(
    db: &dyn Db,
    owner: &Account,
    random: u64,
    now: Millis,
    by: Option<&str>,
) -> Result<Code, StoreError> {
    let mut attempts = Attempts::new(db);
    let mut tried = 0;
    while tried < CODES_TRIED_MAX {
        let code = new_code(owner, random.wrapping_add(tried), now);
        let [pointer, taken] = both(db, &owner_key(owner), &code_key(&code.code)).await?;
        if let Some(pointer) = pointer {
            return owned_code(db, owner, &pointer).await;
        }
        if taken.is_some() {
            tried += 1;
            continue;
        }
        if attempts.write(code_writes(&code, by)).await? == WriteOutcome::Written {
            return Ok(code);
        }
    }
    Err(StoreError::Unavailable(format!(
        "{CODES_TRIED_MAX} random codes are all taken; retry"
    )))
}

/// The account's code, if it has one. None is made.
pub async fn code_of(db: &dyn Db, owner: &Account) -> Result<Option<Code>, StoreError> {
    match db.get(&owner_key(owner)).await? {
        Some(pointer) => owned_code(db, owner, &pointer).await.map(Some),
        None => Ok(None),
    }
}

async fn both(db: &dyn Db, a: &Key, b: &Key) -> Result<[Option<Item>; 2], StoreError> {
    let mut items = db.batch_get(&[a.clone(), b.clone()]).await?.into_iter();
    Ok([items.next().flatten(), items.next().flatten()])
}

fn new_code(owner: &Account, random: u64, now: Millis) -> Code {
    Code {
        code: ReferralCode::draw(owner.id(), draws(random)).to_string(),
        owner: owner.clone(),
        active: true,
        signups: 0,
        created_at: now,
    }
}

/// Spreads one random number over the draws of a code (SplitMix64).
fn draws(random: u64) -> [u32; RANDOM_VALUES] {
    let mut state = random;
    std::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    })
}

fn code_writes(code: &Code, by: Option<&str>) -> Vec<Write> {
    let pointer = Fields::of(&owner_key(&code.owner)).text("code", &code.code);
    let mut writes = vec![
        Write::Put {
            table: Table::Checkpoints,
            item: pointer.item(),
            condition: Condition::Absent,
        },
        put_code(code, Condition::Absent),
    ];
    let made = |by: &str| {
        audit::write(&audit::Entry {
            at: code.created_at,
            action: "referral_codes.create".to_owned(),
            subject: code.code.clone(),
            by: by.to_owned(),
            detail: json!({"owner": code.owner}),
        })
    };
    writes.extend(by.map(made));
    writes
}

/// The code to which the owner's pointer points. The two were written together, but may become
/// visible one by one.
async fn owned_code(db: &dyn Db, owner: &Account, pointer: &Item) -> Result<Code, StoreError> {
    let row = Row::new(owner_key(owner), pointer);
    let name = row.text("code")?;
    let key = code_key(name);
    match until_visible(db, || db.get(&key)).await? {
        Some(item) => read_code(name, &item),
        None => Err(row.corrupt(format!("its code {name} is not in ReferralCodes"))),
    }
}

/// The code as a person typed it (case and surrounding spaces do not matter); `None` if there is
/// none.
pub async fn lookup(db: &dyn Db, typed: &str) -> Result<Option<Code>, StoreError> {
    let Ok(code) = typed.parse::<ReferralCode>() else {
        return Ok(None);
    };
    let item = db.get(&code_key(code.as_str())).await?;
    item.map(|item| read_code(code.as_str(), &item)).transpose()
}

/// Whether a code shall be accepted, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Whether signups are accepted from now on.
    pub active: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub now: Millis,
}

/// Switches a code on or off, with an entry of the audit trail. Idempotent: a code that is as it
/// shall be stays so. `None` if there is no such code.
pub async fn set_active(
    db: &dyn Db,
    typed: &str,
    switch: &Switch,
) -> Result<Option<Code>, StoreError> {
    let mut attempts = Attempts::new(db);
    loop {
        let Some(code) = lookup(db, typed).await? else {
            return Ok(None);
        };
        if code.active == switch.active {
            return Ok(Some(code));
        }
        let changed = Code {
            active: switch.active,
            ..code.clone()
        };
        let writes = vec![
            put_code(&changed, unchanged(&code)),
            audit_entry(&changed, switch),
        ];
        if attempts.write(writes).await? == WriteOutcome::Written {
            return Ok(Some(changed));
        }
    }
}

fn audit_entry(code: &Code, switch: &Switch) -> Write {
    audit::write(&audit::Entry {
        at: switch.now,
        action: "referral_codes.switch".to_owned(),
        subject: code.code.clone(),
        by: switch.by.clone(),
        detail: json!({"active": code.active, "owner": code.owner, "reason": switch.reason}),
    })
}

/// Holds while the row of a code is as it was read.
pub(super) fn unchanged(code: &Code) -> Condition {
    Condition::Equals("state", Attr::S(code_state(code)))
}

/// All that can change in a code's row, as one text for one equality condition.
fn code_state(code: &Code) -> String {
    let active = if code.active { "active" } else { "inactive" };
    format!("{active}#{}", code.signups)
}

pub(super) fn put_code(code: &Code, condition: Condition) -> Write {
    let fields = Fields::of(&code_key(&code.code))
        .text("owner", &code.owner)
        .text("userType", code.owner.kind)
        .number("active", i128::from(code.active))
        .number("signups", code.signups)
        .number("createdAt", code.created_at.0)
        .text("state", code_state(code));
    Write::Put {
        table: Table::ReferralCodes,
        item: fields.item(),
        condition,
    }
}

fn read_code(code: &str, item: &Item) -> Result<Code, StoreError> {
    let row = Row::new(code_key(code), item);
    Ok(Code {
        code: code.to_owned(),
        owner: read_account(&row, "owner")?,
        active: row.number::<u8>("active")? == 1,
        signups: row.number("signups")?,
        created_at: Millis(row.number("createdAt")?),
    })
}
