//! Who looks at a page, and what the guard has checked of the request: arguments of the pages'
//! handlers.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::ended::SessionId;
use crate::domain::access::Scope;
use crate::domain::ids::Account;
use crate::http::caller::Caller;
use crate::http::problem::Problem;

/// The name of the token in forms.
pub(super) const FORM_TOKEN: &str = "form_token";

/// Who looks at a page.
#[derive(Clone)]
pub(super) struct Visitor {
    /// `None`: nobody is signed in.
    pub caller: Option<Caller>,
    /// What signing out ends.
    pub session: Option<SessionId>,
    /// For every form of the page.
    pub form_token: Arc<str>,
    /// Where the page is, with its query.
    pub here: Arc<str>,
    /// The page of the form that was sent, if one was.
    pub sent_from: Option<Arc<str>>,
}

impl Visitor {
    /// Whether somebody holds this scope.
    pub fn may(&self, scope: &Scope) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.may(scope))
    }

    /// Whether the visitor may act for an account.
    pub fn acts_for(&self, account: &Account) -> bool {
        let caller = self.caller.as_ref();
        caller.is_some_and(|caller| caller.must_act_for(account).is_ok())
    }

    /// The accounts that are the visitor's own.
    pub fn accounts(&self) -> Vec<&Account> {
        let scopes = self.caller.iter().flat_map(Caller::scopes);
        scopes
            .filter_map(|scope| match scope {
                Scope::Account(account) => Some(account),
                _ => None,
            })
            .collect()
    }

    /// Who acts, if it is not an account itself; see [`Caller::in_anothers_stead`].
    pub fn in_anothers_stead(&self) -> Option<&str> {
        self.caller.as_ref().and_then(Caller::in_anothers_stead)
    }

    /// Who the visitor is, for audit entries.
    pub fn by(&self) -> String {
        let by = self.caller.as_ref().map(|caller| caller.by.clone());
        by.unwrap_or_default()
    }
}

/// The account that the path names, of the kind that the page is for.
#[derive(Clone)]
pub(super) struct PathAccount(pub Account);

/// What the guard has left for a handler; a page outside of it shows nothing.
fn left<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, Problem> {
    let left = parts.extensions.get().cloned();
    left.ok_or_else(Problem::internal)
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visitor, Problem> {
        left(parts)
    }
}

impl<S: Sync> FromRequestParts<S> for PathAccount {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<PathAccount, Problem> {
        left(parts)
    }
}

/// The fields of a form that one of our pages showed to who sent it.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Arc<HashMap<String, String>>);

impl Form {
    /// A form with these fields.
    pub fn new(fields: HashMap<String, String>) -> Form {
        Form(Arc::new(fields))
    }

    /// A field without the spaces around it; empty if it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.whole(name).trim()
    }

    /// A field as it was sent.
    pub fn whole(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl<S: Sync> FromRequestParts<S> for Form {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Form, Problem> {
        left(parts)
    }
}
