//! A change of a price or a rule: shown first, then confirmed as it was shown, or not at all.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::json;

use super::super::frame::token;
use super::super::visitor::{Form, Visitor};
use super::super::words::instant;
use super::super::{Pages, redirect};
use super::preview::{Change, query_of, shown};
use super::rules::{TAB, one, path};
use super::versions::{meets, price_key, told};
use super::{confirmation, page_of, refusal};
use crate::app::commands::rules::{ChangePreview, Confirmation, Confirmed};
use crate::app::queries::{Version, known_rule};
use crate::domain::rules::SettingKey;
use crate::http::extract::PathParams;
use crate::http::problem::Problem;

fn change_of(key: &str, form: &Form) -> Change {
    let value = match price_key(key) {
        // As it was typed: what is no decimal is refused where the API refuses it.
        Some(price) if form.text("value").is_empty() => {
            json!({"pricePerUnit": form.text("price"), "unit": price.unit().as_str()}).to_string()
        }
        _ => form.text("value").to_owned(),
    };
    Change {
        key: key.to_owned(),
        value,
        from: form.text("from").to_owned(),
        reason: form.text("reason").to_owned(),
        confirmation: confirmation::of(form),
    }
}

/// `POST /admin/rules/{key}/preview`.
pub(in super::super) async fn preview(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathParams(key): PathParams<String>,
    form: Form,
) -> Result<Response, Problem> {
    known_rule(&key)?;
    let change = change_of(&key, &form);
    ask(&pages, &visitor, change, StatusCode::OK, None).await
}

/// The page that asks for confirmation.
async fn ask(
    pages: &Pages,
    visitor: &Visitor,
    mut change: Change,
    status: StatusCode,
    note: Option<Markup>,
) -> Result<Response, Problem> {
    // Before what is shown is read: what is published in between makes the confirmation ask again.
    let versions = pages.service.queries.rule_history(&change.key).await?;
    let preview = match change.preview(pages, &visitor.by()).await {
        Ok(preview) => preview,
        Err(problem) => return refused(pages, visitor, &change, problem).await,
    };
    let at = preview.published.effective_from;
    let now = pages.service.clock.now();
    change.confirmation = Some(Confirmation::of(&versions, now));
    let body = html! {
        h1 { "Change " (change.key) "?" }
        @if let Some(note) = note { (note) }
        p { (begins(&change, &preview)) ", by the time of the events. What was rated before stays as it is." }
        (meets(&versions, at, now))
        (shown(&change, &preview))
        (confirm(visitor, &change, &preview))
    };
    Ok(page_of(status, visitor, "Change it?", TAB, &body))
}

fn begins(change: &Change, preview: &ChangePreview) -> String {
    match change.from.as_str() {
        "" if change.key == SettingKey::Providers.name() => {
            let seconds = SettingKey::Providers.lead_ms() / 1_000;
            format!("Effective {seconds} seconds after you confirm it")
        }
        "" => "Effective immediately".to_owned(),
        _ => format!(
            "Effective from {}",
            instant(preview.published.effective_from)
        ),
    }
}

fn confirm(visitor: &Visitor, change: &Change, preview: &ChangePreview) -> Markup {
    let changes = preview.published.unchanged.is_empty();
    html! {
        form .actions method="post" action=(path(&change.key)) {
            @if changes {
                (token(visitor))
                @if let Some(shown) = &change.confirmation { (confirmation::inputs(shown)) }
                input type="hidden" name="value" value=(change.value);
                input type="hidden" name="from" value=(change.from);
                input type="hidden" name="reason" value=(change.reason);
                button type="submit" { "Confirm" } " "
            }
            a .button.second href=(path(&change.key)) { @if changes { "Cancel" } @else { "Back" } }
        }
    }
}

async fn refused(
    pages: &Pages,
    visitor: &Visitor,
    change: &Change,
    problem: Problem,
) -> Result<Response, Problem> {
    if !problem.is_about_input() {
        return Err(problem);
    }
    let note = Some(refusal(&problem));
    let body = one(pages, visitor, &change.key, note, Some(change)).await?;
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(page_of(status, visitor, &change.key, TAB, &body))
}

/// `POST /admin/rules/{key}`.
pub(in super::super) async fn publish(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathParams(key): PathParams<String>,
    form: Form,
) -> Result<Response, Problem> {
    // The switch of the network has a form of its own, where its name is typed.
    if known_rule(&key)? == SettingKey::Mainnet {
        return Ok(redirect("/admin/network"));
    }
    let change = change_of(&key, &form);
    let Some(confirmation) = change.confirmation.clone() else {
        // Nobody confirms what was not shown.
        return ask(&pages, &visitor, change, StatusCode::OK, None).await;
    };
    match change.publish(&pages, &visitor.by(), &confirmation).await {
        Ok(Confirmed::Changed) => {
            let versions = pages.service.queries.rule_history(&key).await?;
            let note = Some(meanwhile(&versions));
            ask(&pages, &visitor, change, StatusCode::CONFLICT, note).await
        }
        Ok(outcome) => Ok(redirect(&format!("{}{}", path(&key), query_of(outcome)))),
        Err(problem) => refused(&pages, &visitor, &change, problem).await,
    }
}

/// That what was shown is not so any more, and what is.
pub(super) fn meanwhile(versions: &[Version]) -> Markup {
    html! {
        div .note.bad role="alert" {
            p { "Nothing was published: it has changed in the meantime. Look again, and confirm if it is still right." }
            @if let Some(newest) = versions.last() { div { "The newest is " (told(newest)) } }
        }
    }
}
