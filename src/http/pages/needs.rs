//! What pages need of who asks for them.

use crate::domain::ids::AccountKind;

/// What a page needs of who asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it is how one signs in.
    Nothing,
    /// That somebody is signed in.
    SignedIn,
    /// The right to read the account of this kind that the path names as `{id}`.
    Read(AccountKind),
    /// The right to act for the account of this kind that the path names as `{id}`.
    Act(AccountKind),
    /// The scope `admin:read`.
    AdminRead,
    /// The scope `admin:write`.
    AdminWrite,
}
