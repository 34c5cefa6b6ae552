//! Linking the wallet to which an account's claims go.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Commands, Repeat};
use crate::app::queries::{WalletView, text};
use crate::app::words::account_path;
use crate::app::{CommandError, Refusal};
use crate::domain::ethereum::{
    Address, AddressError, MessageError, MessageField, MessageSignature, SignInMessage,
    SignatureError,
};
use crate::domain::ids::Account;
use crate::domain::text::check_reason;
use crate::domain::time::{MINUTE_MS, Millis};
use crate::ops::config::{HttpConfig, PublicOrigin};
use crate::ops::random_name;
use crate::store::wallets::{self, IssuedMessage, LinkError, LinkRefusal, LinkRequest};

/// How long a message can be used.
const MESSAGE_MS: i64 = 15 * MINUTE_MS;

/// What people read in their wallet before they sign. The characters are those that EIP-4361
/// allows.
const STATEMENT: &str = "Link this wallet to the account named below. From now on its claims go to this address. \
     Signing costs nothing, and gives no access to what the wallet holds.";

/// What messages say of the service: it is configured, never taken from a request, because whoever
/// signs relies on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletSite {
    origin: PublicOrigin,
    chain_id: u64,
}

impl WalletSite {
    /// Errors: a refusal where the service's own address is not configured.
    pub fn of(config: &HttpConfig) -> Result<WalletSite, Refusal> {
        let no_origin = || {
            Refusal::conflict(
                "no_public_origin",
                "wallets cannot be linked yet: an operator has to set http.public_origin to the address under which \
                 browsers reach this service, because the message that wallets sign names it",
            )
        };
        Ok(WalletSite {
            origin: config.public_origin.clone().ok_or_else(no_origin)?,
            chain_id: config.wallet_chain_id,
        })
    }

    fn message(
        &self,
        account: &Account,
        address: Address,
        nonce: String,
        now: Millis,
    ) -> SignInMessage {
        SignInMessage {
            scheme: None,
            domain: self.origin.host.clone(),
            address,
            statement: Some(STATEMENT.to_owned()),
            uri: self.origin.to_string(),
            chain_id: self.chain_id,
            nonce,
            issued_at: now,
            expires_at: Some(now.plus(MESSAGE_MS)),
            not_before: None,
            request_id: None,
            resources: vec![self.account_uri(account)],
        }
    }

    fn account_uri(&self, account: &Account) -> String {
        format!("{}{}", self.origin, account_path(account))
    }

    /// Refuses a message that is for something else, whatever its nonce.
    fn check(&self, account: &Account, found: &SignInMessage) -> Result<(), Refusal> {
        let other = |code, what: &str, expected: &str| {
            let detail = format!(
                "the message is for another {what}: here it must say {expected}; ask for a new message and sign that"
            );
            Refusal::invalid(code, detail)
        };
        let (domain, uri) = (&self.origin.host, self.origin.to_string());
        let own = self.account_uri(account);
        if found.domain != *domain {
            return Err(other("message_other_domain", "domain", domain));
        }
        if found.uri != uri {
            return Err(other("message_other_uri", "URI", &uri));
        }
        if found.chain_id != self.chain_id {
            let chain = self.chain_id.to_string();
            return Err(other("message_other_chain", "chain", &chain));
        }
        match found.resources.as_slice() {
            [account] if *account == own => Ok(()),
            _ => Err(other("message_other_account", "account", &own)),
        }
    }
}

/// A message to be signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalletMessage {
    /// The whole text (EIP-4361): sign it as it is, with `personal_sign` (EIP-191).
    pub message: String,
    /// Who must sign it, with its checksum.
    #[schema(value_type = String)]
    pub address: Address,
    /// Its nonce.
    pub nonce: String,
    /// The chain that it names.
    pub chain_id: u64,
    /// Until when it can be used, once.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub expires_at: Millis,
}

impl WalletMessage {
    /// An issued message, from its text; `None` if that is none.
    pub fn of_text(text: &str) -> Option<WalletMessage> {
        let message: SignInMessage = text.parse().ok()?;
        Some(WalletMessage {
            address: message.address,
            chain_id: message.chain_id,
            expires_at: message.expires_at?,
            nonce: message.nonce,
            message: text.to_owned(),
        })
    }
}

/// A wallet to be linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWallet {
    /// To which account.
    pub account: Account,
    /// The message, as it was issued and signed.
    pub message: String,
    /// Its signature: `0x` and 130 hex digits.
    pub signature: String,
    /// How a repeat of it is recognised.
    pub repeat: Repeat,
    /// Who does it, and why.
    pub actor: WalletActor,
}

/// Who changes a wallet, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletActor {
    /// Who, for the audit trail.
    pub by: String,
    /// Whether it may change the wallet of any account: then it must say why, and the account sees
    /// both.
    pub is_admin: bool,
    /// Why.
    pub reason: Option<String>,
}

impl WalletActor {
    fn check(&self) -> Result<(), CommandError> {
        match &self.reason {
            None if !self.is_admin => Ok(()),
            reason => Ok(check_reason(reason.as_deref().unwrap_or_default())?),
        }
    }
}

