//! The pure part of a signup: codes, and what is refused.

use crate::domain::ids::Account;

/// Accounts in a chain, at most.
pub const CHAIN_MAX: usize = 3;

/// Letters and digits that cannot be mistaken for each other: no 0, O, 1, I, L.
const ALPHABET: &[u8; 31] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";

/// Why a signup is refused, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such code.
    #[error("there is no such referral code; check the spelling")]
    UnknownCode,
    /// The code was switched off.
    #[error("this referral code is not active any more; ask its owner for another")]
    InactiveCode,
    /// The same id, of either kind.
    #[error("an account cannot refer itself")]
    OwnCode,
    /// The referee stands in the referrer's chain.
    #[error("the referee is one of the referrer's own referrers")]
    Cycle,
    /// Links are set once.
    #[error("the account already has a referrer, and it is never changed")]
    AlreadyReferred,
}

impl Refusal {
    /// The stable code, for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Refusal::UnknownCode => "unknown_code",
            Refusal::InactiveCode => "inactive_code",
            Refusal::OwnCode => "own_code",
            Refusal::Cycle => "referral_cycle",
            Refusal::AlreadyReferred => "already_referred",
        }
    }
}

/// The chain that a link of `referee` to `referrer` stores, given the chain of the referrer's own link (empty if it has
/// none) and whether the referee has a link already.
pub fn check(
    referee: &Account,
    referrer: &Account,
    above: &[Account],
    has_link: bool,
) -> Result<Vec<Account>, Refusal> {
    if referee.id() == referrer.id() {
        return Err(Refusal::OwnCode);
    }
    if above.contains(referee) {
        return Err(Refusal::Cycle);
    }
    if has_link {
        return Err(Refusal::AlreadyReferred);
    }
    let whole = std::iter::once(referrer).chain(above);
    Ok(whole.take(CHAIN_MAX).cloned().collect())
}

/// A code as it is stored, from what a person typed.
pub fn normalize(typed: &str) -> String {
    typed.trim().to_uppercase()
}

/// A code `XXXX-XXXXX`: four letters or digits of the id (padded from the alphabet), five by `random`.
pub fn code(id: &str, random: u64) -> String {
    let mut state = random;
    let mut draw = || {
        state = mix(state);
        char::from(ALPHABET[(state % ALPHABET.len() as u64) as usize])
    };
    let letters = id.chars().filter(char::is_ascii_alphanumeric);
    let mut head: String = letters.take(4).map(|c| c.to_ascii_uppercase()).collect();
    while head.len() < 4 {
        head.push(draw());
    }
    let tail: String = (0..5).map(|_| draw()).collect();
    format!("{head}-{tail}")
}

/// SplitMix64: spreads neighbouring numbers over all of them.
const fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
