//! API keys: the list, a form to make one, which is shown once, and one to revoke each.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::frame::{self, token};
use super::super::visitor::{Form, Visitor};
use super::super::words::{instant, number};
use super::super::{Pages, redirect};
use super::{PageQuery, name_of_form, page_of, refusal, writes};
use crate::app::Refusal;
use crate::app::commands::{MadeKey, NewKey, may_grant};
use crate::app::queries::{KEYS_LOOKED_MAX, KeyInfo, KeyPage, id_of_pasted_key};
use crate::domain::access::Scope;
use crate::http::problem::Problem;

/// The page.
pub(super) const PATH: &str = "/admin/keys";
const TITLE: &str = "API keys";
/// Most keys of a page.
const KEYS_MAX: usize = 100;
/// Scopes without parameters, with what they allow.
const PLAIN: [(&str, &str); 3] = [
    ("ingest", "send usage events of any source"),
    ("admin:read", "read everything"),
    ("admin:write", "read and administer everything"),
];

/// Which keys.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct KeysQuery {
    #[serde(default)]
    q: String,
    /// Revoked ones too.
    #[serde(default)]
    all: String,
    #[serde(default)]
    done: String,
}

/// A form as it was sent.
#[derive(Default)]
struct Sent {
    name: String,
    scopes: Vec<String>,
    others: String,
    /// Names the key's creation; drawn, where it is empty.
    once: String,
}

impl Sent {
    fn of(form: &Form) -> Sent {
        let ticked = PLAIN.iter().filter(|(scope, _)| form.text(scope) == "on");
        Sent {
            once: form.text("once").to_owned(),
            name: form.text("name").to_owned(),
            scopes: ticked.map(|(scope, _)| (*scope).to_owned()).collect(),
            others: form.whole("others").to_owned(),
        }
    }

    /// What the key is to allow.
    fn scopes(&self) -> Result<Vec<Scope>, Refusal> {
        let others = self.others.lines().map(str::trim);
        let others = others.filter(|line| !line.is_empty());
        let all = self.scopes.iter().map(String::as_str).chain(others);
        let parsed = all.map(|text| text.parse::<Scope>());
        let parsed: Result<Vec<Scope>, _> = parsed.collect();
        parsed.map_err(|error| Refusal::invalid("invalid_scopes", error))
    }
}

/// `GET /admin/keys`.
pub(in super::super) async fn list(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(wanted): PageQuery<KeysQuery>,
) -> Result<Response, Problem> {
    let note = match wanted.done.as_str() {
        "revoked" => Some(frame::done(
            "Revoked. The key stops working within seconds.",
        )),
        _ => None,
    };
    respond(
        &pages,
        &visitor,
        &wanted,
        note,
        &Sent::default(),
        StatusCode::OK,
    )
    .await
}

async fn respond(
    pages: &Pages,
    visitor: &Visitor,
    wanted: &KeysQuery,
    note: Option<Markup>,
    sent: &Sent,
    status: StatusCode,
) -> Result<Response, Problem> {
    let queries = &pages.service.queries;
    let KeyPage { mut keys, next } = queries.keys().await?;
    let asked = id_of_pasted_key(&wanted.q);
    let asked = asked.as_deref().unwrap_or(wanted.q.trim());
    // By its id a key is found wherever it stands.
    if next.is_some() && !keys.iter().any(|key| key.id == asked) {
        keys.extend(queries.key(asked).await?);
    }
    // What may be a secret is not shown again.
    let shown = if asked.starts_with("tmk_") { "" } else { asked };
    let text = asked.to_lowercase();
    let (is_searched, with_revoked) = (!text.is_empty(), wanted.all == "1");
    let matches = |key: &&KeyInfo| {
        let is_named = key.id.contains(&text) || key.name.to_lowercase().contains(&text);
        let scopes = || key.scopes.iter().map(ToString::to_string);
        let is_meant = is_named || scopes().any(|scope| scope.to_lowercase().contains(&text));
        is_meant && (is_searched || with_revoked || key.revoked_at.is_none())
    };
    let found: Vec<&KeyInfo> = keys.iter().rev().filter(matches).collect();
    let revoked = keys.iter().filter(|key| key.revoked_at.is_some()).count();
    let body = html! {
        h1 { "API keys" }
        @if let Some(note) = note { (note) }
        form .line.card method="get" action=(PATH) role="search" {
            label for="q" { "Id, name or account" }
            input #q name="q" maxlength="128" value=(shown) autocomplete="off" spellcheck="false";
            button .second type="submit" { "Show" }
        }
        section .card aria-labelledby="keys-h" {
            h2 #keys-h { "Keys" }
            @if found.is_empty() { p .empty { "No keys match." } } @else { (table(visitor, &found)) }
            @if found.len() > KEYS_MAX { p .help { "And " (number(found.len() - KEYS_MAX)) " more; search for them." } }
            @if next.is_some() {
                p .warn { "There are more than " (number(KEYS_LOOKED_MAX)) " keys; names and scopes were searched only in that many. An id finds any key." }
            }
            @if !is_searched && !with_revoked && revoked > 0 {
                p .help { a href=(format!("{PATH}?all=1")) { "Show revoked keys too" } " (" (number(revoked)) ")" }
            }
        }
        @if writes(visitor) { (form(visitor, sent)) }
    };
    Ok(page_of(status, visitor, TITLE, PATH, &body))
}

