//! Versions of what rating does beyond its data.

/// The rules of rating that are code. A chunk is always rated by the ones with which it was cut, so
/// that a chunk that a version before left half done comes out the same.
///
/// | number | since then |
/// |---|---|
/// | 3 | the oldest that can still be rated |
/// | 4 | models are recognised in the spellings of clouds, and fine-tunes by their base |
/// | 5 | reversals take requests back; before, they were records of an unknown type |
/// | 6 | a later report of a request completes it; before, it was a conflict, or a late copy |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Semantics(u32);

impl Default for Semantics {
    fn default() -> Semantics {
        Semantics::NOW
    }
}

impl Semantics {
    /// Of chunks that are cut now.
    pub const NOW: Semantics = Semantics(6);
    const OLDEST: Semantics = Semantics(3);

    /// The one with that number, if this program can rate by it.
    pub fn known(number: u32) -> Option<Semantics> {
        let range = Semantics::OLDEST..=Semantics::NOW;
        Some(Semantics(number)).filter(|semantics| range.contains(semantics))
    }

    /// All that this program can rate by, the newest first.
    pub fn all() -> impl Iterator<Item = Semantics> {
        let numbers = Semantics::OLDEST.0..=Semantics::NOW.0;
        numbers.rev().map(Semantics)
    }

    /// The number that is stored with a chunk.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Whether a record may be a reversal.
    pub const fn knows_reversals(self) -> bool {
        self.0 >= 5
    }

    /// Whether a later report of a request may complete it.
    pub const fn knows_completions(self) -> bool {
        self.0 >= 6
    }

    /// Whether a model is recognised in the spellings of clouds and as a fine-tune.
    pub const fn knows_spellings(self) -> bool {
        self.0 >= 4
    }
}
