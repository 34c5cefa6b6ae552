//! The referral section: my code, who referred me, whom I referred, and what that brought.

use maud::{Markup, html};

use super::Pages;
use super::frame::token;
use super::subject::Subject;
use super::visitor::Visitor;
use super::words::{account_path, counted, instant, number, percent, shortened};
use crate::app::queries::{CodeView, MilestoneState, RefereeProgress, ReferralOverview};
use crate::domain::amount::Points;
use crate::domain::ids::{Account, AccountKind};
use crate::domain::ledger::MILESTONE_SUCCESSES;
use crate::http::problem::Problem;
use crate::ops::random_name;

/// Referees of a page.
const REFEREES: usize = 20;

/// A code that was entered and refused.
pub(super) struct RefusedCode {
    pub typed: String,
    pub why: &'static str,
}

/// The section, on an account's page.
pub(super) async fn section(
    pages: &Pages,
    visitor: &Visitor,
    subject: &Subject,
    after: u64,
    refused: Option<&RefusedCode>,
) -> Result<Markup, Problem> {
    let account = &subject.account;
    let queries = &pages.service.queries;
    let overview = queries.referral_overview(account, after, REFEREES).await?;
    let progress = queries.referee_progress(&overview.referees).await?;
    let acts = visitor.acts_for(account);
    Ok(html! {
        section #referrals .card aria-labelledby="referrals-h" {
            h2 #referrals-h { "Referrals" }
            div .halves {
                div {
                    (code(visitor, account, overview.code.as_ref(), acts))
                    (referrer(visitor, account, &overview, acts, refused))
                }
                div {
                    (programme(subject))
                    (rewards(&overview))
                }
            }
            (referees(subject, after, &overview, &progress))
        }
    })
}

fn code(visitor: &Visitor, account: &Account, code: Option<&CodeView>, acts: bool) -> Markup {
    html! {
        h3 { "My code" }
        @match code {
            Some(code) => {
                p .code-line {
                    code #my-code .code { (code.code) }
                    // Shown by the script that makes it work.
                    button .second type="button" data-copy="#my-code" data-said="#copied" hidden { "Copy" }
                    span #copied .said role="status" {}
                }
                @if !code.active { p .warn { "This code was switched off; new signups cannot use it." } }
                p .help { (counted(code.signups, "signup")) " with it so far." }
            }
            None if acts => {
                form method="post" action=(format!("{}/code", account_path(account))) {
                    (token(visitor))
                    p .help { "Share a code of your own to refer others." }
                    button type="submit" { "Make my code" }
                }
            }
            None => { p .empty { "There is no code yet." } }
        }
    }
}

/// The field for a code; or, once it was used, by whom and since when.
fn referrer(
    visitor: &Visitor,
    account: &Account,
    overview: &ReferralOverview,
    acts: bool,
    refused: Option<&RefusedCode>,
) -> Markup {
    let by = overview.referrer.as_ref().zip(overview.linked_at);
    html! {
        h3 { "Who referred me" }
        @if let Some((by, since)) = by {
            p #referrer { "Referred by " strong { (shortened(&by.id)) } " since " (instant(since)) "." }
        } @else if acts {
            form .stack method="post" action=(format!("{}/referrer#referrals", account_path(account))) {
                (token(visitor))
                input type="hidden" name="once" value=(random_name());
                label for="entered" { "Enter a code" }
                div .line {
                    input #entered name="code" required maxlength="64" autocomplete="off" autocapitalize="characters" spellcheck="false"
                        placeholder="ANNA-7KQ2M" value=(refused.map_or("", |refused| &refused.typed))
                        aria-invalid=[refused.map(|_| "true")] aria-describedby=[refused.map(|_| "refused")];
                    button type="submit" { "Enter" }
                }
                @if let Some(refused) = refused { p #refused .warn role="alert" { (refused.why) } }
                p .help { "You can do this once; a referrer cannot be changed later." }
            }
        } @else {
            p .empty { "No referrer." }
        }
    }
}

/// What referring brings, by the rules that are in force.
fn programme(subject: &Subject) -> Markup {
    let rules = &subject.rules;
    html! {
        h3 { "The programme" }
        table {
            caption .sr { "What referring brings" }
            tbody {
                @for (level, share) in (1..).zip(rules.cascade()) {
                    tr {
                        th scope="row" { "Level " (level) span .help { (level_help(level)) } }
                        td .n { (percent(u64::from(share.0))) }
                    }
                }
                tr { th scope="row" { "A signup with your code" } td .n { (number(rules.signup())) " points" } }
                tr {
                    th scope="row" { "Its milestone" span .help { (MILESTONE_SUCCESSES) " successful requests" } }
                    td .n { (number(rules.milestone())) " points" }
                }
            }
        }
    }
}

const fn level_help(level: u32) -> &'static str {
    match level {
        1 => "of your referrals’ earnings",
        2 => "of the earnings of their referrals",
        _ => "one level further",
    }
}

