//! The fast parse: one pass over the bytes, borrowing every text.
//!
//! It may refuse what is right, because the precise pass then decides: a field twice, an escaped
//! key, a nested value that is not ours, a number with sign, decimals or exponent. It never accepts
//! what the precise pass refuses, nor reads it differently: that is a property test. It is ours
//! because typed parses by serde_json and sonic-rs take about twice its time on usage events.

use std::borrow::Cow;

use super::fields::{Fields, Form, Text, Usage};

/// Digits of a number that cannot overflow; every allowed count has fewer.
const DIGITS_MAX: usize = 15;

/// Reads the fields, if the record is plainly one JSON object whose known fields have their types.
/// `fields` must be empty, and mean nothing if this is `None`: they are large, so they are filled
/// where they stand. `guesses` make it faster, and change nothing else.
pub(super) fn parse<'a>(
    value: &'a [u8],
    guesses: &mut Guesses,
    fields: &mut Fields<'a>,
) -> Option<()> {
    fields.printable = is_printable(value);
    let mut record = Record { seen: 0, fields };
    let mut cursor = Cursor {
        text: std::str::from_utf8(value).ok()?,
        at: 0,
    };
    cursor.skip_space();
    cursor.object(guesses, Field::Start, |cursor, guesses, field| {
        record.member(cursor, guesses, field)
    })?;
    cursor.skip_space();
    if cursor.at != value.len() {
        return None;
    }
    record.end()
}

/// Whether every text without escapes in this record is printable ASCII. Control characters end the
/// parse, so only what is beyond matters.
fn is_printable(value: &[u8]) -> bool {
    value
        .iter()
        .fold(true, |so_far, byte| so_far & (*byte < 0x7f))
}

/// What a member of either form is. Those of usage stand in `data`, or at the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Field {
    StatusCode,
    LatencyMs,
    InputTokens,
    OutputTokens,
    CachedInputTokens,
    CacheWriteTokens,
    ReasoningTokens,
    AudioMillis,
    ImageCount,
    RequestBytes,
    ResponseBytes,
    ProviderId,
    Endpoint,
    Model,
    ErrorMessage,
    Stream,
    SpecVersion,
    Type,
    Source,
    Id,
    Time,
    Subject,
    Data,
    RequestId,
    Timestamp,
    UserId,
    /// Says how `data` is written, which is known: passed over.
    DataContentType,
    /// Not known: passed over.
    Other,
    /// No member: where the record begins.
    Start,
    /// No member: where `data` begins.
    DataStart,
}

impl Field {
    const COUNT: usize = Field::DataStart as usize + 1;

    const fn bit(self) -> u32 {
        1 << self as u8
    }

    fn of(key: &[u8]) -> Field {
        match key {
            b"statusCode" => Field::StatusCode,
            b"latencyMs" => Field::LatencyMs,
            b"inputTokens" => Field::InputTokens,
            b"outputTokens" => Field::OutputTokens,
            b"cachedInputTokens" => Field::CachedInputTokens,
            b"cacheWriteTokens" => Field::CacheWriteTokens,
            b"reasoningTokens" => Field::ReasoningTokens,
            b"audioMillis" => Field::AudioMillis,
            b"imageCount" => Field::ImageCount,
            b"requestBytes" => Field::RequestBytes,
            b"responseBytes" => Field::ResponseBytes,
            b"providerId" => Field::ProviderId,
            b"endpoint" => Field::Endpoint,
            b"model" => Field::Model,
            b"errorMessage" => Field::ErrorMessage,
            b"stream" => Field::Stream,
            b"specversion" => Field::SpecVersion,
            b"type" => Field::Type,
            b"source" => Field::Source,
            b"id" => Field::Id,
            b"time" => Field::Time,
            b"subject" => Field::Subject,
            b"data" => Field::Data,
            b"requestId" => Field::RequestId,
            b"timestamp" => Field::Timestamp,
            b"userId" => Field::UserId,
            b"datacontenttype" => Field::DataContentType,
            _ => Field::Other,
        }
    }
}

/// All fields of usage.
const USAGE: u32 = Field::SpecVersion.bit() - 1;
const CLOUD_EVENT_ONLY: u32 = Field::SpecVersion.bit()
    | Field::Type.bit()
    | Field::Id.bit()
    | Field::Time.bit()
    | Field::Subject.bit()
    | Field::Data.bit();
