//! Identity and content of an event, as hashes.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::domain::event::{ContentHash, Identity, UsageEvent};

/// What nearly every event's fields take together.
const BYTES_USUAL: usize = 256;
/// Before a number of images, so that it is not taken for other counts that came later.
const IMAGES: &str = "imageCount";
/// Seven counts, the time, status and flag.
const NUMBERS_BYTES: usize = 8 * 8 + 2 + 1;

impl UsageEvent<'_> {
    /// The identity: XXH3-128 over user, source and id, each with its length before it, so that no
    /// two triples read alike.
    pub fn identity(&self) -> Identity {
        let mut bytes = Buffer::new();
        bytes.text(&self.user);
        bytes.text(&self.source);
        bytes.text(&self.id);
        Identity(xxh3_128(bytes.as_slice()))
    }

    /// The content: XXH3-64 over all fields of the decoded event that are not its identity
    /// (contents are compared under one identity only). How the sender ordered and spaced them,
    /// which form it used, and what tidemark does not read, do not matter.
    pub fn content(&self) -> ContentHash {
        let mut bytes = Buffer::new();
        bytes.push(&self.numbers());
        bytes.text(&self.endpoint);
        for text in [&self.provider, &self.model, &self.error_message] {
            bytes.optional_text(text.as_deref());
        }
        // These came later: an event without them has the hash that it always had.
        let parts = [self.cache_write_tokens, self.reasoning_tokens];
        if parts != [None, None] {
            for part in parts {
                bytes.push(&part.unwrap_or(u64::MAX).to_le_bytes());
            }
        }
        if let Some(images) = self.image_count {
            bytes.text(IMAGES);
            bytes.push(&images.to_le_bytes());
        }
        ContentHash(xxh3_64(bytes.as_slice()))
    }

    /// Everything that is no text, at fixed places.
    fn numbers(&self) -> [u8; NUMBERS_BYTES] {
        let mut bytes = [0; NUMBERS_BYTES];
        let (words, rest) = bytes.as_chunks_mut::<8>();
        // Counts end at 2^40, so the largest number is free to mean "unknown".
        let counts = self.counts().map(|count| count.unwrap_or(u64::MAX));
        let time = self.time.0 as u64;
        for (word, number) in words.iter_mut().zip(counts.into_iter().chain([time])) {
            *word = number.to_le_bytes();
        }
        let [low, high] = self.status.to_le_bytes();
        rest.copy_from_slice(&[low, high, u8::from(self.stream)]);
        bytes
    }

    fn counts(&self) -> [Option<u64>; 7] {
        [
            self.latency_ms,
            self.input_tokens,
            self.output_tokens,
            self.cached_input_tokens,
            self.audio_millis,
            self.request_bytes,
            self.response_bytes,
        ]
    }
}

/// Copies as [`slice::copy_from_slice`]; ids and names are short, and a call takes longer than
/// their few bytes.
#[inline(always)]
fn copy(into: &mut [u8], from: &[u8]) {
    match from.len() {
        16..=32 => copy_ends::<16>(into, from),
        8..16 => copy_ends::<8>(into, from),
        4..8 => copy_ends::<4>(into, from),
        _ => into.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` bytes of texts of equal length, from `N` to `2 N`: all of
/// them.
#[inline(always)]
fn copy_ends<const N: usize>(into: &mut [u8], from: &[u8]) {
    if let (Some(into), Some(from)) = (into.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *into = *from;
    }
    if let (Some(into), Some(from)) = (into.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *into = *from;
    }
}

/// Bytes to hash: on the stack while they fit.
struct Buffer {
    inline: [u8; BYTES_USUAL],
    used: usize,
    /// Everything, once it no longer fits.
    spilled: Vec<u8>,
}

impl Buffer {
    fn new() -> Buffer {
        Buffer {
            inline: [0; BYTES_USUAL],
            used: 0,
            spilled: Vec::new(),
        }
    }

    fn as_slice(&self) -> &[u8] {
        if self.spilled.is_empty() {
            &self.inline[..self.used]
        } else {
            &self.spilled
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.spilled.is_empty() {
            if let Some(room) = self.inline.get_mut(self.used..self.used + bytes.len()) {
                copy(room, bytes);
                self.used += bytes.len();
                return;
            }
            self.spilled.extend_from_slice(&self.inline[..self.used]);
        }
        self.spilled.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        // An event has at most 64 KiB, so four bytes hold every length.
        self.push(&(text.len() as u32).to_le_bytes());
        self.push(text.as_bytes());
    }

    fn optional_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.push(&u32::MAX.to_le_bytes()),
        }
    }
}
