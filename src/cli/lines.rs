//! Lines of a file or of standard input, none longer than a bound.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::output::{Done, Failure};

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The line, without its end and surrounding white space.
    Line(Vec<u8>),
    /// A line over the bound; it was skipped.
    TooLong,
}

/// Opens a file, or standard input for `-`.
pub fn open(path: &Path) -> Done<Box<dyn BufRead + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path)
        .map_err(|error| Failure::refused(format!("cannot open {}: {error}", path.display())))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

/// The next line; `None` at the end.
pub fn next(reader: &mut dyn BufRead, bytes_max: usize) -> io::Result<Option<Taken>> {
    let mut line = Vec::new();
    let mut bounded = Read::take(&mut *reader, bytes_max as u64 + 1);
    if bounded.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() <= bytes_max || line.ends_with(b"\n") {
        return Ok(Some(Taken::Line(line.trim_ascii().to_owned())));
    }
    skip_line(reader)?;
    Ok(Some(Taken::TooLong))
}

fn skip_line(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_bound_is_skipped_and_the_next_one_read() {
        let mut input: &[u8] = b"abc\n123456789012345\n  x \r\n\nlast";
        let mut lines = Vec::new();
        while let Some(line) = next(&mut input, 10).unwrap() {
            lines.push(line);
        }
        let line = |text: &str| Taken::Line(text.as_bytes().to_vec());
        let expected = [
            line("abc"),
            Taken::TooLong,
            line("x"),
            line(""),
            line("last"),
        ];
        assert_eq!(lines, expected);
    }
}
