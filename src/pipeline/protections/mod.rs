//! The protections of the protocol, by name, where the simulator may switch one of them off.
//!
//! Code asks here for a value that a protection decides, and gets the right one: without the cargo
//! feature `breakage`, which only tests have, every method is its argument or a constant, and costs
//! nothing. With the feature the simulator can break one protection at a time ([`Breakage`]), to show
//! that it would notice.

mod rate;

use super::breakage::Breakage;

/// All protections, or all but one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Protections {
    #[cfg(feature = "breakage")]
    broken: Option<Breakage>,
}

impl Protections {
    /// All of them, but for what is broken on purpose.
    #[cfg_attr(
        not(feature = "breakage"),
        expect(unused_variables, reason = "nothing can be broken without the feature")
    )]
    pub fn but(broken: Option<Breakage>) -> Protections {
        Protections {
            #[cfg(feature = "breakage")]
            broken,
        }
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
}
