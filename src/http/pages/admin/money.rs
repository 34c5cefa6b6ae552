//! What the pages of credits and of adjustments have in common: a form to book an amount, the
//! question whether it is meant so, and that it counts once, however often it is sent.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use tokio::time::timeout;

use super::super::Pages;
use super::super::frame::{self, token};
use super::super::visitor::{Form, Visitor};
use super::super::words::headline;
use super::{coded, name_of_form, page_of};
use crate::app::commands::Doubt;
use crate::domain::text::REASON_CHARS_MAX;
use crate::http::problem::Problem;

/// So much earlier than a page gives up, these stop waiting for the store: they must say what may
/// have happened.
const EARLIER: Duration = Duration::from_millis(300);

/// What a page books, in words.
pub(super) struct Words {
    /// The page, which is also where its forms go.
    pub path: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The name of the amount's field.
    pub field: &'static str,
    /// What the amount counts, beside its field and behind a number.
    pub label: &'static str,
    pub unit: &'static str,
    /// Above the form, below its fields, and on its button.
    pub form: &'static str,
    pub amount_help: &'static str,
    pub reason_help: &'static str,
    pub submit: &'static str,
    /// The questions before something is added or taken away, and the answers.
    pub add: [&'static str; 2],
    pub take: [&'static str; 2],
    /// What has or has not been done: "added".
    pub done: &'static str,
}

/// A page of an account, whose entries it books.
pub(super) struct Desk<'p> {
    pub words: &'static Words,
    pub pages: &'p Pages,
    pub visitor: &'p Visitor,
    /// The account, by name.
    pub whose: String,
    /// The hidden fields that name the account.
    pub account: Markup,
    /// The page of the account.
    pub back: String,
}

/// A form as it was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    pub amount: String,
    pub reason: String,
    /// The name of the entry; drawn when it is needed, where it is empty.
    once: String,
}

impl Sent {
    /// The form of a desk with these words. It has a name from here on.
    pub fn of(form: &Form, words: &Words) -> Sent {
        Sent {
            amount: form.text(words.field).to_owned(),
            reason: form.text("reason").to_owned(),
            once: name_of_form(form.text("once")),
        }
    }

    /// The key of the entry that it books.
    pub fn key(&self) -> String {
        name_of_form(&self.once)
    }

    /// The same to be sent as another entry.
    fn anew(self) -> Sent {
        Sent {
            once: String::new(),
            ..self
        }
    }
}

/// What became of a form.
pub(super) enum Outcome<T> {
    /// It has to be confirmed first, on this page.
    Question(Markup),
    /// It was booked, now or before.
    Booked(T),
    /// Nothing was booked: why.
    Refused(String),
}

/// What a desk says to a form.
pub(super) enum Said<T> {
    /// It was booked.
    Booked(T),
    /// Nothing was booked: why. The form is shown again.
    Refused(String),
    /// Anything else, on this page.
    Page(Response),
}

