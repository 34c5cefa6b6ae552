//! Prices and rules: what is in force, every version, and a form for the next one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::frame::{self, token};
use super::super::guard::{Form, Visitor};
use super::super::words::{encoded, instant};
use super::super::{Pages, redirect};
use super::preview::{Change, from_input, plain, reason_input, shown};
use super::{page, page_of, refusal, writes};
use crate::domain::rules::{PriceKey, SettingKey};
use crate::http::admin::{in_force, json_of};
use crate::http::problem::Problem;
use crate::http::strict::{Asked, Named};
use crate::store::pricing::{self, Version};

const TAB: &str = "/admin/rules";

fn path(key: &str) -> String {
    format!("{TAB}/{}", encoded(key))
}

fn known(key: &str) -> Result<SettingKey, Problem> {
    SettingKey::named(key).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_rule",
            "there is no such rule",
        )
    })
}

/// `GET /admin/rules`.
pub(in super::super) async fn list(
    State(pages): State<Pages>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let versions = in_force(&pages.service, pages.service.clock.now()).await?;
    let is_price =
        |version: &&Version| matches!(SettingKey::named(&version.key), Some(SettingKey::Price(_)));
    let (prices, rest): (Vec<&Version>, Vec<&Version>) = versions.iter().partition(is_price);
    let body = html! {
        h1 { "Prices and rules" }
        @if versions.is_empty() {
            p .empty { "No rules have been published yet: " code { "tidemark pricing init" } }
        }
        section .card aria-labelledby="prices-h" {
            h2 #prices-h { "Prices" }
            p .help { "Charged on mainnet; on testnet only noted." }
            div .scroll tabindex="0" role="group" aria-labelledby="prices-h" {
                table {
                    thead { tr {
                        th scope="col" { "Price of" }
                        th .n scope="col" { "USD" }
                        th scope="col" { "for" }
                        th scope="col" { "Since" }
                        th scope="col" { "By" }
                    } }
                    tbody {
                        @for version in &prices {
                            @let value = json_of(&version.value);
                            tr {
                                th scope="row" { a href=(path(&version.key)) { (version.key.replace('_', " ")) } }
                                td .n { (plain(&value["pricePerUnit"])) }
                                td { (unit_word(&plain(&value["unit"]))) }
                                td .time { (since(version)) }
                                td { (version.by) }
                            }
                        }
                    }
                }
            }
        }
        section .card aria-labelledby="rules-h" {
            h2 #rules-h { "Rules" }
            div .scroll tabindex="0" role="group" aria-labelledby="rules-h" {
                table {
                    thead { tr {
                        th scope="col" { "Rule" }
                        th .n scope="col" { "Version" }
                        th scope="col" { "Since" }
                        th scope="col" { "By" }
                    } }
                    tbody {
                        @for version in &rest {
                            tr {
                                th scope="row" { a href=(path(&version.key)) { (version.key) } }
                                td .n { (version.version) }
                                td .time { (since(version)) }
                                td { (version.by) }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(page(&visitor, "Prices and rules", TAB, &body))
}

fn since(version: &Version) -> String {
    version
        .effective_from
        .map_or_else(|| "the beginning".to_owned(), instant)
}

/// What was done before.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Wanted {
    #[serde(default)]
    done: String,
}

/// `GET /admin/rules/{key}`.
pub(in super::super) async fn show(
    State(pages): State<Pages>,
    visitor: Visitor,
    Named(key): Named<String>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Problem> {
    known(&key)?;
    let note = match wanted.done.as_str() {
        "published" => Some(frame::done(
            "It is published. Events that come from now on are rated with it, from its time on.",
        )),
        "unchanged" => Some(frame::done(
            "Nothing was written: this value is in force then anyway.",
        )),
        _ => None,
    };
    let body = one(&pages, &visitor, &key, note, None).await?;
    Ok(page(&visitor, &key, TAB, &body))
}

/// A rule with its form and its history; the form as it was sent, where it was.
async fn one(
    pages: &Pages,
    visitor: &Visitor,
    key: &str,
    note: Option<Markup>,
    sent: Option<&Change>,
) -> Result<Markup, Problem> {
    let versions = pricing::history(&*pages.service.db, key).await?;
    let now = pages.service.clock.now();
    let current = pricing::in_force_at(versions.clone(), now);
    Ok(html! {
        h1 { (key) }
        @if let Some(note) = note { (note) }
        section .card aria-labelledby="now-h" {
            h2 #now-h { "In force now" }
            @match &current {
                Some(version) => {
                    (value(key, &json_of(&version.value)))
                    p .help { "Version " (version.version) ", since " (since(version)) ", by " (version.by) ": " (version.reason) }
                }
                None => { p .empty { "Nothing yet." } }
            }
        }
        @if key == SettingKey::Mainnet.name() {
            p { a .button href="/admin/network" { "Switch the network" } }
        } @else if writes(visitor) {
            (change_form(visitor, key, current.as_ref(), sent))
        }
        (history(key, &versions))
    })
}

fn value(key: &str, value: &Value) -> Markup {
    html! {
        @if price_key(key).is_some() {
            p .big { span .number { (plain(&value["pricePerUnit"])) } " USD for " (unit_word(&plain(&value["unit"]))) }
        } @else {
            details open[value.to_string().len() < 2_000] {
                summary { "The value" }
                pre tabindex="0" { (serde_json::to_string_pretty(value).unwrap_or_default()) }
            }
        }
    }
}

/// What one price pays for, as people say it.
fn unit_word(unit: &str) -> &str {
    match unit {
        "1000_tokens" => "1,000 tokens",
        "minute" => "a minute",
        "request" => "a request",
        other => other,
    }
}

fn price_key(key: &str) -> Option<PriceKey> {
    match SettingKey::named(key) {
        Some(SettingKey::Price(price)) => Some(price),
        _ => None,
    }
}

fn change_form(
    visitor: &Visitor,
    key: &str,
    current: Option<&Version>,
    sent: Option<&Change>,
) -> Markup {
    let value = match (sent, current) {
        (Some(sent), _) => {
            serde_json::from_str(&sent.value).unwrap_or_else(|_| Value::String(sent.value.clone()))
        }
        (None, Some(version)) => json_of(&version.value),
        (None, None) => Value::Null,
    };
    let text = match &value {
        // What was sent and is no JSON, as it was sent.
        Value::String(text) if sent.is_some() => text.clone(),
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    };
    let sent = sent.cloned().unwrap_or_default();
    html! {
        section .card aria-labelledby="change-h" {
            h2 #change-h { "Change it" }
            form .stack method="post" action=(format!("{}/preview", path(key))) {
                (token(visitor))
                @match price_key(key) {
                    Some(price) => {
                        label for="price" { "USD for " (unit_word(price.unit().as_str())) }
                        input #price name="price" inputmode="decimal" required value=(plain(&value["pricePerUnit"])) autocomplete="off";
                    }
                    None => {
                        label for="value" { "The value, as JSON" }
                        textarea #value name="value" required spellcheck="false" { (text) }
                    }
                }
                (from_input(&sent.from))
                (reason_input(&sent.reason))
                p .actions { button type="submit" { "Show what it would change" } }
            }
        }
    }
}

fn history(key: &str, versions: &[Version]) -> Markup {
    let is_price = price_key(key).is_some();
    html! {
        section .card aria-labelledby="history-h" {
            h2 #history-h { "History" }
            @if versions.is_empty() { p .empty { "No version yet." } } @else {
                div .scroll.wide tabindex="0" role="group" aria-labelledby="history-h" {
                    table {
                        thead { tr {
                            th .n scope="col" { "Version" }
                            th scope="col" { "From" }
                            @if is_price { th .n scope="col" { "USD" } }
                            th scope="col" { "By" }
                            th scope="col" { "Why" }
                            th scope="col" { "Written" }
                        } }
                        tbody {
                            @for version in versions.iter().rev() {
                                tr {
                                    th .n scope="row" { (version.version) }
                                    td .time { (since(version)) }
                                    @if is_price { td .n { (plain(&json_of(&version.value)["pricePerUnit"])) } }
                                    td { (version.by) }
                                    td { (version.reason) }
                                    td .time { (instant(version.written_at)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

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
    }
}

/// `POST /admin/rules/{key}/preview`.
pub(in super::super) async fn preview(
    State(pages): State<Pages>,
    visitor: Visitor,
    Named(key): Named<String>,
    form: Form,
) -> Result<Response, Problem> {
    known(&key)?;
    let change = change_of(&key, &form);
    let preview = match change.preview(&pages, &visitor.by()).await {
        Ok(preview) => preview,
        Err(problem) => return refused(&pages, &visitor, &change, problem).await,
    };
    let begins = match change.from.as_str() {
        "" => "From the moment on at which you confirm it".to_owned(),
        _ => format!("From {} on", instant(preview.published.at)),
    };
    let body = html! {
        h1 { "Change " (key) "?" }
        p { (begins) ", by the time of the events. What was rated before stays as it is." }
        (shown(&preview))
        form .actions method="post" action=(path(&key)) {
            (token(&visitor))
            input type="hidden" name="value" value=(change.value);
            input type="hidden" name="from" value=(change.from);
            input type="hidden" name="reason" value=(change.reason);
            button type="submit" { "Confirm" } " "
            a .button.second href=(path(&key)) { "Leave it as it is" }
        }
    };
    Ok(page(&visitor, "Change it?", TAB, &body))
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
    Named(key): Named<String>,
    form: Form,
) -> Result<Response, Problem> {
    // The switch of the network has a form of its own, where its name is typed.
    if known(&key)? == SettingKey::Mainnet {
        return Ok(redirect("/admin/network"));
    }
    let change = change_of(&key, &form);
    match change.publish(&pages, &visitor.by()).await {
        Ok(published) if published.control.is_none() => {
            Ok(redirect(&format!("{}?done=unchanged", path(&key))))
        }
        Ok(_) => Ok(redirect(&format!("{}?done=published", path(&key)))),
        Err(problem) => refused(&pages, &visitor, &change, problem).await,
    }
}
