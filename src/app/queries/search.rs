//! One search for what admins look for: accounts, referral codes and API keys.

use serde::Serialize;
use utoipa::ToSchema;

use super::{CodeView, KeyInfo, KeyPage, Queries, QueryError};
use crate::domain::access::Scope;
use crate::domain::ids::{Account, AccountKind};
use crate::store::accounts::{HeadNow, head_now};
use crate::store::db::StoreError;
use crate::store::keys::KeyText;
use crate::store::{awards, credits, referrals, wallets};

/// Most keys that are shown.
const KEYS_MAX: usize = 50;

/// What is known of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccountTrace {
    /// It has usage or points.
    Row,
    /// It was referred by another account.
    Link,
    /// It has a referral code.
    Code,
    /// It referred another account.
    Referees,
    /// It was granted an award, or an adjustment.
    Awards,
    /// Credit was added for it.
    Credits,
    /// It has linked a wallet, or had.
    Wallet,
    /// There is an API key for it, which may be revoked.
    Key,
}

/// An account, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundAccount {
    /// User or provider.
    #[schema(value_type = String)]
    pub user_type: AccountKind,
    /// Its id.
    pub id: String,
    /// What is known of it.
    pub known_by: Vec<AccountTrace>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchResult {
    /// Accounts with exactly this id: a user, a provider, or both.
    pub accounts: Vec<FoundAccount>,
    /// The referral code with this text, regardless of case.
    pub code: Option<CodeView>,
    /// Keys with this id, or whose name contains this text, regardless of case; the newest first.
    pub keys: Vec<KeyInfo>,
    /// How many more keys there are.
    pub further_keys: usize,
    /// True: there are more than 5,000 keys, and only the first 5,000 by id were searched, for names
    /// and for accounts of which there is nothing but a key; absent otherwise. A key is found by its
    /// id wherever it is, and `GET /api/admin/keys` lists all of them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub keys_unsearched: bool,
}

/// What there is of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountTraces {
    /// What was found.
    pub found: Vec<AccountTrace>,
    /// There are more than [`super::KEYS_LOOKED_MAX`] keys, so the account may have one that was not
    /// looked at.
    pub are_keys_unsearched: bool,
}

impl AccountTraces {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

/// The id of an API key that was given whole, by mistake or for want of its id.
pub fn id_of_pasted_key(text: &str) -> Option<String> {
    let key = text.trim().parse::<KeyText>().ok()?;
    Some(key.id().to_owned())
}

impl SearchResult {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.code.is_none() && self.keys.is_empty()
    }
}

impl Queries {
    /// What there is of an account, of keys only if there is nothing else.
    pub async fn traces_of(&self, account: &Account) -> Result<AccountTraces, QueryError> {
        let found = self.traces(account, &[]).await?;
        if !found.is_empty() {
            return Ok(AccountTraces {
                found,
                are_keys_unsearched: false,
            });
        }
        let KeyPage { keys, next } = self.keys().await?;
        Ok(AccountTraces {
            found: self.traces(account, &keys).await?,
            are_keys_unsearched: next.is_some(),
        })
    }

    async fn traces(
        &self,
        account: &Account,
        keys: &[KeyInfo],
    ) -> Result<Vec<AccountTrace>, StoreError> {
        let db = self.db();
        let credits = async {
            match account.kind {
                AccountKind::User => credits::added(db, account.id()).await,
                AccountKind::Provider => Ok(credits::Added::default()),
            }
        };
        let (row, link, code, credits) = futures::try_join!(
            self.has_row(account),
            referrals::link_of(db, account),
            referrals::code_of(db, account),
            credits,
        )?;
        let (referees, (awards, _), wallet) = futures::try_join!(
            referrals::referees(db, account, 1),
            awards::some_awards_of(db, account, 1),
            wallets::wallet_of(db, account),
        )?;
        let scope = Scope::Account(account.clone());
        let has_key = keys.iter().any(|key| key.scopes.contains(&scope));
        let traces = [
            (AccountTrace::Row, row),
            (AccountTrace::Link, link.is_some()),
            (AccountTrace::Code, code.is_some()),
            (AccountTrace::Referees, !referees.links.is_empty()),
            (AccountTrace::Awards, !awards.is_empty()),
            (AccountTrace::Credits, credits.entries > 0),
            (AccountTrace::Wallet, wallet.is_some()),
            (AccountTrace::Key, has_key),
        ];
        let found = traces.into_iter().filter(|(_, is_there)| *is_there);
        Ok(found.map(|(trace, _)| trace).collect())
    }

    async fn has_row(&self, account: &Account) -> Result<bool, StoreError> {
        match head_now(self.db(), account).await {
            Ok(head) => Ok(head != HeadNow::Absent),
            // A row that cannot be read is one.
            Err(StoreError::Corrupt { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Looks for a text: the id of an account, a referral code, the id or a part of the name of an
    /// API key. Of a whole key, its id counts.
    pub async fn search(&self, text: &str) -> Result<SearchResult, QueryError> {
        let KeyPage { mut keys, next } = self.keys().await?;
        let pasted = id_of_pasted_key(text);
        let mut accounts = Vec::new();
        for kind in AccountKind::ALL.into_iter().filter(|_| pasted.is_none()) {
            let Ok(account) = Account::new(kind, text) else {
                continue;
            };
            let known_by = self.traces(&account, &keys).await?;
            if !known_by.is_empty() {
                let id = account.id().to_owned();
                accounts.push(FoundAccount {
                    user_type: kind,
                    id,
                    known_by,
                });
            }
        }
        let code = referrals::lookup(self.db(), text).await?;
        let wanted = pasted.as_deref().unwrap_or(text).to_lowercase();
        // By its id a key is found wherever it stands.
        if next.is_some() && !keys.iter().any(|key| key.id == wanted) {
            keys.extend(self.key(&wanted).await?);
        }
        let matches = |key: &KeyInfo| {
            key.id == wanted || pasted.is_none() && key.name.to_lowercase().contains(&wanted)
        };
        let mut found: Vec<KeyInfo> = keys.into_iter().rev().filter(matches).collect();
        let further_keys = found.len().saturating_sub(KEYS_MAX);
        found.truncate(KEYS_MAX);
        Ok(SearchResult {
            accounts,
            code: code.map(CodeView::from),
            keys: found,
            further_keys,
            keys_unsearched: next.is_some(),
        })
    }
}
