//! Bodies of requests: taken in within bounds, unpacked where that is allowed.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::StreamExt;
use tokio::time::Instant;

use super::budget::{Budget, Room};
use super::decoding::INLINE_BYTES_MAX;
use super::problem::Problem;
use crate::ops::metrics::Metrics;

/// Which packed bodies a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// None.
    Refused,
    /// `Content-Encoding: gzip`.
    Gzip,
}

/// How the body of a request is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
}

/// A request whose body is still to be read, and may be by what its headers say.
pub(super) struct Incoming {
    body: Body,
    coding: Coding,
    /// Most bytes of the body as it was sent, and once it is unpacked.
    bytes_max: usize,
}

/// Where bodies are counted, by whom, and how fast they must come.
#[derive(Clone)]
pub(super) struct Reading {
    pub budget: Arc<Budget>,
    pub metrics: Arc<Metrics>,
    pub caller: Arc<str>,
    /// `None`: as slowly as the client likes.
    pub bytes_per_second_min: Option<NonZeroU32>,
}

impl Incoming {
    /// Refuses at once what the headers give away: a body that is too large, or packed in a way
    /// that is not taken.
    pub(super) fn of(
        request: Request,
        bytes_max: usize,
        packing: Packing,
    ) -> Result<Incoming, Problem> {
        let coding = coding(request.headers(), packing)?;
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length| length > bytes_max as u64) {
            return Err(too_large(bytes_max));
        }
        Ok(Incoming {
            body: request.into_body(),
            coding,
            bytes_max,
        })
    }

    /// The whole body as it was sent, with the room that it takes.
    pub(super) async fn receive(self, reading: &Reading) -> Result<Received, Problem> {
        let received = self.received(reading).await;
        received.inspect_err(|problem| {
            let reason = match problem {
                problem if problem.is("body_too_large") => "too_large",
                problem if problem.is("body_timeout") => "too_slow",
                _ => return,
            };
            let refused = &reading.metrics.http_bodies_refused_total;
            refused.with_label_values(&[reason]).inc();
        })
    }

    async fn received(self, reading: &Reading) -> Result<Received, Problem> {
        let mut room = reading.budget.begin(&reading.caller);
        let mut pace = reading.bytes_per_second_min.map(Pace::new);
        let mut bytes = Vec::new();
        let mut frames = self.body.into_data_stream();
        loop {
            let frame = match &pace {
                Some(pace) => tokio::time::timeout_at(pace.deadline, frames.next())
                    .await
                    .map_err(|_| too_slow())?,
                None => frames.next().await,
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| unreadable("the body was cut off; send it again"))?;
            if frame.len() > self.bytes_max - bytes.len() {
                return Err(too_large(self.bytes_max));
            }
            let asked = Instant::now();
            room.grow_to(bytes.len() + frame.len()).await?;
            append(&mut bytes, &frame, self.bytes_max);
            if let Some(pace) = &mut pace {
                pace.took(frame.len(), asked.elapsed());
            }
        }
        let mut received = Received {
            bytes,
            coding: self.coding,
            bytes_max: self.bytes_max,
            room,
        };
        // All of it is here, so the room for what is packed in it is needed only for as long as the
        // work takes.
        let unpacked_max = received.unpacked_bytes_max();
        received.room.grow_to(unpacked_max).await?;
        Ok(received)
    }

    /// The whole body, of routes that take small ones.
    pub(super) async fn read(self, reading: &Reading) -> Result<Bytes, Problem> {
        Ok(self.receive(reading).await?.bytes.into())
    }
}

/// A body as it was sent.
pub(super) struct Received {
    bytes: Vec<u8>,
    coding: Coding,
    bytes_max: usize,
    room: Room,
}

impl Received {
    /// Whether working on it takes so long that others would notice.
    pub(super) fn is_large(&self) -> bool {
        self.unpacked_bytes_max() > INLINE_BYTES_MAX
    }

    fn unpacked_bytes_max(&self) -> usize {
        /// What gzip makes of a byte at best.
        const RATIO_MAX: usize = 1_032;
        match self.coding {
            Coding::Plain => self.bytes.len(),
            Coding::Gzip => self.bytes_max.min(self.bytes.len() * RATIO_MAX),
        }
    }

    /// The body unpacked, and the room to be held for as long as anything is kept of it.
    pub(super) fn unpack(self) -> Result<(Bytes, Room), Problem> {
        let Received {
            bytes,
            coding,
            bytes_max,
            mut room,
        } = self;
        let bytes = match coding {
            Coding::Plain => bytes,
            Coding::Gzip => unpacked(&bytes, bytes_max)?,
        };
        room.shrink_to(bytes.len());
        Ok((bytes.into(), room))
    }
}

/// Doubles the room of a vector as it grows, but never beyond what it may hold: a body of the
/// largest size takes that and no more.
fn append(bytes: &mut Vec<u8>, more: &[u8], bytes_max: usize) {
    let needed = bytes.len() + more.len();
    if needed > bytes.capacity() {
        let capacity = needed.max(2 * bytes.capacity()).min(bytes_max.max(needed));
        bytes.reserve_exact(capacity - bytes.len());
    }
    bytes.extend_from_slice(more);
}

/// How fast a body must come: so many bytes within each stretch of time.
struct Pace {
    bytes_per_stretch: usize,
    came: usize,
    deadline: Instant,
}

impl Pace {
    const STRETCH: Duration = Duration::from_secs(10);

    fn new(bytes_per_second: NonZeroU32) -> Pace {
        let bytes = bytes_per_second.get() as usize;
        Pace {
            bytes_per_stretch: bytes.saturating_mul(Pace::STRETCH.as_secs() as usize),
            came: 0,
            deadline: Instant::now() + Pace::STRETCH,
        }
    }

    /// Counts bytes that came. The client is not to blame for what we waited.
    fn took(&mut self, bytes: usize, waited: Duration) {
        self.came += bytes;
        self.deadline += waited;
        if self.came >= self.bytes_per_stretch {
            self.came = 0;
            self.deadline = Instant::now() + Pace::STRETCH;
        }
    }
}

fn coding(headers: &HeaderMap, packing: Packing) -> Result<Coding, Problem> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(Coding::Plain);
    };
    let name = value.to_str().unwrap_or_default().trim();
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match packing {
        _ if name.is_empty() || is("identity") => Ok(Coding::Plain),
        Packing::Gzip if is("gzip") || is("x-gzip") => Ok(Coding::Gzip),
        Packing::Gzip => Err(unsupported(
            "unsupported Content-Encoding; use gzip or none",
        )),
        Packing::Refused => Err(unsupported(
            "unsupported Content-Encoding; this route takes none",
        )),
    }
}

/// Unpacks into a bound: what is kept never exceeds it, however small the packed body is.
fn unpacked(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::FileTooLarge => too_large(bytes_max),
        _ => unreadable("the body is not valid gzip, or is incomplete; send it again"),
    };
    let mut decoder = MultiGzDecoder::new(Bounded {
        bytes: Vec::new(),
        bytes_max,
    });
    decoder.write_all(packed).map_err(failed)?;
    let bounded = decoder.finish().map_err(failed)?;
    Ok(bounded.bytes)
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.bytes_max - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        append(&mut self.bytes, bytes, self.bytes_max);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body is too large; a request takes at most {bytes_max} bytes, unpacked"),
    )
}

fn too_slow() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_timeout",
        "the body arrives too slowly; nothing was done, send it again",
    )
}

fn unreadable(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "unreadable_body", why)
}

fn unsupported(why: &str) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_content_encoding",
        why,
    )
}
