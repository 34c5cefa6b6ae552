//! Who: accounts.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest id, in characters (RULES: ids have 1 to 128 characters).
pub const ID_CHARS_MAX: usize = 128;

/// Longest id, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 4 * ID_CHARS_MAX;

/// What kind of account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    /// Someone who sends requests.
    User,
    /// Someone who serves them.
    Provider,
}

impl AccountKind {
    /// Both kinds, in order.
    pub const ALL: [AccountKind; 2] = [AccountKind::User, AccountKind::Provider];

    /// `user` or `provider`, as it stands in keys and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            AccountKind::User => "user",
            AccountKind::Provider => "provider",
        }
    }

    /// The one of that word.
    pub fn named(word: &str) -> Option<AccountKind> {
        let mut kinds = AccountKind::ALL.into_iter();
        kinds.find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for AccountKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AccountKind {
    type Err = IdError;
    fn from_str(text: &str) -> Result<AccountKind, IdError> {
        AccountKind::named(text).ok_or_else(|| IdError::Kind(text.to_owned()))
    }
}

/// Why an id was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty.
    #[error("an id must not be empty")]
    Empty,
    /// More than [`ID_CHARS_MAX`] characters.
    #[error("an id must have at most {ID_CHARS_MAX} characters")]
    TooLong,
    /// A control character.
    #[error("an id must not contain control characters")]
    Control,
    /// A character that nobody sees, or that turns the order of others.
    #[error(
        "the id of a new account must not contain invisible or direction-changing characters (U+{0:04X})"
    )]
    Invisible(u32),
    /// Neither `user` nor `provider`.
    #[error("'{0}' is not a kind of account; allowed: user, provider")]
    Kind(String),
}

/// Whether all of it is ASCII without control characters. Without a branch per byte, since it runs
/// over every text of every event.
pub fn is_printable_ascii(text: &str) -> bool {
    let printable = |so_far: bool, byte: &u8| so_far & (0x20..0x7f).contains(byte);
    text.as_bytes().iter().fold(true, printable)
}

/// Checks an id: 1 to 128 characters, no control characters.
pub fn check_id(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    // Printable ASCII is the common case and needs one pass over bytes only.
    if id.len() <= ID_CHARS_MAX && is_printable_ascii(id) {
        return Ok(());
    }
    if id.chars().any(char::is_control) {
        return Err(IdError::Control);
    }
    if id.chars().count() > ID_CHARS_MAX {
        return Err(IdError::TooLong);
    }
    Ok(())
}

/// Whether a character is not seen, or changes the direction of the text around it: by such a one
/// an account can be made to look like another.
pub const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'
            ..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Checks the id of an account that is about to be created: [`check_id`], and every character of it
/// is seen. Accounts that exist keep the ids that they have, and events of whatever user are
/// counted.
pub fn check_new_id(id: &str) -> Result<(), IdError> {
    check_id(id)?;
    match id.chars().find(|c| is_invisible(*c)) {
        Some(c) => Err(IdError::Invisible(u32::from(c))),
        None => Ok(()),
    }
}

/// An account: a kind and an id. Ordered by kind, then id. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "(AccountKind, String)", try_from = "(AccountKind, String)")]
pub struct Account {
    /// User or provider.
    pub kind: AccountKind,
    id: Arc<str>,
}

impl Account {
    /// An account, if the id is one.
    pub fn new(kind: AccountKind, id: &str) -> Result<Account, IdError> {
        check_id(id)?;
        Ok(Account {
            kind,
            id: Arc::from(id),
        })
    }

    /// An account of an id that was checked before ([`check_id`]).
    pub fn of_checked(kind: AccountKind, id: &str) -> Account {
        debug_assert!(check_id(id).is_ok());
        Account {
            kind,
            id: Arc::from(id),
        }
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The shared id.
    pub fn id_arc(&self) -> &Arc<str> {
        &self.id
    }

    /// The posting partition of this account among `count`: ours, stable for ever, never the client
    /// library's.
    pub fn partition(&self, count: u32) -> super::position::Partition {
        account_partition(self.kind, &self.id, count)
    }
}

/// A borrowed account, for looking up what is kept by [`Account`]. Hashes as the account does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountRef<'a> {
    /// User or provider.
    pub kind: AccountKind,
    /// The id, checked before.
    pub id: &'a str,
}

impl<'a> AccountRef<'a> {
    /// The user with this id.
    pub const fn user(id: &'a str) -> AccountRef<'a> {
        AccountRef {
            kind: AccountKind::User,
            id,
        }
    }

    /// The provider with this id.
    pub const fn provider(id: &'a str) -> AccountRef<'a> {
        AccountRef {
            kind: AccountKind::Provider,
            id,
        }
    }

    /// An account of its own.
    pub fn to_account(self) -> Account {
        Account::of_checked(self.kind, self.id)
    }
}

impl<'a> From<&'a Account> for AccountRef<'a> {
    fn from(account: &'a Account) -> AccountRef<'a> {
        AccountRef {
            kind: account.kind,
            id: &account.id,
        }
    }
}

impl hashbrown::Equivalent<Account> for AccountRef<'_> {
    fn equivalent(&self, account: &Account) -> bool {
        self.kind == account.kind && self.id == &*account.id
    }
}

/// [`Account::partition`] without building an [`Account`]: XXH3-64 of the id, seeded by the kind,
/// modulo `count`.
pub fn account_partition(kind: AccountKind, id: &str, count: u32) -> super::position::Partition {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(id.as_bytes(), kind as u64);
    super::position::Partition((hash % u64::from(count)) as u32)
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

impl From<Account> for (AccountKind, String) {
    fn from(account: Account) -> (AccountKind, String) {
        (account.kind, account.id.as_ref().to_owned())
    }
}

impl TryFrom<(AccountKind, String)> for Account {
    type Error = IdError;
    fn try_from((kind, id): (AccountKind, String)) -> Result<Account, IdError> {
        Account::new(kind, &id)
    }
}
