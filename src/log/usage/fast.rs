//! The fast parse: one pass over the bytes, borrowing every text.
//!
//! It may refuse what is right, because the precise pass then decides: a field twice, an escaped key, a nested value that is not ours, a number with
//! sign, decimals or exponent. It never accepts what the precise pass refuses, nor reads it differently: that is a property test.
//! It is ours because typed parses by serde_json and sonic-rs take about twice its time on usage events.

use std::borrow::Cow;

use super::fields::{Fields, Form, Text, Usage};

/// Digits of a number that cannot overflow; every allowed count has fewer.
const DIGITS_MAX: usize = 15;

/// The fields, if the record is plainly one JSON object whose known fields have their types.
pub(super) fn parse(value: &[u8]) -> Option<Fields<'_>> {
    let mut record = Record {
        seen: 0,
        fields: Fields {
            printable: is_printable(value),
            ..Fields::default()
        },
    };
    let mut cursor = Cursor {
        text: std::str::from_utf8(value).ok()?,
        at: 0,
    };
    cursor.skip_space();
    cursor.object(|cursor, key| record.member(cursor, key))?;
    cursor.skip_space();
    if cursor.at == value.len() {
        record.fields()
    } else {
        None
    }
}

/// Whether every text without escapes in this record is printable ASCII. Control characters end the parse, so only what is beyond matters.
fn is_printable(value: &[u8]) -> bool {
    value
        .iter()
        .fold(true, |so_far, byte| so_far & (*byte < 0x7f))
}

/// What was read of either form; which one it is, is known only at the end.
struct Record<'a> {
    seen: u32,
    fields: Fields<'a>,
}

/// A bit per field, to find fields that stand twice, and fields of both forms in one record. Fields of usage have the low bits in `data`
/// (where they are the only ones of their bit set) and at the top.
mod bit {
    pub const SPEC_VERSION: u32 = 1 << 16;
    pub const TYPE: u32 = 1 << 17;
    pub const SOURCE: u32 = 1 << 18;
    pub const ID: u32 = 1 << 19;
    pub const TIME: u32 = 1 << 20;
    pub const SUBJECT: u32 = 1 << 21;
    pub const DATA: u32 = 1 << 22;
    pub const REQUEST_ID: u32 = 1 << 23;
    pub const TIMESTAMP: u32 = 1 << 24;
    pub const USER_ID: u32 = 1 << 25;
    pub const USAGE: u32 = (1 << 13) - 1;
    pub const CLOUD_EVENT_ONLY: u32 = SPEC_VERSION | TYPE | ID | TIME | SUBJECT | DATA;
    pub const PLAIN_ONLY: u32 = USAGE | REQUEST_ID | TIMESTAMP | USER_ID;
}

/// Notes that a field was seen; `None` if it was before.
fn once(seen: &mut u32, bit: u32) -> Option<()> {
    if *seen & bit != 0 {
        return None;
    }
    *seen |= bit;
    Some(())
}

impl<'a> Record<'a> {
    /// Reads the value of a member at the top.
    fn member(&mut self, cursor: &mut Cursor<'a>, key: &[u8]) -> Option<()> {
        let fields = &mut self.fields;
        let (bit, field) = match key {
            b"specversion" => (bit::SPEC_VERSION, &mut fields.spec_version),
            b"type" => (bit::TYPE, &mut fields.event_type),
            b"source" => (bit::SOURCE, &mut fields.source),
            b"id" => (bit::ID, &mut fields.id),
            b"requestId" => (bit::REQUEST_ID, &mut fields.id),
            b"time" => (bit::TIME, &mut fields.time),
            b"timestamp" => (bit::TIMESTAMP, &mut fields.time),
            b"subject" => (bit::SUBJECT, &mut fields.user),
            b"userId" => (bit::USER_ID, &mut fields.user),
            b"data" => {
                once(&mut self.seen, bit::DATA)?;
                let mut seen = 0;
                let usage = &mut fields.usage;
                return cursor.object(|cursor, key| usage.member(&mut seen, cursor, key));
            }
            _ => return fields.usage.member(&mut self.seen, cursor, key),
        };
        once(&mut self.seen, bit)?;
        *field = cursor.optional_text()?;
        Some(())
    }

    /// The fields, if they are all of one form.
    fn fields(mut self) -> Option<Fields<'a>> {
        let (form, foreign) = match self.fields.spec_version {
            Some(_) => (Form::CloudEvent, bit::PLAIN_ONLY),
            None => (Form::Plain, bit::CLOUD_EVENT_ONLY),
        };
        let lacks_data = form == Form::CloudEvent && self.seen & bit::DATA == 0;
        if self.seen & foreign != 0 || lacks_data {
            return None;
        }
        self.fields.form = form;
        Some(self.fields)
    }
}

impl<'a> Usage<'a> {
    /// Reads the value of a member; one that is not known is passed over.
    fn member(&mut self, seen: &mut u32, cursor: &mut Cursor<'a>, key: &[u8]) -> Option<()> {
        let (bit, count) = match key {
            b"statusCode" => (0, &mut self.status),
            b"latencyMs" => (1, &mut self.latency_ms),
            b"inputTokens" => (2, &mut self.input_tokens),
            b"outputTokens" => (3, &mut self.output_tokens),
            b"cachedInputTokens" => (4, &mut self.cached_input_tokens),
            b"audioMillis" => (5, &mut self.audio_millis),
            b"requestBytes" => (6, &mut self.request_bytes),
            b"responseBytes" => (7, &mut self.response_bytes),
            _ => return self.other_member(seen, cursor, key),
        };
        once(seen, 1 << bit)?;
        *count = cursor.optional_count()?;
        Some(())
    }

