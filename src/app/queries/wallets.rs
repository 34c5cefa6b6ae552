//! Wallets: where an account's claims go.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Queries, QueryError, text};
use crate::domain::ethereum::Address;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::time::Millis;
use crate::store::wallets::{self, WalletChange};

/// How many changes are shown.
const CHANGES_SHOWN: u32 = 50;

/// An account's wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Wallet)]
pub struct WalletView {
    /// User or provider.
    #[schema(value_type = String)]
    pub kind: AccountKind,
    /// Whose.
    pub id: String,
    /// The address to which its claims go, with its checksum (EIP-55); `null` if it has none.
    #[schema(value_type = Option<String>)]
    pub address: Option<Address>,
    /// Every link and unlink, the newest first: the last 50.
    pub history: Vec<WalletChangeView>,
}

/// A link, or an unlink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WalletChange)]
pub struct WalletChangeView {
    /// When.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub at: Millis,
    /// The address from then on; `null`: it was unlinked.
    #[schema(value_type = Option<String>)]
    pub address: Option<Address>,
    /// The entry of the control feed: months that are closed as of an earlier one go by the address
    /// before.
    pub control: u64,
    /// Why, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An admin did it, not the account itself; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub by_admin: bool,
}

impl From<WalletChange> for WalletChangeView {
    fn from(change: WalletChange) -> WalletChangeView {
        WalletChangeView {
            at: change.at,
            address: change.address,
            control: change.control.0,
            reason: change.reason,
            by_admin: change.by_admin,
        }
    }
}

impl Queries {
    /// An account's wallet, and how it came to be.
    pub async fn wallet(&self, account: &Account) -> Result<WalletView, QueryError> {
        let wallet = wallets::wallet_of(self.db(), account).await?;
        let changes = match wallet {
            Some(_) => wallets::changes_of(self.db(), account, CHANGES_SHOWN).await?,
            None => Vec::new(),
        };
        Ok(WalletView {
            kind: account.kind,
            id: account.id().to_owned(),
            address: wallet.and_then(|wallet| wallet.address),
            history: changes.into_iter().map(WalletChangeView::from).collect(),
        })
    }
}
