//! Referral codes and the checks of a signup. Nothing here draws or looks up: randomness and what
//! the store holds come in.

use std::fmt;
use std::str::FromStr;

use super::ids::Account;

/// Levels of referrers that an amount cascades to.
pub const LEVELS: usize = 3;
/// What the random part of a code is drawn from: no 0, O, 1, I or L, which people mistake for one
/// another.
pub const ALPHABET: &[u8; 31] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";
/// Random values that one code takes.
pub const RANDOM_VALUES: usize = ID_CHARS + DRAWN_CHARS;

/// Characters before the dash.
const ID_CHARS: usize = 4;
/// Characters behind the dash.
const DRAWN_CHARS: usize = 5;

/// A referral code, `XXXX-XXXXX`, as it is stored: upper case, with its dash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReferralCode(String);

/// The text is no referral code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a referral code is four letters or digits, a dash, and five letters or digits, such as ANNA-7KQ2M"
)]
pub struct NotACode;

impl ReferralCode {
    /// A code for an account: up to four letters or digits of its id, the rest drawn. Two draws may
    /// give the same code, so whoever stores it must make sure that it is new, and else draw again.
    pub fn draw(id: &str, random: [u32; RANDOM_VALUES]) -> ReferralCode {
        let of_id = id.chars().filter(char::is_ascii_alphanumeric);
        let mut code: String = of_id.take(ID_CHARS).collect();
        code.make_ascii_uppercase();
        let drawn = random.map(|value| char::from(ALPHABET[value as usize % ALPHABET.len()]));
        let (padding, tail) = drawn.split_at(ID_CHARS);
        code.extend(&padding[code.len()..]);
        code.push('-');
        code.extend(tail);
        ReferralCode(code)
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReferralCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ReferralCode {
    type Err = NotACode;
    /// Reads what a person typed: case and spaces around it do not matter, and the dash may be left
    /// out.
    fn from_str(text: &str) -> Result<ReferralCode, NotACode> {
        let typed = text.trim().to_ascii_uppercase();
        let (of_id, drawn) = typed
            .split_once('-')
            .or_else(|| typed.split_at_checked(ID_CHARS))
            .ok_or(NotACode)?;
        let is_part = |part: &str, chars| {
            part.len() == chars && part.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        if is_part(of_id, ID_CHARS) && is_part(drawn, DRAWN_CHARS) {
            Ok(ReferralCode(format!("{of_id}-{drawn}")))
        } else {
            Err(NotACode)
        }
    }
}

/// What a signup stands on. All of it must still hold when the link is written.
#[derive(Clone, Copy, Debug)]
pub struct Signup<'a> {
    /// Who signs up.
    pub referee: &'a Account,
    /// The owner of the code, and whether the code is active; `None` if there is no such code.
    pub code: Option<(&'a Account, bool)>,
    /// The chain that stands in the owner's own link, nearest referrer first; empty if the owner
    /// has no referrer.
    pub referrer_chain: &'a [Account],
    /// The referee's referrer, if it has one already.
    pub existing: Option<&'a Account>,
}

/// Why a signup is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignupRefusal {
    /// There is no such code.
    #[error("there is no such referral code; check it for typing errors")]
    UnknownCode,
    /// The code was switched off.
    #[error("this referral code is no longer active; ask for a new one")]
    InactiveCode,
    /// The code belongs to the referee, as a user or as a provider.
    #[error("this referral code is the account's own; an account cannot refer itself")]
    OwnCode,
    /// The referee is among the referrers of the code's owner.
    #[error("{0} is a referrer of this code's owner; referrals cannot form a cycle")]
    Cycle(Account),
    /// The referee has a referrer.
    #[error("the account was already referred by {0}; a referrer is set once and never changed")]
    AlreadyReferred(Account),
}

impl SignupRefusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            SignupRefusal::UnknownCode => "unknown_code",
            SignupRefusal::InactiveCode => "inactive_code",
            SignupRefusal::OwnCode => "own_code",
            SignupRefusal::Cycle(_) => "cycle",
            SignupRefusal::AlreadyReferred(_) => "already_referred",
        }
    }
}

/// Whether a signup is allowed, and the chain to store with its link: the referrer, its referrer,
/// and theirs, as they are now.
///
/// # Errors
/// The first reason against it, in the order of [`SignupRefusal`]'s variants. Retrying is of no
/// use.
pub fn check_signup(signup: Signup<'_>) -> Result<Vec<Account>, SignupRefusal> {
    let (referrer, active) = signup.code.ok_or(SignupRefusal::UnknownCode)?;
    if !active {
        return Err(SignupRefusal::InactiveCode);
    }
    if referrer.id() == signup.referee.id() {
        return Err(SignupRefusal::OwnCode);
    }
    if signup.referrer_chain.contains(signup.referee) {
        return Err(SignupRefusal::Cycle(signup.referee.clone()));
    }
    if let Some(existing) = signup.existing {
        return Err(SignupRefusal::AlreadyReferred(existing.clone()));
    }
    let chain = std::iter::once(referrer).chain(signup.referrer_chain);
    Ok(chain.take(LEVELS).cloned().collect())
}
