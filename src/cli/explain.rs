//! `tidemark explain`.

use super::args::ExplainArgs;
use super::output::{Done, Failure, Out};
use super::session::Session;
use crate::app::queries::{Explanation, WhichRequest};
use crate::domain::ids::{Account, AccountKind};

/// Runs `tidemark explain`. An explanation that differs from what was posted is shown, and fails.
pub async fn run(session: &Session, args: &ExplainArgs) -> Done {
    let user = Account::new(AccountKind::User, &args.user).map_err(Failure::refused)?;
    let which = WhichRequest {
        user: &user,
        source: &args.source,
        id: &args.id,
        time: args.time,
    };
    let explained = session.queries().explain(which, session.now()).await?;
    let mut out = Out::new();
    match args.json {
        true => out.json(&explained)?,
        false => show(&mut out, &explained)?,
    }
    out.finish()?;
    match explained.code {
        None => Ok(()),
        Some(code) => Err(Failure::failed(format!(
            "{code}: the steps come to something other than was posted; nothing was changed"
        ))),
    }
}

fn show(out: &mut Out, explained: &Explanation) -> Done {
    for (place, section) in explained.text.iter().enumerate() {
        if place > 0 {
            out.line("")?;
        }
        out.line(section.title)?;
        for sentence in &section.sentences {
            out.line(format!("  {sentence}"))?;
        }
    }
    Ok(())
}