fn table(visitor: &Visitor, keys: &[&KeyInfo]) -> Markup {
    html! {
        div .scroll.wide.cells tabindex="0" role="group" aria-labelledby="keys-h" {
            table {
                thead { tr {
                    th scope="col" { "Name" }
                    th scope="col" { "Id" }
                    th scope="col" { "Scopes" }
                    th scope="col" { "Made" }
                    th scope="col" { "State" }
                } }
                tbody {
                    @for key in keys.iter().take(KEYS_MAX) {
                        tr {
                            th scope="row" { (key.name) }
                            td data-label="Id" { code { (key.id) } }
                            td data-label="Scopes" { @for scope in &key.scopes { code { (scope) } " " } }
                            td data-label="Made" { span .time { (instant(key.created_at)) } span .help { "by " (key.created_by) } }
                            td data-label="State" {
                                @match key.revoked_at {
                                    Some(at) => { span .chip.bad { "Revoked" } span .help { (instant(at)) } }
                                    None if writes(visitor) => { (revoke_form(visitor, key)) }
                                    None => { span .chip { "Active" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Two steps, since what uses the key stops working.
fn revoke_form(visitor: &Visitor, key: &KeyInfo) -> Markup {
    html! {
        details {
            summary { "Revoke" }
            form method="post" action=(format!("{PATH}/revoke")) {
                (token(visitor))
                input type="hidden" name="id" value=(key.id);
                p .help { "The key stops working within seconds. This cannot be undone." }
                button .danger type="submit" { "Revoke “" (key.name) "”" }
            }
        }
    }
}

fn form(visitor: &Visitor, sent: &Sent) -> Markup {
    html! {
        section .card aria-labelledby="new-h" {
            h2 #new-h { "Make a key" }
            form .stack method="post" action=(PATH) {
                (token(visitor))
                // Sent twice it makes one key.
                input type="hidden" name="once" value=(name_of_form(&sent.once));
                label for="name" { "Name" }
                input #name name="name" required maxlength="128" value=(sent.name) autocomplete="off" aria-describedby="name-help";
                p #name-help .help { "What or who will use it. The audit trail shows it." }
                fieldset {
                    legend { "Scopes" }
                    @for (scope, help) in PLAIN {
                        p { label {
                            input type="checkbox" name=(scope) value="on" checked[sent.scopes.iter().any(|one| one == scope)];
                            " " code { (scope) } " – " (help)
                        } }
                    }
                }
                label for="others" { "Other scopes, one per line" }
                textarea #others name="others" rows="3" spellcheck="false" aria-describedby="others-help" { (sent.others) }
                p #others-help .help {
                    code { "ingest:SOURCE" } " – send events of one source; "
                    code { "account:user:ID" } ", " code { "account:provider:ID" } " – read and act for one account"
                }
                p .actions { button type="submit" { "Make the key" } }
            }
        }
    }
}

/// `POST /admin/keys`: the key is in the answer, and nowhere else.
pub(in super::super) async fn create(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let sent = Sent::of(&form);
    match made(&pages, &visitor, &sent).await {
        Ok(made) => {
            let body = shown_once(&made);
            let status = StatusCode::CREATED;
            Ok(page_of(status, &visitor, "The new key", PATH, &body))
        }
        Err(problem) if problem.is("key_made_before") => {
            let (wanted, status) = (KeysQuery::default(), StatusCode::CONFLICT);
            let note = Some(made_before(&problem));
            respond(&pages, &visitor, &wanted, note, &Sent::default(), status).await
        }
        Err(problem) if problem.is_about_input() || problem.is("scope_not_held") => {
            let note = Some(refusal(&problem));
            let (wanted, status) = (KeysQuery::default(), StatusCode::UNPROCESSABLE_ENTITY);
            respond(&pages, &visitor, &wanted, note, &sent, status).await
        }
        Err(problem) => Err(problem),
    }
}

/// That the form was sent before: reloading the page with the new key does that.
fn made_before(problem: &Problem) -> Markup {
    let (detail, _) = problem.told();
    html! {
        div .note.bad role="alert" {
            p { "No second key was made. This form was sent before: " (detail) "." }
            p { "The form below makes another key." }
        }
    }
}

async fn made(pages: &Pages, visitor: &Visitor, sent: &Sent) -> Result<MadeKey, Problem> {
    let scopes = sent.scopes()?;
    let held = visitor
        .caller
        .as_ref()
        .map_or(&[][..], |caller| caller.scopes());
    for scope in &scopes {
        may_grant(held, scope)?;
    }
    let made = pages.service.commands.create_key(NewKey {
        name: sent.name.clone(),
        scopes,
        once: Some(name_of_form(&sent.once)),
        by: visitor.by(),
    });
    Ok(made.await?)
}

fn shown_once(made: &MadeKey) -> Markup {
    html! {
        h1 { "The new key" }
        section .card aria-labelledby="key-h" {
            h2 #key-h { (made.info.name) }
            p .warn { "Copy it now. It is shown only once." }
            p .code-line {
                code #the-key { (made.key) }
                button .second type="button" data-copy="#the-key" data-said="#copied" hidden { "Copy" }
                span #copied .said role="status" {}
            }
            p .help {
                "Its id is " code { (made.info.id) } ". Scopes: "
                @for scope in &made.info.scopes { code { (scope) } " " }
            }
            p { a .button href=(PATH) { "I have copied it" } }
        }
    }
}

/// `POST /admin/keys/revoke`.
pub(in super::super) async fn revoke(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let by = visitor.by();
    let revoked = pages.service.commands.revoke_key(form.text("id"), &by);
    revoked.await?;
    Ok(redirect(&format!("{PATH}?done=revoked")))
}