/// What referring has brought, the shares by level.
fn rewards(overview: &ReferralOverview) -> Markup {
    let rewards = &overview.rewards;
    let levels = rewards.levels.0;
    // What was booked before levels were told apart.
    let rest = Points(rewards.cascade.0 - levels.iter().map(|level| level.0).sum::<i64>());
    html! {
        h3 { "Earned from referrals" }
        table #rewards {
            caption .sr { "Rewards of all months" }
            tbody {
                @for (level, points) in (1..).zip(levels) {
                    tr { th scope="row" { "Shares of level " (level) } td .n { (number(points)) } }
                }
                @if rest != Points::ZERO {
                    tr { th scope="row" { "Shares from before levels were recorded" } td .n { (number(rest)) } }
                }
                tr { th scope="row" { "Signups" } td .n { (number(rewards.signups)) } }
                tr { th scope="row" { "Milestones" } td .n { (number(rewards.milestones)) } }
            }
            tfoot { tr { th scope="row" { "Points" } td .n { (number(rewards.total)) } } }
        }
        p .help {
            "Shares of requests that were counted or reversed after their month had closed are not in these sums. They are in the part “Late” of the month in which that happened."
        }
    }
}

fn referees(
    subject: &Subject,
    after: u64,
    overview: &ReferralOverview,
    progress: &[RefereeProgress],
) -> Markup {
    let counts = &overview.counts;
    let here = format!("{}?month={}", account_path(&subject.account), subject.month);
    html! {
        h3 { "My referrals" }
        @if counts.referees == 0 {
            p .empty { "None yet." }
        } @else {
            p {
                (counted(counts.referees, "account")) ", " (number(counts.activated)) " active"
                @if counts.activated_of < counts.referees { " of the first " (number(counts.activated_of)) }
                ", "
                (counted(counts.milestones, "milestone")) " reached."
                @if !overview.whole { " There are more; these are the ones that were read." }
            }
            div .scroll.cells tabindex="0" role="group" aria-label="My referrals" {
                table {
                    thead { tr {
                        th scope="col" { "Who" }
                        th scope="col" { "Since" }
                        th scope="col" { "Milestone" }
                        th .n scope="col" { "Requests" }
                    } }
                    tbody { @for one in progress { (referee(one)) } }
                }
            }
            @if after > 0 || overview.next.is_some() {
                nav .pages aria-label="More referrals" {
                    @if after > 0 { a .button.second href=(format!("{here}#referrals")) { "The first" } }
                    @if let Some(next) = overview.next { a .button.second rel="next" href=(format!("{here}&after={next}#referrals")) { "After" } }
                }
            }
        }
    }
}

fn referee(one: &RefereeProgress) -> Markup {
    let line = &one.line;
    let reached = one.successes.min(MILESTONE_SUCCESSES);
    html! {
        tr {
            th scope="row" { (shortened(&line.id)) @if line.kind == AccountKind::Provider { " " span .chip { "Provider" } } }
            td .time data-label="Since" { (instant(line.linked_at)) }
            td data-label="Milestone" {
                @match line.milestone {
                    MilestoneState::Granted => { span .chip { "Reached" } }
                    MilestoneState::Elsewhere => { "Paid elsewhere" }
                    MilestoneState::Owed => {
                        progress max=(MILESTONE_SUCCESSES) value=(reached) aria-label=(format!("{reached} of {MILESTONE_SUCCESSES}")) {}
                    }
                }
            }
            td .n data-label="Requests" { (reached) " of " (MILESTONE_SUCCESSES) }
        }
    }
}
