//! Votes: which proposals are frozen, and a form to freeze one, with a preview before it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::frame::{self, token};
use super::super::visitor::{Form, Visitor};
use super::super::words::{encoded, instant};
use super::super::{Pages, redirect};
use super::{PageQuery, page_of, refusal, writes};
use crate::app::CommandError;
use crate::app::commands::{NewVotes, VotesPreview};
use crate::app::queries::{VotesPage, VotesView};
use crate::app::words::tokens;
use crate::domain::amount::Points;
use crate::domain::ids::AccountKind;
use crate::domain::position::Control;
use crate::domain::time::Month;
use crate::domain::votes::{DECIMALS, Formula, ProposalId, VoteTerms};
use crate::http::problem::Problem;

pub(super) const PATH: &str = "/admin/governance";
const TITLE: &str = "Votes";
/// Proposals of a page.
const PROPOSALS: u32 = 50;
const FORMULAS: [(&str, &str); 3] = [
    ("total", "The points"),
    ("square_root", "Their square root"),
    ("cap", "The points, up to a cap"),
];
const KINDS: [(&str, &str); 3] = [
    ("both", "Users and providers"),
    ("user", "Users"),
    ("provider", "Providers"),
];

/// What the page is asked for.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct VotesQuery {
    /// Proposals behind this one.
    #[serde(default)]
    after: String,
    /// What was frozen just before.
    #[serde(default)]
    frozen: String,
}

/// A form as it was sent.
#[derive(Clone, Debug, Default)]
struct Sent {
    proposal: String,
    from: String,
    to: String,
    kinds: String,
    formula: String,
    cap: String,
    reason: String,
    /// The control position and the hash that the preview showed.
    control: String,
    hash: String,
}

impl Sent {
    fn of(form: &Form) -> Sent {
        let text = |name| form.text(name).to_owned();
        Sent {
            proposal: text("proposal"),
            from: text("from"),
            to: text("to"),
            kinds: text("kinds"),
            formula: text("formula"),
            cap: text("cap"),
            reason: text("reason"),
            control: text("control"),
            hash: text("hash"),
        }
    }

    fn read(&self, by: String) -> Result<NewVotes, Problem> {
        let bad = |detail: String| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_terms", detail)
        };
        let month = |name: &str, text: &str| {
            let month: Result<Month, _> = text.parse();
            month.map_err(|_| bad(format!("{name} is '{text}'; write a month such as 2026-10")))
        };
        let formula = match (self.formula.as_str(), self.cap.as_str()) {
            ("total", _) => Formula::Total,
            ("square_root", _) => Formula::SquareRoot,
            ("cap", cap) => {
                let points: Result<Points, _> = cap.parse();
                Formula::Cap(points.map_err(|error| bad(format!("the cap: {error}")))?)
            }
            _ => return Err(bad("choose a formula".to_owned())),
        };
        let kinds = match self.kinds.as_str() {
            "user" => vec![AccountKind::User],
            "provider" => vec![AccountKind::Provider],
            _ => AccountKind::ALL.to_vec(),
        };
        let (from, to) = (month("From", &self.from)?, month("To", &self.to)?);
        let proposal: Result<ProposalId, _> = self.proposal.parse();
        let control: Option<u64> = self.control.parse().ok();
        Ok(NewVotes {
            proposal: proposal.map_err(CommandError::from)?,
            terms: VoteTerms::new(from, to, &kinds, formula).map_err(CommandError::from)?,
            control: control.map(Control),
            expected: Some(self.hash.clone()).filter(|hash| !hash.is_empty()),
            reason: self.reason.clone(),
            by,
        })
    }
}

/// `GET /admin/governance`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    PageQuery(asked): PageQuery<VotesQuery>,
) -> Result<Response, Problem> {
    let after: Option<ProposalId> = asked.after.parse().ok();
    let page = pages
        .service
        .queries
        .frozen_proposals(after.as_ref(), PROPOSALS)
        .await?;
    let is_known = |votes: &VotesView| votes.proposal == asked.frozen;
    let note = page
        .proposals
        .iter()
        .any(is_known)
        .then(|| frame::done("Frozen. The weights of this proposal never change from now on."));
    let body = overview(&visitor, &page, note.as_ref(), &Sent::default());
    Ok(page_of(StatusCode::OK, &visitor, TITLE, PATH, &body))
}

