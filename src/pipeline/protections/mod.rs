//! The protections of the protocol, by name.
//!
//! Code hands a value, a check or a write that a protection decides to the method of that name, and
//! goes on with what it gets back. Without the cargo feature `breakage`, which only tests have,
//! that is what it handed in, at no cost. With the feature the simulator can take away one
//! protection at a time ([`Breakage`]), to show that it would notice.

mod post;
mod rate;
mod tables;

use std::future::Future;

use super::breakage::Breakage;

/// All protections, or all but one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Protections {
    #[cfg(feature = "breakage")]
    broken: Option<Breakage>,
}

impl Protections {
    /// All of them, but for what is broken on purpose.
    #[cfg(feature = "breakage")]
    pub fn but(broken: Option<Breakage>) -> Protections {
        Protections { broken }
    }

    #[cfg(feature = "breakage")]
    fn lack(self, breakage: Breakage) -> bool {
        self.broken == Some(breakage)
    }

    #[cfg(not(feature = "breakage"))]
    #[expect(clippy::unused_self, reason = "the same as with the feature")]
    const fn lack(self, _: Breakage) -> bool {
        false
    }

    /// Whether a contradiction is seen: always, if there is one.
    fn sees(self, contradiction: bool, unless: Breakage) -> bool {
        contradiction && !self.lack(unless)
    }

    /// Does what a protection consists in. Broken: does nothing.
    async fn perform<E>(
        self,
        work: impl Future<Output = Result<(), E>>,
        unless: Breakage,
    ) -> Result<(), E> {
        if self.lack(unless) {
            return Ok(());
        }
        work.await
    }
}
