//! Lines of a file.

use std::io::{self, Write};

use serde_json::value::RawValue;

use super::Fault;

/// The line, from 1, in which a part of a text is.
pub fn line_of(text: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    line_at(text.as_bytes(), offset)
}

/// The lines of parts of a text that come one after the other.
pub fn lines_of(text: &str, parts: &[&RawValue]) -> Vec<usize> {
    let (mut line, mut at) = (1, 0);
    let bytes = text.as_bytes();
    let mut lines = Vec::with_capacity(parts.len());
    for part in parts {
        let offset = part.get().as_ptr() as usize - text.as_ptr() as usize;
        line += bytes[at..offset]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        at = offset;
        lines.push(line);
    }
    lines
}

/// The line, from 1, of a byte.
pub fn line_at(bytes: &[u8], offset: usize) -> usize {
    let before = &bytes[..offset.min(bytes.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The line in which a key first stands.
pub fn line_of_key(text: &str, key: &str) -> usize {
    let at = text.find(&format!("\"{key}\""));
    line_at(text.as_bytes(), at.unwrap_or_default())
}

/// The file as text.
pub fn text_of(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = line_at(bytes, error.valid_up_to());
        Fault::at("not_text", line, "there are bytes that are not UTF-8")
    })
}

/// Compares what is written with what is there.
struct Comparing<'a> {
    expected: &'a [u8],
    at: usize,
    differs_at: Option<usize>,
}

impl Write for Comparing<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        let rest = self.expected.get(self.at..).unwrap_or_default();
        if self.differs_at.is_none() && !rest.starts_with(written) {
            let same = rest
                .iter()
                .zip(written)
                .take_while(|(one, other)| one == other);
            self.differs_at = Some(self.at + same.count());
        }
        self.at += written.len();
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses a file that is right but not written as tidemark writes it: then somebody has edited it,
/// and other programs may read it otherwise.
pub fn must_be_written_so(
    bytes: &[u8],
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Fault> {
    let mut comparing = Comparing {
        expected: bytes,
        at: 0,
        differs_at: None,
    };
    let written = write(&mut comparing);
    written.map_err(|error| Fault::whole("unreadable", error.to_string()))?;
    let longer = (bytes.len() > comparing.at).then_some(comparing.at);
    match comparing.differs_at.or(longer) {
        None => Ok(()),
        Some(at) => Err(Fault::at(
            "reformatted",
            line_at(bytes, at),
            "the claims are right, but this is not how tidemark writes them: the file was edited or \
             reformatted",
        )),
    }
}
