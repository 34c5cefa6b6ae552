//! Who may do what: the scopes of API keys and tokens.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{Account, AccountKind, IdError, check_id};

/// One thing that the holder of a key may do. As text: `ingest`, `ingest:SOURCE`, `admin:read`,
/// `admin:write`, `account:user:alice`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Scope {
    /// Send usage events, and ask whether a user may be served.
    Ingest,
    /// The same, but send events of this CloudEvents source alone.
    IngestOf(Source),
    /// Read everything.
    AdminRead,
    /// Change prices, credits, points and rejects; holds `admin:read` too.
    AdminWrite,
    /// Read one account, and do what its owner may: make its code, enter a code.
    Account(Account),
}

/// The `source` of CloudEvents: who has measured them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(Arc<str>);

impl Source {
    /// A source, if the text is one: it has the form of an id.
    pub fn new(text: &str) -> Result<Source, IdError> {
        check_id(text)?;
        Ok(Source(text.into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text names no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not one of ours.
    #[error(
        "'{0}' is not a scope; allowed: ingest, ingest:SOURCE, admin:read, admin:write, \
         account:user:ID, account:provider:ID"
    )]
    Unknown(String),
    /// `account:…` with a bad account, or `ingest:…` with a bad source.
    #[error("'{text}' is not a scope: {error}")]
    Id {
        /// What was given.
        text: String,
        /// Why.
        error: IdError,
    },
}

impl Scope {
    /// Whether whoever holds `self` may do what needs `needed`.
    pub fn covers(&self, needed: &Scope) -> bool {
        use Scope::{AdminRead, AdminWrite, Ingest, IngestOf};
        self == needed
            || matches!(
                (self, needed),
                (AdminWrite, AdminRead) | (Ingest, IngestOf(_))
            )
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Ingest => f.write_str("ingest"),
            Scope::IngestOf(Source(source)) => write!(f, "ingest:{source}"),
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
        if let Some(source) = text.strip_prefix("ingest:") {
            let source = Source::new(source);
            return source.map(Scope::IngestOf).map_err(|error| ScopeError::Id {
                text: text.to_owned(),
                error,
            });
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
        account.map(Scope::Account).map_err(|error| ScopeError::Id {
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
