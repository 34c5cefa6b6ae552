//! Votes: what an address weighs in a proposal, from the points of closed months.
//!
//! Weights are integers with [`DECIMALS`] decimals. The points of accounts that share an address
//! are added up before the formula: so it never matters to an address by how many accounts it
//! earned, and since a square root or a cap of a sum is at most the sum of the square roots or
//! caps, sharing an address gains no weight (but for what rounding down leaves of the last
//! decimal). Spreading one's points over several addresses can, by a square root or a cap; `total`
//! is the formula that nobody can gain from.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::domain::amount::Points;
use crate::domain::ethereum::Address;
use crate::domain::ids::AccountKind;
use crate::domain::position::Control;
use crate::domain::time::Month;

/// Decimals of a weight: one point weighs 10^6 by `total`.
pub const DECIMALS: u8 = 6;
const ONE: u128 = 1_000_000;
/// Longest period.
pub const MONTHS_MAX: i32 = 24;
/// Longest name of a proposal.
pub const PROPOSAL_CHARS_MAX: usize = 128;

/// The name of a proposal: Snapshot's id of it, or one of your own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(String);

/// A text is no name of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a proposal's name has 1 to {PROPOSAL_CHARS_MAX} letters, digits, dots, dashes and underscores, and begins with a letter or digit"
)]
pub struct NotAProposal;

impl ProposalId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProposalId {
    type Err = NotAProposal;
    fn from_str(text: &str) -> Result<ProposalId, NotAProposal> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= PROPOSAL_CHARS_MAX
            && text.bytes().all(is_allowed);
        is_name
            .then(|| ProposalId(text.to_owned()))
            .ok_or(NotAProposal)
    }
}

/// How points become weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formula {
    /// The points themselves.
    Total,
    /// Their square root, floored at the last decimal.
    SquareRoot,
    /// The points, at most so many.
    Cap(Points),
}

impl Formula {
    /// The weight of points, in its smallest unit.
    pub const fn weight(self, points: u128) -> u128 {
        match self {
            Formula::Total => points,
            // √(m / 10^6) · 10^6 = √(m · 10^6). Points of an account are below 2^63, so this is far
            // from the end of the type for any number of accounts.
            Formula::SquareRoot => points.saturating_mul(ONE).isqrt(),
            Formula::Cap(cap) => {
                let cap = cap.0.unsigned_abs() as u128;
                if points < cap { points } else { cap }
            }
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Formula::Total => "total",
            Formula::SquareRoot => "square_root",
            Formula::Cap(_) => "cap",
        }
    }

    /// What it caps at.
    pub const fn cap(self) -> Option<Points> {
        match self {
            Formula::Cap(cap) => Some(cap),
            Formula::Total | Formula::SquareRoot => None,
        }
    }
}

/// What the weights of a proposal are computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteTerms {
    /// The first month.
    pub from: Month,
    /// The last month.
    pub to: Month,
    /// Which kinds of accounts take part: in order, none twice.
    pub kinds: Vec<AccountKind>,
    /// How points become weight.
    pub formula: Formula,
}

/// Why weights cannot be computed by these terms. Others can; retrying is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// It ends before it begins.
    #[error("the period ends before it begins")]
    Backwards,
    /// It is too long.
    #[error("the period has more than {MONTHS_MAX} months")]
    TooLong,
    /// Nobody takes part.
    #[error("no kind of account takes part; name user, provider or both")]
    NoKinds,
    /// The cap leaves nothing.
    #[error("a cap must be more than 0 points")]
    NoCap,
}

impl VoteTerms {
    /// Terms, checked.
    pub fn new(
        from: Month,
        to: Month,
        kinds: &[AccountKind],
        formula: Formula,
    ) -> Result<VoteTerms, TermsError> {
        let kinds: Vec<AccountKind> = AccountKind::ALL
            .into_iter()
            .filter(|kind| kinds.contains(kind))
            .collect();
        let months = to.0.saturating_sub(from.0);
        match formula.cap() {
            _ if months < 0 => Err(TermsError::Backwards),
            _ if months >= MONTHS_MAX => Err(TermsError::TooLong),
            _ if kinds.is_empty() => Err(TermsError::NoKinds),
            Some(cap) if cap <= Points::ZERO => Err(TermsError::NoCap),
            _ => Ok(VoteTerms {
                from,
                to,
                kinds,
                formula,
            }),
        }
    }

    /// The months, in order.
    pub fn months(&self) -> impl Iterator<Item = Month> + use<> {
        (self.from.0..=self.to.0).map(Month)
    }
}

/// The weights of a proposal, of which none is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// By address.
    pub of: BTreeMap<Address, u128>,
    /// Their sum.
    pub total: u128,
}

impl Weights {
    /// The weights of addresses with so many micropoints.
    pub fn new(formula: Formula, points: BTreeMap<Address, u128>) -> Weights {
        let weights = points
            .into_iter()
            .map(|(address, points)| (address, formula.weight(points)));
        let of: BTreeMap<Address, u128> = weights.filter(|(_, weight)| *weight > 0).collect();
        let total = of
            .values()
            .fold(0, |sum: u128, one| sum.saturating_add(*one));
        Weights { of, total }
    }
}

/// The lines of the frozen document: JSON, with one address per line. The same weights, terms and
/// position give the same bytes. Its form never changes; another one would have another `version`.
pub fn document_lines<'w>(
    proposal: &ProposalId,
    terms: &VoteTerms,
    control: Control,
    weights: &'w Weights,
) -> impl Iterator<Item = String> + use<'w> {
    let kinds: Vec<String> = terms
        .kinds
        .iter()
        .map(|kind| format!("\"{kind}\""))
        .collect();
    let cap = match terms.formula.cap() {
        Some(cap) => format!("\"{cap}\""),
        None => "null".to_owned(),
    };
    let head = format!(
        "{{\"version\":1,\"proposal\":\"{proposal}\",\"from\":\"{}\",\"to\":\"{}\",\"kinds\":[{}],\"formula\":\"{}\",\"cap\":{cap},\
         \"control\":{},\"decimals\":{DECIMALS},\"addresses\":{},\"total\":\"{}\",\"score\":[\n",
        terms.from,
        terms.to,
        kinds.join(","),
        terms.formula.as_str(),
        control.0,
        weights.of.len(),
        weights.total
    );
    let last = weights.of.len();
    let lines = (1..).zip(&weights.of).map(move |(n, (address, weight))| {
        let comma = if n == last { "" } else { "," };
        format!("{{\"address\":\"{address}\",\"score\":\"{weight}\"}}{comma}\n")
    });
    std::iter::once(head)
        .chain(lines)
        .chain(std::iter::once("]}\n".to_owned()))
}

/// The address and weight of a line of the document; `None`: it holds none.
pub fn read_line(line: &str) -> Option<(Address, u128)> {
    let rest = line.strip_prefix("{\"address\":\"0x")?;
    let (digits, rest) = rest.split_at_checked(40)?;
    let (weight, _) = rest.strip_prefix("\",\"score\":\"")?.split_once("\"}")?;
    Some((Address::of_digits(digits)?, weight.parse().ok()?))
}

/// The address that a voter's text names, whatever the case of its digits.
pub fn voter(text: &str) -> Option<Address> {
    Address::of_digits(text.strip_prefix("0x")?)
}
