//! What ties a confirmation to what was looked at: the versions that a page showed, and a name of the change that counts once.

use maud::{Markup, html};

use super::super::guard::Form;
use crate::domain::time::Millis;
use crate::http::admin::Onto;
use crate::ops::random_name;
use crate::store::pricing::{Seen, Version};

/// Digits of a change's name.
const TOKEN_DIGITS: usize = 32;

/// A new name for a change of what these versions of a key are now.
pub(super) fn new(versions: &[Version], now: Millis) -> Onto {
    Onto {
        seen: Seen::of(versions, now),
        token: random_name(),
    }
}

/// The hidden fields that say it.
pub(super) fn inputs(onto: &Onto) -> Markup {
    let Seen { newest, in_force } = onto.seen;
    html! {
        input type="hidden" name="seen" value=(format!("{newest}.{in_force}"));
        input type="hidden" name="once" value=(onto.token);
    }
}

/// What a form says; `None`: it is not one that shows what it changes.
pub(super) fn of(form: &Form) -> Option<Onto> {
    let (newest, in_force) = form.text("seen").split_once('.')?;
    let token = form.text("once");
    let is_ours = token.len() == TOKEN_DIGITS && token.bytes().all(|b| b.is_ascii_hexdigit());
    let seen = Seen {
        newest: newest.parse().ok()?,
        in_force: in_force.parse().ok()?,
    };
    is_ours.then(|| Onto {
        seen,
        token: token.to_owned(),
    })
}