    fn other_member(&mut self, seen: &mut u32, cursor: &mut Cursor<'a>, key: &[u8]) -> Option<()> {
        let (bit, text) = match key {
            b"providerId" => (8, &mut self.provider),
            b"endpoint" => (9, &mut self.endpoint),
            b"model" => (10, &mut self.model),
            b"errorMessage" => (11, &mut self.error_message),
            b"stream" => {
                once(seen, 1 << 12)?;
                self.stream = cursor.optional_flag()?;
                return Some(());
            }
            _ => return cursor.skip_scalar(),
        };
        once(seen, 1 << bit)?;
        *text = cursor.optional_text()?;
        Some(())
    }
}

/// Reads JSON from left to right. Every method answers `None` at anything but what it is for.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// An object, whose every value is read by `member`.
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Cursor<'a>, &[u8]) -> Option<()>,
    ) -> Option<()> {
        self.take(b'{')?;
        self.skip_space();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let key = self.plain_string()?;
            self.skip_space();
            self.take(b':')?;
            self.skip_space();
            member(self, key.as_bytes())?;
            self.skip_space();
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
            self.skip_space();
        }
    }

    /// A string without escapes.
    fn plain_string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        let end = special(self.text.as_bytes(), start)?;
        if self.text.as_bytes()[end] != b'"' {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    fn optional_text(&mut self) -> Option<Option<Cow<'a, str>>> {
        if self.peek()? != b'"' {
            return self.word("null").map(|()| None);
        }
        let start = self.at;
        match self.plain_string() {
            Some(text) => Some(Some(Cow::Borrowed(text))),
            None => self.escaped_string(start).map(Some),
        }
    }

    /// A string with escapes, from its first quote on; serde_json resolves them.
    #[cold]
    fn escaped_string(&mut self, start: usize) -> Option<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        let mut at = special(bytes, start + 1)?;
        while bytes[at] == b'\\' {
            at = special(bytes, at + 2)?;
        }
        self.at = at + 1;
        let text: Text<'a> = serde_json::from_str(self.text.get(start..self.at)?).ok()?;
        Some(text.0)
    }

    fn optional_count(&mut self) -> Option<Option<u64>> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let leading_zero = digits > 1 && rest[0] == b'0';
        if digits == 0 {
            return self.word("null").map(|()| None);
        }
        // Decimals or an exponent would follow; nothing that may stand behind a value begins so.
        if digits > DIGITS_MAX || leading_zero {
            return None;
        }
        let add = |sum: u64, byte: &u8| sum * 10 + u64::from(byte - b'0');
        self.at += digits;
        Some(Some(rest[..digits].iter().fold(0, add)))
    }

    fn optional_flag(&mut self) -> Option<Option<bool>> {
        match self.peek()? {
            b't' => self.word("true").map(|()| Some(true)),
            b'f' => self.word("false").map(|()| Some(false)),
            _ => self.word("null").map(|()| None),
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        if !rest.starts_with(word.as_bytes()) {
            return None;
        }
        self.at += word.len();
        Some(())
    }

    /// A value that is not read: anything that does not nest.
    fn skip_scalar(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.optional_text().map(|_| ()),
            b'0'..=b'9' => self.optional_count().map(|_| ()),
            _ => self.optional_flag().map(|_| ()),
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Where the next quote, backslash or control character stands: eight bytes at a time.
fn special(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let mut at = from;
    for chunk in rest.chunks_exact(8) {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let hits = specials(u64::from_le_bytes(word));
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    bytes[at..].iter().position(is_special).map(|i| at + i)
}

/// Marks the high bit of each byte that is special. Borrows can mark bytes after the first special one too, so only the lowest mark counts.
const fn specials(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);

    below(quote, 1) | below(backslash, 1) | below(word, 0x20)
}

/// Marks the high bit of each byte (of those up to 0x7f) that is less than `limit`.
const fn below(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(ONES * limit) & !word & HIGHS
}

#[cfg(test)]
mod tests {
    use super::{parse, special};

    #[test]
    fn usual_events_of_both_forms_need_no_second_pass() {
        for json in [
            r#"{"specversion":"1.0","type":"t","source":"s","id":"i","time":"x","subject":"u","datacontenttype":"application/json",
                "data":{"providerId":null,"endpoint":"\/tts","model":"m","statusCode":200,"latencyMs":0,"stream":true,"extra":7}}"#,
            r#"{"requestId":"i","userId":"u","timestamp":"x","endpoint":"e","statusCode":200,"extra":"\n","other":null}"#,
        ] {
            assert!(parse(json.as_bytes()).is_some(), "{json}");
        }
    }

    #[test]
    fn the_next_special_byte_is_found_wherever_it_stands() {
        for special_byte in (0..0x20).chain([b'"', b'\\']) {
            for at in 0..40 {
                for filler in [
                    b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0x9f, 0xa2, 0xdc, 0xff,
                ] {
                    let mut bytes = vec![filler; 40];
                    assert_eq!(special(&bytes, at), None);
                    bytes[at..].fill(special_byte);
                    assert_eq!(special(&bytes, 0), Some(at), "{special_byte} in {filler}");
                    assert_eq!(special(&bytes, 40), None);
                }
            }
        }
        assert_eq!(special(b"", 1), None);
    }
}
