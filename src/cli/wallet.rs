//! `tidemark wallet`: the addresses to which accounts' claims go.

use std::io::Read;
use std::path::Path;

use super::args::WalletCommand;
use super::output::{Done, Failure, Out};
use super::session::{Session, by};
use crate::app::commands::{NewWallet, Repeat, WalletActor, WalletSite};
use crate::app::queries::{WalletChangeView, WalletView};
use crate::domain::ethereum::MESSAGE_BYTES_MAX;
use crate::domain::ids::check_new_id;
use crate::ops::config::Config;

/// Runs the command.
pub async fn run(session: &Session, config: &Config, command: &WalletCommand) -> Done {
    match command {
        WalletCommand::Show { account, json } => {
            let account = account.account().map_err(Failure::refused)?;
            let wallet = session.queries().wallet(&account).await?;
            report(&wallet, *json)
        }
        WalletCommand::Message {
            account,
            address,
            json,
        } => {
            let account = account.account().map_err(Failure::refused)?;
            check_new_id(account.id()).map_err(Failure::refused)?;
            let site = WalletSite::of(&config.http).map_err(Failure::with_code)?;
            let commands = session.commands();
            let message = commands.wallet_message(&site, &account, address).await;
            let message = message.map_err(Failure::with_code)?;
            let mut out = Out::new();
            match json {
                true => out.json(&message)?,
                false => out.line(&message.message)?,
            }
            out.finish()
        }
        WalletCommand::Link {
            account,
            message,
            signature,
            reason,
            json,
        } => {
            let account = account.account().map_err(Failure::refused)?;
            check_new_id(account.id()).map_err(Failure::refused)?;
            let site = WalletSite::of(&config.http).map_err(Failure::with_code)?;
            let new = NewWallet {
                account,
                message: read_message(message)?,
                signature: signature.clone(),
                repeat: Repeat::Never,
                actor: operator(reason),
            };
            let wallet = session.commands().link_wallet(&site, new).await;
            report(&wallet.map_err(Failure::with_code)?, *json)
        }
        WalletCommand::Unlink {
            account,
            reason,
            json,
        } => {
            let account = account.account().map_err(Failure::refused)?;
            let commands = session.commands();
            let wallet = commands.unlink_wallet(&account, operator(reason));
            report(&wallet.await.map_err(Failure::with_code)?, *json)
        }
    }
}

/// Whoever runs the command may change every account.
fn operator(reason: &str) -> WalletActor {
    WalletActor {
        by: by(),
        is_admin: true,
        reason: Some(reason.to_owned()),
    }
}

/// The message as `wallet message` printed it: without the end of its last line.
fn read_message(file: &Path) -> Done<String> {
    let unreadable = |error| Failure::failed(format!("cannot read {}: {error}", file.display()));
    let source: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).map_err(unreadable)?),
    };
    let mut text = String::new();
    let bytes_max = MESSAGE_BYTES_MAX as u64 + 2;
    let mut source = source.take(bytes_max);
    source.read_to_string(&mut text).map_err(unreadable)?;
    let message = text.strip_suffix('\n').unwrap_or(&text);
    Ok(message.to_owned())
}

fn report(wallet: &WalletView, is_json: bool) -> Done {
    let mut out = Out::new();
    if is_json {
        out.json(wallet)?;
        return out.finish();
    }
    let (kind, id) = (wallet.kind, &wallet.id);
    match wallet.address {
        Some(address) => out.line(format!("{kind} {id}: {address}"))?,
        None => out.line(format!("{kind} {id}: no wallet"))?,
    }
    let row = |change: &WalletChangeView| {
        let address = change.address.map(|address| address.to_string());
        vec![
            change.at.to_string(),
            address.unwrap_or_else(|| "unlinked".to_owned()),
            change.control.to_string(),
            match change.by_admin {
                true => "an admin".to_owned(),
                false => "the account".to_owned(),
            },
            change.reason.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = wallet.history.iter().map(row).collect();
    if !rows.is_empty() {
        out.table(&["since", "address", ">control", "by", "reason"], &rows)?;
    }
    out.finish()
}