impl Commands {
    /// Issues a message for an account, with which the owner of `address` links it.
    pub async fn wallet_message(
        &self,
        site: &WalletSite,
        account: &Account,
        address: &str,
    ) -> Result<WalletMessage, CommandError> {
        let address: Address = address.trim().parse().map_err(refused_address)?;
        let now = self.now();
        let message = site.message(account, address, random_name(), now);
        let issued = IssuedMessage {
            nonce: message.nonce.clone(),
            text: message.to_string(),
            issued_at: now,
            expires_at: now.plus(MESSAGE_MS),
        };
        wallets::issue(self.db(), account, &issued).await?;
        Ok(WalletMessage {
            address,
            nonce: issued.nonce,
            chain_id: message.chain_id,
            expires_at: issued.expires_at,
            message: issued.text,
        })
    }

    /// Links the wallet that signed a message. Linking the present one again changes nothing.
    pub async fn link_wallet(
        &self,
        site: &WalletSite,
        new: NewWallet,
    ) -> Result<WalletView, CommandError> {
        new.actor.check()?;
        let account = &new.account;
        let found: SignInMessage = new.message.parse().map_err(refused_message)?;
        site.check(account, &found)?;
        let stored = wallets::find_message(self.db(), account, &found.nonce).await?;
        let stored = stored.ok_or(LinkRefusal::NonceUnknown)?;
        let issued = &stored.issued;
        if issued.text != new.message {
            return Err(altered(&issued.text, &found).into());
        }
        let signature: MessageSignature =
            new.signature.trim().parse().map_err(refused_signature)?;
        let signer = signature.signer(&issued.text).map_err(refused_signature)?;
        if signer != found.address {
            return Err(other_signer(found.address, signer).into());
        }
        let request = LinkRequest {
            account: account.clone(),
            address: signer,
            nonce: found.nonce,
            now: self.now(),
            token: new.repeat.token("wallet"),
            by: new.actor.by,
            reason: new.actor.reason,
            by_admin: new.actor.is_admin,
        };
        wallets::link(self.db(), &request).await?;
        Ok(self.queries.wallet(account).await?)
    }

    /// Unlinks an account's wallet: months that are closed from now on find none. An account
    /// without one stays as it is.
    pub async fn unlink_wallet(
        &self,
        account: &Account,
        actor: WalletActor,
    ) -> Result<WalletView, CommandError> {
        actor.check()?;
        let request = wallets::UnlinkRequest {
            account: account.clone(),
            now: self.now(),
            token: random_name(),
            by: actor.by,
            reason: actor.reason,
            by_admin: actor.is_admin,
        };
        wallets::unlink(self.db(), &request).await?;
        Ok(self.queries.wallet(account).await?)
    }
}

/// The code of a text that is no address.
pub const fn address_code(error: AddressError) -> &'static str {
    match error {
        AddressError::Form => "address_malformed",
        AddressError::Checksum => "address_checksum",
    }
}

fn refused_address(error: AddressError) -> Refusal {
    Refusal::invalid(address_code(error), error)
}

fn refused_message(error: MessageError) -> Refusal {
    let code = match error {
        MessageError::Address(error) => address_code(error),
        MessageError::TooLong(_) | MessageError::Line { .. } => "message_malformed",
    };
    Refusal::invalid(code, error)
}

fn refused_signature(error: SignatureError) -> Refusal {
    Refusal::invalid("signature_malformed", error)
}

/// A text that has the nonce of an issued message, and is another one.
fn altered(issued: &str, found: &SignInMessage) -> Refusal {
    let issued: Option<SignInMessage> = issued.parse().ok();
    let field = issued.and_then(|issued| issued.first_difference(found));
    let where_ = match field {
        Some(field) => format!("in the field {}", MessageField::as_str(field)),
        None => "in how it is written".to_owned(),
    };
    Refusal::invalid(
        "message_altered",
        format!(
            "the message differs from the one that was issued, {where_}; sign and send the text exactly as it was issued"
        ),
    )
}

fn other_signer(expected: Address, signer: Address) -> Refusal {
    Refusal::invalid(
        "signature_other_address",
        format!(
            "the signature was made by {signer}, and the message is for {expected}: sign with the account of that address, or \
             ask for a message for the other one. If {expected} is a contract wallet, such as Safe: contract wallets (EIP-1271) \
             are not supported"
        ),
    )
}

impl From<LinkRefusal> for CommandError {
    fn from(refusal: LinkRefusal) -> CommandError {
        match refusal {
            LinkRefusal::NonceUnknown => Refusal::invalid("nonce_unknown", refusal),
            LinkRefusal::NonceUsed => Refusal::conflict("nonce_used", refusal),
            LinkRefusal::NonceExpired(_) => Refusal::invalid("nonce_expired", refusal),
            LinkRefusal::TooMany(_) => Refusal::conflict("too_many_wallet_links", refusal),
        }
        .into()
    }
}

impl From<LinkError> for CommandError {
    fn from(error: LinkError) -> CommandError {
        match error {
            LinkError::Refused(refusal) => refusal.into(),
            LinkError::Store(error) => error.into(),
        }
    }
}
