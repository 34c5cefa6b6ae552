//! The hidden fields that tie a confirmation to what a page showed.

use maud::{Markup, html};

use super::super::visitor::Form;
use crate::app::commands::rules::{Confirmation, Seen};

/// Digits of a change's name.
const TOKEN_DIGITS: usize = 32;

/// The hidden fields that say it.
pub(super) fn inputs(confirmation: &Confirmation) -> Markup {
    let Seen { newest, in_force } = confirmation.seen;
    html! {
        input type="hidden" name="seen" value=(format!("{newest}.{in_force}"));
        input type="hidden" name="once" value=(confirmation.token);
    }
}

/// What a form says; `None`: it is not one that shows what it changes.
pub(super) fn of(form: &Form) -> Option<Confirmation> {
    let (newest, in_force) = form.text("seen").split_once('.')?;
    let token = form.text("once");
    let is_ours = token.len() == TOKEN_DIGITS && token.bytes().all(|b| b.is_ascii_hexdigit());
    let seen = Seen {
        newest: newest.parse().ok()?,
        in_force: in_force.parse().ok()?,
    };
    is_ours.then(|| Confirmation {
        seen,
        token: token.to_owned(),
    })
}
