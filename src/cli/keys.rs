//! `tidemark keys`: API keys; and the key with which commands of this machine talk to their own
//! `up`.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use super::args::KeysCommand;
use super::output::{Done, Failure, Out};
use super::session::{Session, by};
use crate::app::commands::{Commands, NewKey};
use crate::app::queries::{KEYS_LOOKED_MAX, KeyInfo};
use crate::domain::access::Scope;

/// Runs the command.
pub async fn run(session: &Session, command: &KeysCommand) -> Done {
    match command {
        KeysCommand::Create { name, scopes, json } => {
            create(session, name, scopes.clone(), *json).await
        }
        KeysCommand::List(args) => list(session, args.json).await,
        KeysCommand::Revoke { id } => revoke(session, id).await,
    }
}

async fn create(session: &Session, name: &str, scopes: Vec<Scope>, is_json: bool) -> Done {
    let commands = session.commands();
    let made = commands.create_key(new(name, scopes)).await?;
    let mut out = Out::new();
    if is_json {
        out.json(&made)?;
    } else {
        out.line(&made.key)?;
        out.finish()?;
        eprintln!(
            "The key is shown only this once. Send it as `Authorization: Bearer …`; revoke it with: \
             tidemark keys revoke {}",
            made.info.id
        );
    }
    out.finish()
}

fn new(name: &str, scopes: Vec<Scope>) -> NewKey {
    NewKey {
        name: name.to_owned(),
        scopes,
        once: None,
        by: by(),
    }
}

async fn list(session: &Session, is_json: bool) -> Done {
    let (queries, mut keys, mut after) = (session.queries(), Vec::new(), None);
    loop {
        let page = queries.key_page(after.as_deref(), KEYS_LOOKED_MAX).await?;
        keys.extend(page.keys);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let mut out = Out::new();
    if is_json {
        keys.iter().try_for_each(|key| out.json(key))?;
    } else if keys.is_empty() {
        out.line("no keys; create one with `tidemark keys create NAME --scope ingest`")?;
    } else {
        let rows: Vec<Vec<String>> = keys.iter().map(key_row).collect();
        out.table(
            &["id", "name", "scopes", "created at", "by", "revoked at"],
            &rows,
        )?;
    }
    out.finish()
}

async fn revoke(session: &Session, id: &str) -> Done {
    let key = session.commands().revoke_key(id, &by()).await?;
    let mut out = Out::new();
    let at = key.revoked_at.unwrap_or_else(|| session.now());
    out.line(format!(
        "{} ({}) was revoked at {at}; services stop accepting it within {} seconds",
        key.id,
        key.name,
        crate::http::KEY_CACHE_TTL.as_secs()
    ))?;
    out.finish()
}

fn key_row(key: &KeyInfo) -> Vec<String> {
    let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
    vec![
        key.id.clone(),
        key.name.clone(),
        scopes.join(" "),
        key.created_at.to_string(),
        key.created_by.clone(),
        key.revoked_at
            .map_or_else(|| "-".to_owned(), |at| at.to_string()),
    ]
}

/// The key of this machine's commands, in a file of the data directory that only its owner can
/// read. Made if there is none that is good.
pub async fn local_key(commands: &Commands, file: &Path) -> Done {
    if let Ok(text) = fs::read_to_string(file)
        && commands.is_good_key(text.trim()).await?
    {
        return Ok(());
    }
    let scopes = vec![Scope::Ingest, Scope::AdminRead, Scope::AdminWrite];
    let name = "commands of this machine";
    let made = commands.create_key(new(name, scopes)).await?;
    write_secret(file, &made.key)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))
}

/// The key that [`local_key`] left.
pub fn read_local_key(file: &Path) -> Done<String> {
    let text = fs::read_to_string(file);
    let text =
        text.map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

/// A file of its own with the right permissions from its first moment, then in place of the old
/// one.
fn write_secret(file: &Path, text: &str) -> std::io::Result<()> {
    let part = file.with_extension("part");
    drop(fs::remove_file(&part));
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(&part)?;
    writeln!(open, "{text}")?;
    open.sync_all()?;
    fs::rename(part, file)
}
