//! Who may do what: the scopes of API keys and tokens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{Account, AccountKind, IdError};

/// One thing that the holder of a key may do. As text: `ingest`, `admin:read`, `admin:write`, `account:user:alice`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Scope {
    /// Send usage events, and ask whether a user may be served.
    Ingest,
    /// Read everything.
    AdminRead,
    /// Change prices, credits, points and rejects; holds `admin:read` too.
    AdminWrite,
    /// Read one account, and do what its owner may: make its code, enter a code.
    Account(Account),
}

/// The text names no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not one of ours.
    #[error(
        "'{0}' is no scope; allowed: ingest, admin:read, admin:write, account:user:ID, account:provider:ID"
    )]
    Unknown(String),
    /// `account:…` with a bad account.
    #[error("'{text}' is no scope: {error}")]
    Account {
        /// What was given.
        text: String,
        /// Why.
        error: IdError,
    },
}

impl Scope {
    /// Whether whoever holds `self` may do what needs `needed`.
    pub fn covers(&self, needed: &Scope) -> bool {
        self == needed || matches!((self, needed), (Scope::AdminWrite, Scope::AdminRead))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Ingest => f.write_str("ingest"),
            Scope::AdminRead => f.write_str("admin:read"),
            Scope::AdminWrite => f.write_str("admin:write"),
            Scope::Account(account) => write!(f, "account:{account}"),
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Scope, ScopeError> {
        match text {
            "ingest" => return Ok(Scope::Ingest),
            "admin:read" => return Ok(Scope::AdminRead),
            "admin:write" => return Ok(Scope::AdminWrite),
            _ => (),
        }
        let account = text
            .strip_prefix("account:")
            .and_then(|rest| rest.split_once(':'));
        let Some((kind, id)) = account else {
            return Err(ScopeError::Unknown(text.to_owned()));
        };
        let account = kind
            .parse::<AccountKind>()
            .and_then(|kind| Account::new(kind, id));
        account
            .map(Scope::Account)
            .map_err(|error| ScopeError::Account {
                text: text.to_owned(),
                error,
            })
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> String {
        scope.to_string()
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;
    fn try_from(text: String) -> Result<Scope, ScopeError> {
        text.parse()
    }
}
