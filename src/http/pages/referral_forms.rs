//! The forms of the referral section: making a code, and entering somebody's.

use axum::extract::State;
use axum::response::Response;

use super::account::{self, AccountQuery};
use super::referrals::RefusedCode;
use super::visitor::{Form, PathAccount, Visitor};
use super::words::account_path;
use super::{Pages, redirect};
use crate::app::commands::{NewSignup, Referrer, Repeat, SignUpError};
use crate::domain::ids::Account;
use crate::domain::referral::SignupRefusal;
use crate::http::problem::Problem;

/// `POST /users/{id}/code`, `POST /providers/{id}/code`.
pub(super) async fn make_code(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(account): PathAccount,
) -> Result<Response, Problem> {
    let by = visitor.in_anothers_stead();
    pages.service.commands.referral_code(&account, by).await?;
    Ok(redirect(&format!("{}?done=code", account_path(&account))))
}

/// `POST /users/{id}/referrer`, `POST /providers/{id}/referrer`.
pub(super) async fn enter_code(
    State(pages): State<Pages>,
    visitor: Visitor,
    PathAccount(account): PathAccount,
    form: Form,
) -> Result<Response, Problem> {
    match enter(&pages, &visitor, &account, &form).await? {
        None => Ok(redirect(&format!(
            "{}?done=referred",
            account_path(&account)
        ))),
        Some(refused) => {
            let asking = AccountQuery::default();
            account::respond(&pages, &visitor, account, &asking, Some(&refused)).await
        }
    }
}

/// Signs up with the code of the form; why not, if it was refused. A form that is sent twice counts
/// once.
async fn enter(
    pages: &Pages,
    visitor: &Visitor,
    account: &Account,
    form: &Form,
) -> Result<Option<RefusedCode>, Problem> {
    let typed = form.text("code");
    let signup = NewSignup {
        referrer: Referrer::Code(typed.to_owned()),
        referee: account.clone(),
        repeat: Repeat::Form(form.text("once").to_owned()),
        paid_elsewhere: false,
        by: visitor.in_anothers_stead().map(str::to_owned),
    };
    match pages.service.commands.sign_up(signup).await {
        Ok(_) => Ok(None),
        Err(SignUpError::Refused(refusal)) => Ok(Some(RefusedCode {
            typed: typed.to_owned(),
            why: in_words(&refusal),
        })),
        Err(error) => Err(error.into()),
    }
}

/// Each refusal, to the one who typed the code. No other account is named.
const fn in_words(refusal: &SignupRefusal) -> &'static str {
    match refusal {
        SignupRefusal::UnknownCode => {
            "There is no such code. Check it for typing errors: four letters or digits, a dash, and five more."
        }
        SignupRefusal::InactiveCode => {
            "This code was switched off. Ask the person who gave it to you for another one."
        }
        SignupRefusal::OwnCode => "This is your own code. Nobody can refer themselves.",
        SignupRefusal::Cycle(_) => {
            "You referred the owner of this code, directly or through others. Referrals cannot go in a circle."
        }
        SignupRefusal::AlreadyReferred(_) => {
            "You already have a referrer. It is set once and never changed."
        }
    }
}
