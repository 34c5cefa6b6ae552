//! The page of an account's wallet: linking it by a signed message, and unlinking it.
//!
//! Everything works by forms. The script `wallet.js` fills their fields from a wallet extension
//! (EIP-1193, EIP-6963) and sends them; without it, people paste an address and a signature.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::assets;
use super::frame::{self, token};
use super::visitor::{Form, PathAccount, Visitor};
use super::words::{account_path, instant};
use super::{Pages, redirect};
use crate::app::CommandError;
use crate::app::commands::{NewWallet, Repeat, WalletActor, WalletMessage, WalletSite};
use crate::app::queries::{WalletChangeView, WalletView};
use crate::domain::ids::Account;
use crate::http::accounts::{count_link, count_unlink};
use crate::http::extract::QueryParams;
use crate::http::problem::Problem;
use crate::ops::random_name;

/// What the page is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct WalletQuery {
    /// What was done just before.
    #[serde(default)]
    done: String,
}

/// How far linking has come on this page.
enum Step {
    /// An address is to be entered; the one that was refused.
    Address(String),
    /// The message is to be signed.
    Sign(WalletMessage),
    /// The account cannot link: why.
    Unavailable(String),
}

/// The page of an account's wallet.
pub(super) fn wallet_path(account: &Account) -> String {
    format!("{}/wallet", account_path(account))
}

/// `GET /users/{id}/wallet`, `GET /providers/{id}/wallet`.
pub(super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(account): PathAccount,
    QueryParams(asking): QueryParams<WalletQuery>,
) -> Result<Response, Problem> {
    let note = said(&asking.done).map(frame::done);
    respond(&pages, &visitor, &account, begin(&pages), note).await
}

fn begin(pages: &Pages) -> Step {
    match WalletSite::of(&pages.service.config) {
        Ok(_) => Step::Address(String::new()),
        Err(refusal) => Step::Unavailable(refusal.detail),
    }
}

fn said(done: &str) -> Option<&'static str> {
    match done {
        "linked" => Some("This wallet is linked."),
        "unlinked" => Some("The account has no wallet now."),
        _ => None,
    }
}

/// `POST /users/{id}/wallet/message`, `POST /providers/{id}/wallet/message`.
pub(super) async fn message(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(account): PathAccount,
    form: Form,
) -> Result<Response, Problem> {
    let typed = form.text("address");
    let site = WalletSite::of(&pages.service.config)?;
    let commands = &pages.service.commands;
    match commands.wallet_message(&site, &account, typed).await {
        Ok(message) => {
            let step = Step::Sign(message);
            respond(&pages, &visitor, &account, step, None).await
        }
        Err(error) => {
            let step = Step::Address(typed.to_owned());
            refused(&pages, &visitor, &account, step, error).await
        }
    }
}

/// `POST /users/{id}/wallet`, `POST /providers/{id}/wallet`.
pub(super) async fn link(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(account): PathAccount,
    form: Form,
) -> Result<Response, Problem> {
    let site = WalletSite::of(&pages.service.config)?;
    // Browsers send the ends of lines as CR LF, whatever stands in the page.
    let message = form.whole("message").replace("\r\n", "\n");
    let new = NewWallet {
        account: account.clone(),
        message: message.clone(),
        signature: form.text("signature").to_owned(),
        repeat: Repeat::Form(form.text("once").to_owned()),
        actor: actor(&visitor, &form),
    };
    let linked = pages.service.commands.link_wallet(&site, new).await;
    count_link(&pages.service, &linked);
    match linked {
        Ok(_) => Ok(redirect(&format!("{}?done=linked", wallet_path(&account)))),
        Err(error) => {
            let step = after_refusal(&error, &message);
            refused(&pages, &visitor, &account, step, error).await
        }
    }
}

/// A message whose signature or reason was refused can be signed again; every other one is of no
/// use any more.
fn after_refusal(error: &CommandError, message: &str) -> Step {
    let can_repeat = |code: &str| code.starts_with("signature_") || code == "invalid_reason";
    let again = match error {
        CommandError::Refused(refusal) if can_repeat(refusal.code) => {
            WalletMessage::of_text(message)
        }
        _ => None,
    };
    again.map_or(Step::Address(String::new()), Step::Sign)
}

