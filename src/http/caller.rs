//! Who a request comes from and what it may do, as arguments of handlers.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::problem::Problem;
use crate::domain::access::{Scope, Source};
use crate::domain::ids::Account;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For audit entries and logs: never a secret.
    pub by: String,
    /// The id of the API key; a token has none.
    key: Option<Arc<str>>,
    scopes: Arc<[Scope]>,
}

impl Caller {
    /// A caller.
    pub fn new(by: String, scopes: impl Into<Arc<[Scope]>>) -> Caller {
        let (key, scopes) = (None, scopes.into());
        Caller { by, key, scopes }
    }

    /// The same, which came with this API key.
    pub fn with_key(self, id: &str) -> Caller {
        Caller {
            key: Some(id.into()),
            ..self
        }
    }

    /// What it may do.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Whether it holds this scope, or one that covers it.
    pub fn may(&self, needed: &Scope) -> bool {
        self.scopes.iter().any(|scope| scope.covers(needed))
    }

    /// Refuses a caller that holds none of these.
    pub fn must(&self, needed: &[Scope]) -> Result<(), Problem> {
        if needed.iter().any(|scope| self.may(scope)) {
            return Ok(());
        }
        // Which account was asked for is known to the caller; whether it exists is not told.
        let names: Vec<String> = needed.iter().map(ToString::to_string).collect();
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            format!("this needs the scope {}", names.join(" or ")),
        ))
    }

    /// Refuses a caller that may not read this account: its owner may, and whoever may read
    /// everything.
    pub fn must_read(&self, account: &Account) -> Result<(), Problem> {
        self.must(&[Scope::Account(account.clone()), Scope::AdminRead])
    }

    /// Refuses a caller that may not act for this account: its owner may, and whoever may change
    /// everything.
    pub fn must_act_for(&self, account: &Account) -> Result<(), Problem> {
        self.must(&[Scope::Account(account.clone()), Scope::AdminWrite])
    }

    /// Who acts for an account that may be another's, for the audit trail. `None`: the caller is no
    /// admin, so it may act only for its own.
    pub fn in_anothers_stead(&self) -> Option<&str> {
        self.may(&Scope::AdminWrite).then_some(self.by.as_str())
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        // Set by `guard`; a route outside of it that asks for a caller lets nobody in.
        parts.extensions.get().cloned().ok_or_else(no_key)
    }
}

/// A caller that may send events, and of which sources.
#[derive(Debug)]
pub struct Sender {
    /// Who sends.
    pub caller: Caller,
    /// Of which sources.
    pub sources: Sources,
}

impl Sender {
    /// The id of the API key; tokens may not send events.
    pub fn key(&self) -> Option<Arc<str>> {
        self.caller.key.clone()
    }
}

/// The sources of which somebody may send events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Of any.
    Any,
    /// Of these.
    Only(Arc<[Source]>),
}

impl Sources {
    /// Refuses an event of another source.
    pub fn must_have(&self, source: &str) -> Result<(), Problem> {
        let only = match self {
            Sources::Any => return Ok(()),
            Sources::Only(only) => only,
        };
        if only.iter().any(|one| one.as_str() == source) {
            return Ok(());
        }
        let names: Vec<&str> = only.iter().map(Source::as_str).collect();
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign_source",
            format!(
                "an event has the source '{source}', but this key may only send events of {}; nothing was accepted",
                names.join(", ")
            ),
        ))
    }
}

impl Caller {
    /// The sources of which this caller may send events; a refusal, if there are none.
    pub fn sources(&self) -> Result<Sources, Problem> {
        if self.may(&Scope::Ingest) {
            return Ok(Sources::Any);
        }
        let sources = self.scopes.iter().filter_map(|scope| match scope {
            Scope::IngestOf(source) => Some(source.clone()),
            _ => None,
        });
        let sources: Arc<[Source]> = sources.collect();
        if sources.is_empty() {
            self.must(&[Scope::Ingest])?;
        }
        Ok(Sources::Only(sources))
    }
}

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Sender, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let sources = caller.sources()?;
        Ok(Sender { caller, sources })
    }
}

/// A right that a whole route needs.
pub trait Right {
    /// The scope.
    const SCOPE: Scope;
}

/// Reading everything.
#[derive(Debug)]
pub struct AdminRead;
/// Changing what admins change.
#[derive(Debug)]
pub struct AdminWrite;

impl Right for AdminRead {
    const SCOPE: Scope = Scope::AdminRead;
}

impl Right for AdminWrite {
    const SCOPE: Scope = Scope::AdminWrite;
}

/// A caller that has the right `R`; anybody else gets 403 before the body is read.
#[derive(Debug)]
pub struct May<R>(pub Caller, PhantomData<R>);

impl<S: Sync, R: Right> FromRequestParts<S> for May<R> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<May<R>, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.must(&[R::SCOPE])?;
        Ok(May(caller, PhantomData))
    }
}

/// No key was sent.
pub(super) fn no_key() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "no_key",
        "send your API key: Authorization: Bearer tmk_…",
    )
}
