//! Numbers on the wire: minimal LEB128 varints, zigzag for signed ones, and a reader that never
//! panics.

/// Bytes are not in the format that they claim. Never retried: the bytes will not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Written by another version of tidemark.
    #[error(
        "format version {found} is not the one that this build reads, {known}: let the tidemark that wrote it finish with it (`tidemark wait`, then stop it), or use a newer one"
    )]
    Version {
        /// What the bytes say.
        found: u8,
        /// What this build reads.
        known: u8,
    },
    /// The bytes end too early.
    #[error("the bytes end at {at}, in the middle of something")]
    Truncated {
        /// How many bytes there are.
        at: usize,
    },
    /// Something that is never written.
    #[error("{what} at byte {at}")]
    Invalid {
        /// Where.
        at: usize,
        /// What.
        what: &'static str,
    },
}

/// Appends `value`, seven bits a byte, least first.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Signed to unsigned, small magnitudes to small numbers.
#[inline]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The reverse of [`zigzag`].
#[inline]
pub(crate) const fn unzigzag(code: u64) -> i64 {
    (code >> 1) as i64 ^ -((code & 1) as i64)
}

/// Appends a signed number.
#[inline]
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends a signed number of 128 bits.
pub(crate) fn put_signed_wide(out: &mut Vec<u8>, value: i128) {
    let mut code = ((value << 1) ^ (value >> 127)) as u128;
    while code >= 0x80 {
        out.push(code as u8 | 0x80);
        code >>= 7;
    }
    out.push(code as u8);
}

/// Reads what the functions above wrote, and nothing else.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Bytes not yet read.
    pub(crate) const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) const fn invalid(&self, what: &'static str) -> FormatError {
        FormatError::Invalid { at: self.at, what }
    }

    pub(crate) const fn check(&self, holds: bool, what: &'static str) -> Result<(), FormatError> {
        if holds {
            Ok(())
        } else {
            Err(self.invalid(what))
        }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, FormatError> {
        let byte = self.bytes.get(self.at).copied();
        let byte = byte.ok_or(FormatError::Truncated {
            at: self.bytes.len(),
        })?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        if count > self.left() {
            return Err(FormatError::Truncated {
                at: self.bytes.len(),
            });
        }
        let bytes = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(bytes)
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, FormatError> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A varint of at most 64 bits, in its shortest form.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, FormatError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte has room for one bit.
            self.check(shift < 63 || byte <= 1, "a number over 64 bits")?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                self.check(byte != 0, "a number that is longer than it must be")?;
                return Ok(value);
            }
        }
        Err(self.invalid("a number over 64 bits"))
    }

    /// A varint of at most 32 bits.
    pub(crate) fn small(&mut self) -> Result<u32, FormatError> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| self.invalid("a number over 32 bits"))
    }

    /// A count or a length.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, FormatError> {
        let value = self.varint()?;
        usize::try_from(value).map_err(|_| self.invalid("a length that no memory holds"))
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Result<i64, FormatError> {
        self.varint().map(unzigzag)
    }

    pub(crate) fn signed_wide(&mut self) -> Result<i128, FormatError> {
        let mut code = 0u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            // The nineteenth byte has room for two bits.
            self.check(shift < 126 || byte <= 3, "a number over 128 bits")?;
            code |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                self.check(
                    byte != 0 || shift == 0,
                    "a number that is longer than it must be",
                )?;
                return Ok((code >> 1) as i128 ^ -((code & 1) as i128));
            }
        }
        Err(self.invalid("a number over 128 bits"))
    }
}