/// `POST /users/{id}/wallet/unlink`, `POST /providers/{id}/wallet/unlink`.
pub(super) async fn unlink(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(account): PathAccount,
    form: Form,
) -> Result<Response, Problem> {
    let commands = &pages.service.commands;
    let unlinked = commands.unlink_wallet(&account, actor(&visitor, &form));
    match unlinked.await {
        Ok(_) => {
            count_unlink(&pages.service);
            Ok(redirect(&format!(
                "{}?done=unlinked",
                wallet_path(&account)
            )))
        }
        Err(error) => refused(&pages, &visitor, &account, begin(&pages), error).await,
    }
}

fn actor(visitor: &Visitor, form: &Form) -> WalletActor {
    WalletActor {
        by: visitor.by(),
        is_admin: visitor.in_anothers_stead().is_some(),
        reason: Some(form.text("reason").to_owned()).filter(|reason| !reason.is_empty()),
    }
}

/// The page, saying why nothing was done.
async fn refused(
    pages: &Pages,
    visitor: &Visitor,
    account: &Account,
    step: Step,
    error: CommandError,
) -> Result<Response, Problem> {
    let problem = Problem::from(error);
    if !problem.is_about_input() {
        return Err(problem);
    }
    let (detail, _) = problem.told();
    let note = Some(frame::not_done(&format!("Nothing was changed: {detail}.")));
    let body = page(pages, visitor, account, &step, note).await?;
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(frame::page_of(status, visitor, account.id(), &body))
}

async fn respond(
    pages: &Pages,
    visitor: &Visitor,
    account: &Account,
    step: Step,
    note: Option<Markup>,
) -> Result<Response, Problem> {
    let body = page(pages, visitor, account, &step, note).await?;
    Ok(frame::page(visitor, account.id(), &body))
}

async fn page(
    pages: &Pages,
    visitor: &Visitor,
    account: &Account,
    step: &Step,
    note: Option<Markup>,
) -> Result<Markup, Problem> {
    let wallet = pages.service.queries.wallet(account).await?;
    let acts = visitor.acts_for(account);
    Ok(html! {
        div .head {
            h1 { "Wallet of " a href=(account_path(account)) { span .id { (account.id()) } } }
        }
        @if let Some(note) = note { (note) }
        (present(visitor, account, &wallet, acts))
        @if acts {
            @match step {
                Step::Address(typed) => { (address_form(visitor, account, &wallet, typed)) }
                Step::Sign(message) => { (sign_form(visitor, account, message)) }
                Step::Unavailable(why) => {
                    section .card { h2 { "Link a wallet" } p { (why) "." } }
                }
            }
        }
        (history(&wallet))
        script defer src=(assets::path("wallet.js")) {}
    })
}

fn present(visitor: &Visitor, account: &Account, wallet: &WalletView, acts: bool) -> Markup {
    html! {
        section .card aria-labelledby="wallet-h" {
            h2 #wallet-h { "Where claims go" }
            @match wallet.address {
                Some(address) => {
                    p { code #wallet-address { (address) } }
                    @if acts { (unlink_form(visitor, account)) }
                }
                None => {
                    p .empty {
                        "No wallet is linked. What this account is due from closed months is kept until one is."
                    }
                }
            }
        }
    }
}

fn unlink_form(visitor: &Visitor, account: &Account) -> Markup {
    html! {
        form .stack method="post" action=(format!("{}/unlink", wallet_path(account))) {
            (token(visitor))
            (reason_field(visitor, "unlink-reason"))
            p .actions { button .second type="submit" { "Unlink this wallet" } }
        }
    }
}

/// Why an admin changes the wallet of somebody else's account.
fn reason_field(visitor: &Visitor, id: &str) -> Markup {
    let help = format!("{id}-help");
    html! {
        @if visitor.in_anothers_stead().is_some() {
            label for=(id) { "Why" }
            input id=(id) name="reason" required maxlength="500" autocomplete="off" aria-describedby=(help);
            p id=(help) .help { "The account sees it too." }
        }
    }
}

fn address_form(visitor: &Visitor, account: &Account, wallet: &WalletView, typed: &str) -> Markup {
    html! {
        section .card aria-labelledby="link-h" {
            h2 #link-h { @if wallet.address.is_some() { "Link another wallet" } @else { "Link a wallet" } }
            form #wallet-ask .stack method="post" action=(format!("{}/message", wallet_path(account))) {
                (token(visitor))
                label for="address" { "Ethereum address" }
                input #address name="address" required maxlength="64" value=(typed) autocomplete="off" autocapitalize="none"
                    spellcheck="false" placeholder="0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" aria-describedby="address-help";
                p #address-help .help {
                    "Next you sign a message with it, which costs nothing. Contract wallets, such as Safe, are not supported."
                }
                p .actions { button type="submit" { "Continue" } }
                (extension("Use my wallet extension"))
            }
        }
    }
}