impl Desk<'_> {
    pub fn page(&self, status: StatusCode, body: &Markup) -> Response {
        page_of(
            status,
            self.visitor,
            self.words.title,
            self.words.path,
            body,
        )
    }

    /// Books what a form says; or undoes the entry whose key it names, if it names one.
    pub async fn booked_or_undone<T>(
        &self,
        sent: &Sent,
        undo: &str,
        book: impl Future<Output = Result<Outcome<T>, Problem>>,
        undone: impl Future<Output = Result<Outcome<T>, Problem>>,
    ) -> Result<Said<T>, Problem> {
        match undo {
            "" => self.said(book, || self.form(sent)).await,
            key => self.said(undone, || self.undo_form(key)).await,
        }
    }

    /// Waits as long as the page can still say what may have happened. `form`: shown again where
    /// nobody knows whether it was booked.
    async fn said<T>(
        &self,
        work: impl Future<Output = Result<Outcome<T>, Problem>>,
        form: impl FnOnce() -> Markup,
    ) -> Result<Said<T>, Problem> {
        let within = self.pages.answer_within(&Method::POST);
        // The question and the booking share the time.
        match timeout(within.saturating_sub(EARLIER), work).await {
            Ok(Ok(Outcome::Booked(booked))) => Ok(Said::Booked(booked)),
            Ok(Ok(Outcome::Refused(why))) => Ok(Said::Refused(why)),
            Ok(Ok(Outcome::Question(body))) => Ok(Said::Page(self.page(StatusCode::OK, &body))),
            Ok(Err(problem)) if problem.is_about_input() => {
                Ok(Said::Refused(problem.told().0.to_owned()))
            }
            Ok(Err(problem)) if !problem.is_unavailable() => Err(problem),
            Ok(Err(_)) | Err(_) => Ok(Said::Page(self.unsure(&form()))),
        }
    }

    /// Whether it was booked is unknown. The same form under the same name is safe to send again.
    fn unsure(&self, form: &Markup) -> Response {
        let body = html! {
            h1 { (self.words.title) }
            div .note.bad role="alert" {
                p { "The store did not answer, so this may or may not have been " (self.words.done) ". Send the same form again in a few \
                     seconds: it counts once, however often it is sent." }
            }
            h2 { "For " (self.whose) }
            (form)
        };
        self.page(StatusCode::SERVICE_UNAVAILABLE, &body)
    }

    /// That nothing was booked, and why.
    pub fn not_done(&self, why: &str) -> Markup {
        frame::not_done(&format!("Nothing was {}: {why}.", self.words.done))
    }

    /// The form, as it was sent; nothing was booked under its name, or something else was: it gets a
    /// new one.
    pub fn form_anew(&self, sent: Sent) -> Markup {
        self.form(&sent.anew())
    }

    pub fn form(&self, sent: &Sent) -> Markup {
        let words = self.words;
        html! {
            section .card aria-labelledby="book-h" {
                h2 #book-h { (words.form) }
                form .stack method="post" action=(words.path) {
                    (self.hidden(&sent.key()))
                    label for="amount" { (words.label) }
                    input #amount name=(words.field) inputmode="decimal" required value=(sent.amount) autocomplete="off" aria-describedby="amount-help";
                    p #amount-help .help { (words.amount_help) }
                    label for="reason" { "Why" }
                    input #reason name="reason" required maxlength=(REASON_CHARS_MAX) value=(sent.reason) autocomplete="off" aria-describedby="reason-help";
                    p #reason-help .help { (words.reason_help) }
                    p .actions { button type="submit" { (words.submit) } }
                }
            }
        }
    }

    fn hidden(&self, once: &str) -> Markup {
        html! {
            (token(self.visitor))
            (self.account)
            // Sent twice it counts once.
            input type="hidden" name="once" value=(once);
        }
    }

    /// What would be booked, and why it is asked. `facts`: what that makes of the account.
    pub fn question(
        &self,
        amount: impl Display,
        sent: &Sent,
        doubts: &[Doubt],
        facts: &Markup,
    ) -> Markup {
        let fields = html! {
            (self.hidden(&sent.key()))
            input type="hidden" name=(self.words.field) value=(sent.amount);
            input type="hidden" name="reason" value=(sent.reason);
        };
        self.confirmation(&amount.to_string(), &sent.reason, doubts, facts, &fields)
    }

    /// The same of the counter-entry to an entry.
    pub fn undo_question(
        &self,
        key: &str,
        amount: impl Display,
        reason: &str,
        facts: &Markup,
    ) -> Markup {
        self.confirmation(
            &amount.to_string(),
            reason,
            &[],
            facts,
            &self.undo_fields(key),
        )
    }

    fn undo_fields(&self, key: &str) -> Markup {
        html! {
            (token(self.visitor))
            (self.account)
            input type="hidden" name="undo" value=(key);
        }
    }

    /// A button that sends an undo again.
    fn undo_form(&self, key: &str) -> Markup {
        html! {
            form .actions method="post" action=(self.words.path) {
                (self.undo_fields(key))
                button type="submit" { "Undo" } " "
                a .button.second href=(self.back) { "Cancel" }
            }
        }
    }

    fn confirmation(
        &self,
        amount: &str,
        reason: &str,
        doubts: &[Doubt],
        facts: &Markup,
        fields: &Markup,
    ) -> Markup {
        let is_less = amount.starts_with('-');
        let [question, answer] = if is_less {
            self.words.take
        } else {
            self.words.add
        };
        html! {
            h1 { (question) }
            section .card aria-labelledby="sure-h" {
                h2 #sure-h { (self.whose) }
                @for doubt in doubts { p .warn { (coded(&format!("Please check: {doubt}."))) } }
                (headline(amount, self.words.unit))
                (facts)
                p { "Why: " (reason) }
                form .actions method="post" action=(self.words.path) {
                    (fields)
                    input type="hidden" name="confirmed" value="yes";
                    button .danger[is_less] type="submit" { (answer) } " "
                    a .button.second href=(self.back) { "Cancel" }
                }
            }
        }
    }
}