const PLAIN_ONLY: u32 =
    USAGE | Field::RequestId.bit() | Field::Timestamp.bit() | Field::UserId.bit();

/// Notes that a field was seen; `None` if it was before.
fn once(seen: &mut u32, field: Field) -> Option<()> {
    if *seen & field.bit() != 0 {
        return None;
    }
    *seen |= field.bit();
    Some(())
}

/// What was read of either form; which one it is, is known only at the end.
struct Record<'f, 'a> {
    /// A bit per field at the top, to find fields that stand twice, and fields of both forms in one
    /// record.
    seen: u32,
    fields: &'f mut Fields<'a>,
}

impl<'a> Record<'_, 'a> {
    /// Reads the value of a member at the top.
    fn member(
        &mut self,
        cursor: &mut Cursor<'a>,
        guesses: &mut Guesses,
        field: Field,
    ) -> Option<()> {
        let fields = &mut *self.fields;
        let text = match field {
            Field::SpecVersion => &mut fields.spec_version,
            Field::Type => &mut fields.event_type,
            Field::Source => &mut fields.source,
            Field::Id | Field::RequestId => &mut fields.id,
            Field::Time | Field::Timestamp => &mut fields.time,
            Field::Subject | Field::UserId => &mut fields.user,
            Field::Data => {
                once(&mut self.seen, field)?;
                let mut seen = 0;
                let usage = &mut fields.usage;
                return cursor.object(guesses, Field::DataStart, |cursor, _, field| {
                    usage.member(&mut seen, cursor, field)
                });
            }
            Field::DataContentType => return cursor.skip_scalar(),
            _ => return fields.usage.member(&mut self.seen, cursor, field),
        };
        once(&mut self.seen, field)?;
        *text = cursor.optional_text()?;
        Some(())
    }

    /// Which form it is, if all its fields are of one.
    fn end(self) -> Option<()> {
        let (form, foreign) = match self.fields.spec_version {
            Some(_) => (Form::CloudEvent, PLAIN_ONLY),
            None => (Form::Plain, CLOUD_EVENT_ONLY),
        };
        let lacks_data = form == Form::CloudEvent && self.seen & Field::Data.bit() == 0;
        if self.seen & foreign != 0 || lacks_data {
            return None;
        }
        self.fields.form = form;
        Some(())
    }
}

impl<'a> Usage<'a> {
    /// Reads the value of a member; one that is not of usage is passed over.
    fn member(&mut self, seen: &mut u32, cursor: &mut Cursor<'a>, field: Field) -> Option<()> {
        let count = match field {
            Field::StatusCode => &mut self.status,
            Field::LatencyMs => &mut self.latency_ms,
            Field::InputTokens => &mut self.input_tokens,
            Field::OutputTokens => &mut self.output_tokens,
            Field::CachedInputTokens => &mut self.cached_input_tokens,
            Field::CacheWriteTokens => &mut self.cache_write_tokens,
            Field::ReasoningTokens => &mut self.reasoning_tokens,
            Field::AudioMillis => &mut self.audio_millis,
            Field::ImageCount => &mut self.image_count,
            Field::RequestBytes => &mut self.request_bytes,
            Field::ResponseBytes => &mut self.response_bytes,
            _ => return self.other_member(seen, cursor, field),
        };
        once(seen, field)?;
        *count = cursor.optional_count()?;
        Some(())
    }

    fn other_member(
        &mut self,
        seen: &mut u32,
        cursor: &mut Cursor<'a>,
        field: Field,
    ) -> Option<()> {
        let text = match field {
            Field::ProviderId => &mut self.provider,
            Field::Endpoint => &mut self.endpoint,
            Field::Model => &mut self.model,
            Field::ErrorMessage => &mut self.error_message,
            Field::Stream => {
                once(seen, field)?;
                self.stream = cursor.optional_flag()?;
                return Some(());
            }
            _ => {
                self.has_others = true;
                return cursor.skip_scalar();
            }
        };
        once(seen, field)?;
        *text = cursor.optional_text()?;
        Some(())
    }
}

