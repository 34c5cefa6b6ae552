//! The names of the files of a close.

use std::fmt;
use std::str::FromStr;

use crate::domain::time::Month;

/// A file of a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// Terms, sums, roots and the hash of every other file.
    Close,
    /// What the close pays, as OpenZeppelin's library writes trees.
    OpenZeppelin,
    /// What all closes so far have paid, in the same form.
    Cumulative,
    /// What the close pays, with proofs, for Uniswap's distributor. There are several files if
    /// there are many claims.
    Uniswap(u32),
    /// What the close pays, for Sablier's airdrops.
    Sablier,
    /// What became of every account.
    Accounts,
    /// Where accounts are in that file.
    AccountsIndex,
    /// The tree of [`FileKind::OpenZeppelin`], for looking up single proofs.
    OpenZeppelinTree,
    /// The tree of [`FileKind::Uniswap`].
    UniswapTree,
    /// The tree of [`FileKind::Cumulative`].
    CumulativeTree,
}

impl FileKind {
    /// Whether anybody may see it: it says what goes on chain, and no account.
    pub const fn is_public(self) -> bool {
        matches!(
            self,
            FileKind::Close
                | FileKind::OpenZeppelin
                | FileKind::Cumulative
                | FileKind::Uniswap(_)
                | FileKind::Sablier
        )
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            FileKind::Close
            | FileKind::OpenZeppelin
            | FileKind::Cumulative
            | FileKind::Uniswap(_) => "application/json",
            FileKind::Sablier | FileKind::Accounts | FileKind::AccountsIndex => {
                "text/csv; charset=utf-8"
            }
            FileKind::OpenZeppelinTree | FileKind::UniswapTree | FileKind::CumulativeTree => {
                "application/octet-stream"
            }
        }
    }

    /// Which file it is, by the name under which it was downloaded: `close.json`, or
    /// `2026-10-close.json` with the month before it.
    pub fn of_download(name: &str) -> Option<(Option<Month>, FileKind)> {
        if let Ok(kind) = name.parse() {
            return Some((None, kind));
        }
        let (month, rest) = name.split_at_checked("2026-10-".len())?;
        let month = month.strip_suffix('-')?.parse().ok()?;
        Some((Some(month), rest.parse().ok()?))
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Close => "close.json",
            FileKind::OpenZeppelin => "openzeppelin.json",
            FileKind::Cumulative => "cumulative.json",
            FileKind::Uniswap(0) => "uniswap.json",
            FileKind::Uniswap(part) => return write!(f, "uniswap-{part}.json"),
            FileKind::Sablier => "sablier.csv",
            FileKind::Accounts => "accounts.csv",
            FileKind::AccountsIndex => "accounts-index.csv",
            FileKind::OpenZeppelinTree => "openzeppelin.tree",
            FileKind::UniswapTree => "uniswap.tree",
            FileKind::CumulativeTree => "cumulative.tree",
        })
    }
}

impl FromStr for FileKind {
    type Err = String;

    fn from_str(text: &str) -> Result<FileKind, String> {
        const NAMED: [FileKind; 10] = [
            FileKind::Close,
            FileKind::OpenZeppelin,
            FileKind::Cumulative,
            FileKind::Uniswap(0),
            FileKind::Sablier,
            FileKind::Accounts,
            FileKind::AccountsIndex,
            FileKind::OpenZeppelinTree,
            FileKind::UniswapTree,
            FileKind::CumulativeTree,
        ];
        let part = || {
            text.strip_prefix("uniswap-")?
                .strip_suffix(".json")?
                .parse()
                .ok()
        };
        let numbered = part().map(FileKind::Uniswap);
        let mut known = NAMED.into_iter().chain(numbered);
        let found = known.find(|kind| kind.to_string() == text);
        found.ok_or_else(|| format!("'{text}' is not a file of a closed month"))
    }
}

/// A file of the close of a month: the path where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName {
    /// Which month.
    pub month: Month,
    /// Which file.
    pub kind: FileKind,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.month, self.kind)
    }
}
