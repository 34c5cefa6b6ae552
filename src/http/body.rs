//! Bodies of requests: taken in within bounds, unpacked where that is allowed.

use std::io::{self, Write};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::StreamExt;

use super::problem::Problem;

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
    request: Request,
    coding: Coding,
    /// As the client announced it.
    length: Option<u64>,
    /// Most bytes of the body as it was sent, and once it is unpacked.
    bytes_max: usize,
}

impl Incoming {
    /// Refuses at once what the headers give away: a body that is too large, or packed in a way that is not taken.
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
            request,
            coding,
            length,
            bytes_max,
        })
    }

    /// How much memory it may need.
    pub(super) fn bytes_at_most(&self) -> usize {
        let length = self.length.filter(|_| self.coding == Coding::Plain);
        let length = length.and_then(|length| usize::try_from(length).ok());
        length.unwrap_or(self.bytes_max)
    }

    /// The whole body, unpacked.
    pub(super) async fn read(mut self) -> Result<Bytes, Problem> {
        if self.coding == Coding::Gzip {
            return unpacked(self.request.into_body(), self.bytes_max).await;
        }
        DefaultBodyLimit::max(self.bytes_max).apply(&mut self.request);
        let read = Bytes::from_request(self.request, &()).await;
        read.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(self.bytes_max),
            _ => unreadable("the body was cut off; send it again"),
        })
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
            "the body is packed in a way that is not taken here; send it with Content-Encoding: gzip, or as it is",
        )),
        Packing::Refused => Err(unsupported(
            "no packed bodies are taken here; send it as it is, without Content-Encoding",
        )),
    }
}

/// Unpacks while it reads: what is kept never exceeds the bound, however small the packed body is.
async fn unpacked(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::FileTooLarge => too_large(bytes_max),
        _ => unreadable("the body is no gzip, or not all of it; send it again"),
    };
    let mut decoder = MultiGzDecoder::new(Bounded {
        bytes: Vec::new(),
        bytes_max,
    });
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| unreadable("the body was cut off; send it again"))?;
        decoder.write_all(&frame).map_err(failed)?;
    }
    let bounded = decoder.finish().map_err(failed)?;
    Ok(bounded.bytes.into())
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
        self.bytes.extend_from_slice(bytes);
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
