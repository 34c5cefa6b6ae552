//! Accounts that are set aside.

use super::{Queries, QueryError};
use crate::store::set_aside;

pub use crate::store::set_aside::SetAside;

impl Queries {
    /// Every account that is set aside.
    pub async fn set_aside(&self) -> Result<Vec<SetAside>, QueryError> {
        let stored = set_aside::all(self.db()).await?;
        Ok(stored.into_iter().map(|stored| stored.value).collect())
    }
}