/// `POST /admin/governance/preview`.
pub(in super::super) async fn preview(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let sent = Sent {
        control: String::new(),
        hash: String::new(),
        ..Sent::of(&form)
    };
    let previewed = match sent.read(visitor.by()) {
        Ok(new) => pages.service.commands.preview_votes(new).await,
        Err(problem) => return refused(&pages, &visitor, &sent, problem).await,
    };
    match previewed {
        Ok(preview) => {
            let body = preview_page(&visitor, &preview, &sent);
            Ok(page_of(StatusCode::OK, &visitor, TITLE, PATH, &body))
        }
        Err(error) => refused(&pages, &visitor, &sent, error.into()).await,
    }
}

/// `POST /admin/governance`.
pub(in super::super) async fn freeze(
    State(pages): State<Pages>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, Problem> {
    let sent = Sent::of(&form);
    let frozen = match sent.read(visitor.by()) {
        Ok(new) => pages.service.commands.freeze_votes(new).await,
        Err(problem) => return refused(&pages, &visitor, &sent, problem).await,
    };
    match frozen {
        Ok(votes) => Ok(redirect(&format!(
            "{PATH}?frozen={}",
            encoded(&votes.proposal)
        ))),
        Err(error) => refused(&pages, &visitor, &sent, error.into()).await,
    }
}

/// The page with the form as it was typed, and why nothing was frozen.
async fn refused(
    pages: &Pages,
    visitor: &Visitor,
    sent: &Sent,
    problem: Problem,
) -> Result<Response, Problem> {
    if !problem.is_about_input() {
        return Err(problem);
    }
    let queries = &pages.service.queries;
    let page = queries.frozen_proposals(None, PROPOSALS).await?;
    let note = refusal(&problem);
    let body = overview(visitor, &page, Some(&note), sent);
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(page_of(status, visitor, TITLE, PATH, &body))
}

fn overview(visitor: &Visitor, page: &VotesPage, note: Option<&Markup>, sent: &Sent) -> Markup {
    html! {
        h1 { "Votes" }
        @if let Some(note) = note { (note) }
        p { "The weights of a proposal say what each linked address weighs in a vote, by the points of final months. Once frozen, they never change." }
        @if writes(visitor) { (terms_form(visitor, sent)) }
        (proposals(page))
    }
}

fn terms_form(visitor: &Visitor, sent: &Sent) -> Markup {
    html! {
        section .card aria-labelledby="freeze-h" {
            h2 #freeze-h { "Freeze a proposal" }
            form .stack method="post" action=(format!("{PATH}/preview")) {
                (token(visitor))
                label for="proposal" { "Proposal" }
                input #proposal name="proposal" required maxlength="128" value=(sent.proposal) autocomplete="off" spellcheck="false"
                    aria-describedby="proposal-help";
                p #proposal-help .help { "Snapshot’s id of it, or a name of your own: letters, digits, dots, dashes and underscores." }
                label for="from" { "From month" }
                input #from name="from" required value=(sent.from) placeholder="2026-10" autocomplete="off";
                label for="to" { "To month" }
                input #to name="to" required value=(sent.to) placeholder="2026-10" autocomplete="off";
                label for="kinds" { "Who takes part" }
                (choice("kinds", &KINDS, &sent.kinds))
                label for="formula" { "Weight" }
                (choice("formula", &FORMULAS, &sent.formula))
                label for="cap" { "Cap, in points" }
                input #cap name="cap" inputmode="decimal" value=(sent.cap) autocomplete="off" aria-describedby="cap-help";
                p #cap-help .help { "Only for the weight up to a cap." }
                label for="reason" { "Why" }
                input #reason name="reason" required maxlength="500" value=(sent.reason) autocomplete="off";
                p .actions { button type="submit" { "Preview" } }
            }
        }
    }
}

fn choice(name: &str, options: &[(&str, &str)], chosen: &str) -> Markup {
    html! {
        select id=(name) name=(name) {
            @for (value, text) in options { option value=(value) selected[*value == chosen] { (text) } }
        }
    }
}

fn preview_page(visitor: &Visitor, preview: &VotesPreview, sent: &Sent) -> Markup {
    let votes = &preview.votes;
    html! {
        h1 { "Freeze " span .id { (votes.proposal) } "?" }
        section .card aria-labelledby="preview-h" {
            h2 #preview-h { "What would be frozen" }
            (facts(votes))
            dl .facts {
                div { dt { "Accounts with points and a wallet" } dd .n { (preview.accounts) } }
                div { dt { "Points of accounts without a wallet, which weigh nothing" } dd .n { (preview.unlinked_points) } }
            }
            h3 { "The heaviest addresses" }
            @if preview.largest.is_empty() { p .empty { "No address has a weight." } } @else {
                div .scroll.cells tabindex="0" role="group" aria-label="The heaviest addresses" {
                    table {
                        thead { tr { th scope="col" { "Address" } th .n scope="col" { "Weight" } } }
                        tbody {
                            @for line in &preview.largest {
                                tr { th scope="row" { code { (line.address) } } td .n data-label="Weight" { (decimal(&line.score)) } }
                            }
                        }
                    }
                }
            }
            form .stack method="post" action=(PATH) {
                (token(visitor))
                @for (name, value) in [
                    ("proposal", &sent.proposal), ("from", &sent.from), ("to", &sent.to), ("kinds", &sent.kinds),
                    ("formula", &sent.formula), ("cap", &sent.cap), ("reason", &sent.reason), ("hash", &votes.hash),
                ] { input type="hidden" name=(name) value=(value); }
                input type="hidden" name="control" value=(votes.control);
                p .help { "This cannot be undone or changed. If anything has changed since this preview, nothing is frozen." }
                p .actions {
                    button type="submit" { "Freeze these weights" }
                    a .button.second href=(PATH) { "Back" }
                }
            }
        }
    }
}

fn facts(votes: &VotesView) -> Markup {
    let kinds: Vec<&str> = votes.kinds.iter().map(|kind| kind.as_str()).collect();
    html! {
        dl .facts {
            div { dt { "Months" } dd { (votes.from) " to " (votes.to) } }
            div { dt { "Kinds" } dd { (kinds.join(", ")) } }
            div { dt { "Weight" } dd { (votes.formula) @if let Some(cap) = &votes.cap { " " (cap) } } }
            div { dt { "Wallets as of entry" } dd .n { (votes.control) } }
            div { dt { "Addresses" } dd .n { (votes.addresses) } }
            div { dt { "Sum of weights" } dd .n { (decimal(&votes.total)) } }
            div { dt { "SHA-256" } dd { code { (votes.hash) } } }
        }
    }
}

/// A weight with its decimals.
fn decimal(smallest: &str) -> String {
    tokens(smallest, u32::from(DECIMALS))
}

fn proposals(page: &VotesPage) -> Markup {
    html! {
        section .card aria-labelledby="proposals-h" {
            h2 #proposals-h { "Frozen proposals" }
            @if page.proposals.is_empty() { p .empty { "None yet." } } @else {
                div .scroll.wide.cells tabindex="0" role="group" aria-labelledby="proposals-h" {
                    table {
                        thead { tr {
                            th scope="col" { "Proposal" }
                            th scope="col" { "Months" }
                            th scope="col" { "Weight" }
                            th .n scope="col" { "Addresses" }
                            th .n scope="col" { "Sum" }
                            th scope="col" { "Frozen" }
                            th scope="col" { "SHA-256" }
                        } }
                        tbody { @for votes in &page.proposals { (row(votes)) } }
                    }
                }
                @if let Some(next) = &page.next {
                    nav .pages aria-label="More proposals" { a .button.second rel="next" href=(format!("{PATH}?after={}", encoded(next))) { "After" } }
                }
            }
        }
    }
}

fn row(votes: &VotesView) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(format!("/api/governance/{}", votes.proposal)) { (votes.proposal) } }
            td data-label="Months" { (votes.from) " to " (votes.to) }
            td data-label="Weight" { (votes.formula) @if let Some(cap) = &votes.cap { " " (cap) } }
            td .n data-label="Addresses" { (votes.addresses) }
            td .n data-label="Sum" { (decimal(&votes.total)) }
            td .time data-label="Frozen" { (instant(votes.frozen_at)) }
            td data-label="SHA-256" { code { (votes.hash) } }
        }
    }
}