/// Which member came after which: a gateway writes its members in one order, so the next one need
/// only be compared with what is expected, in place of finding its end and looking its name up.
#[derive(Clone, Debug)]
pub(super) struct Guesses([Guess; Field::COUNT]);

impl Default for Guesses {
    fn default() -> Guesses {
        Guesses([Guess::NONE; Field::COUNT])
    }
}

/// Bytes of the longest name that is guessed, with its quotes and colon: all known ones fit.
const GUESS_BYTES: usize = 24;
/// They are compared a word at a time.
type Words = [u64; GUESS_BYTES / 8];

/// A name as it stood in the text, from its first quote to its colon.
#[derive(Clone, Copy, Debug)]
struct Guess {
    text: Words,
    /// All bits of its bytes.
    mask: Words,
    len: u8,
    field: Field,
}

impl Guess {
    /// Matches nothing.
    const NONE: Guess = Guess {
        text: [1; GUESS_BYTES / 8],
        mask: [0; GUESS_BYTES / 8],
        len: 0,
        field: Field::Other,
    };

    fn new(text: &[u8], field: Field) -> Option<Guess> {
        let (mut padded, mut mask) = ([0; GUESS_BYTES], [0; GUESS_BYTES]);
        padded.get_mut(..text.len())?.copy_from_slice(text);
        mask[..text.len()].fill(0xff);
        Some(Guess {
            text: words(&padded),
            mask: words(&mask),
            len: text.len() as u8,
            field,
        })
    }

    /// Whether the text goes on with it.
    fn is_at(&self, rest: &[u8]) -> bool {
        let Some(rest) = rest.first_chunk::<GUESS_BYTES>() else {
            return false;
        };
        let differs = |((word, mask), text): ((u64, u64), u64)| (word & mask) ^ text;
        let compared = words(rest).into_iter().zip(self.mask).zip(self.text);
        compared.map(differs).fold(0, |all, bits| all | bits) == 0
    }
}

fn words(bytes: &[u8; GUESS_BYTES]) -> Words {
    let mut words = [0; GUESS_BYTES / 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
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
        guesses: &mut Guesses,
        start: Field,
        mut member: impl FnMut(&mut Cursor<'a>, &mut Guesses, Field) -> Option<()>,
    ) -> Option<()> {
        self.take(b'{')?;
        self.skip_space();
        if self.take(b'}').is_some() {
            return Some(());
        }
        let mut field = start;
        loop {
            field = self.name(&mut guesses.0[field as usize])?;
            self.skip_space();
            member(self, guesses, field)?;
            self.skip_space();
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
            self.skip_space();
        }
    }

    /// A member's name and the colon behind it.
    fn name(&mut self, guess: &mut Guess) -> Option<Field> {
        let rest = self.text.as_bytes().get(self.at..)?;
        if guess.is_at(rest) {
            self.at += usize::from(guess.len);
            return Some(guess.field);
        }
        let key = self.plain_string()?;
        let field = Field::of(key.as_bytes());
        self.skip_space();
        self.take(b':')?;
        // Quotes and colon: with space between, it is not learnt.
        if let Some(text) = rest.get(..key.len() + 3)
            && text.ends_with(b":")
            && let Some(learnt) = Guess::new(text, field)
        {
            *guess = learnt;
        }
        Some(field)
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

/// Marks the high bit of each byte that is special. Borrows can mark bytes after the first special
/// one too, so only the lowest mark counts.
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
    use super::{Fields, Guesses, parse, special};

    #[test]
    fn usual_events_of_both_forms_need_no_second_pass() {
        for json in [
            r#"{"specversion":"1.0","type":"t","source":"s","id":"i","time":"x","subject":"u","datacontenttype":"application/json",
                "data":{"providerId":null,"endpoint":"\/tts","model":"m","statusCode":200,"latencyMs":0,"stream":true,"extra":7}}"#,
            r#"{"requestId":"i","userId":"u","timestamp":"x","endpoint":"e","statusCode":200,"extra":"\n","other":null}"#,
        ] {
            assert!(
                parse(
                    json.as_bytes(),
                    &mut Guesses::default(),
                    &mut Fields::default()
                )
                .is_some(),
                "{json}"
            );
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