fn sign_form(visitor: &Visitor, account: &Account, message: &WalletMessage) -> Markup {
    html! {
        section .card aria-labelledby="link-h" {
            h2 #link-h { "Sign this message" }
            p { "Sign it with " code { (message.address) } " before " (instant(message.expires_at)) "." }
            pre #wallet-message { (message.message) }
            form #wallet-sign .stack method="post" action=(wallet_path(account)) data-address=(message.address) {
                (token(visitor))
                // Sent twice it counts once.
                input type="hidden" name="once" value=(random_name());
                input type="hidden" name="message" value=(message.message);
                (reason_field(visitor, "link-reason"))
                (extension("Sign with my wallet extension"))
                label for="signature" { "Signature" }
                input #signature name="signature" required maxlength="1000" autocomplete="off" autocapitalize="none" spellcheck="false"
                    placeholder="0x…" aria-describedby="signature-help";
                p #signature-help .help {
                    "Without an extension: sign the message elsewhere as a personal message (EIP-191), and paste the signature."
                }
                p .actions { button type="submit" { "Link this wallet" } }
            }
        }
    }
}

/// Where the script puts a button for each extension that it finds.
fn extension(label: &str) -> Markup {
    html! {
        div data-extensions=(label) hidden { p .actions {} }
        p .warn role="alert" data-extension-error hidden {}
    }
}

fn history(wallet: &WalletView) -> Markup {
    html! {
        section .card aria-labelledby="history-h" {
            h2 #history-h { "History" }
            @if wallet.history.is_empty() { p .empty { "Nothing yet." } } @else {
                div .scroll.cells tabindex="0" role="group" aria-labelledby="history-h" {
                    table {
                        thead { tr {
                            th scope="col" { "Since" }
                            th scope="col" { "Address" }
                            th scope="col" { "Why" }
                        } }
                        tbody { @for change in &wallet.history { (change_row(change)) } }
                    }
                }
            }
            p .help { "A month goes to the address that was linked when an admin closed it." }
        }
    }
}

fn change_row(change: &WalletChangeView) -> Markup {
    html! {
        tr {
            th .time scope="row" { (instant(change.at)) }
            td data-label="Address" {
                @match change.address {
                    Some(address) => { code { (address) } }
                    None => { "Unlinked" }
                }
            }
            td data-label="Why" {
                @if change.by_admin { "By an admin: " }
                (change.reason.as_deref().unwrap_or_default())
            }
        }
    }
}

/// The line on an account's page that leads here.
pub(super) fn card(account: &Account, wallet: &WalletView) -> Markup {
    html! {
        section #wallet .card aria-labelledby="wallet-card-h" {
            h2 #wallet-card-h { "Wallet" }
            @match wallet.address {
                Some(address) => { p { "Claims go to " code { (address) } "." } }
                None => { p .empty { "No wallet is linked." } }
            }
            p { a href=(wallet_path(account)) { "Wallet and history" } }
        }
    }
}
