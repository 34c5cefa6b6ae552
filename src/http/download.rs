//! Files that admins download: made piece by piece while they are sent.
//!
//! A task makes the pieces, at most one ahead of the client, and gives up a client that takes none
//! for a while. A download that does not come to its end breaks its connection, so that no client
//! takes it for a whole one.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::Instrument;

use super::ApiState;
use super::problem::Problem;
use super::public_room::{DownloadSlot, busy};
use crate::app::pieces::{Piece, received};
use crate::app::queries::{
    AuditFilter, Export, ExportError, ExportFormat, ExportRequest, TrailFile,
};
use crate::claims::FileKind;
use crate::domain::time::Month;
use crate::objects::ObjectsError;
use crate::ops::metrics::Metrics;

/// Downloads at once. Each reads a whole table.
pub(super) const DOWNLOADS_MAX: usize = 2;
/// Downloads at once of what anybody may see. Each holds a few pieces of 4 MiB.
pub(super) const PUBLISHED_MAX: usize = 8;
/// How many of these an address may have.
pub(super) const PUBLISHED_SHARE: usize = 2;
/// After so long a client that takes nothing is given up.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Longest download.
const WITHIN: Duration = Duration::from_secs(60 * 60);
/// A public download may last this long, and the time that its bytes take at the rate below, so
/// that slow clients do not keep the slots from others.
const PUBLIC_GRACE: Duration = Duration::from_secs(60);
const PUBLIC_BYTES_PER_SECOND: u64 = 256 * 1024;
/// Files of closed months are handed to the connection in pieces of this size, as copies: what a
/// client does not take then keeps no larger piece in memory.
const FRAME_BYTES: usize = 64 * 1024;
/// Whether requests of the month are known to be missing.
const PARTIAL: HeaderName = HeaderName::from_static("x-tidemark-partial");
/// Whether the month is final.
const FINAL: HeaderName = HeaderName::from_static("x-tidemark-final");

/// Begins a download.
pub(super) async fn download(
    service: &ApiState,
    request: ExportRequest,
) -> Result<Response, Problem> {
    let room = room(&service.downloads)?;
    let now = service.clock.now();
    let export = service.queries.clone().export(request, now).await?;
    let disposition = format!("attachment; filename=\"{}\"", export.file_name());
    let headers = [
        (
            header::CONTENT_TYPE,
            export.request().format.content_type().to_owned(),
        ),
        (header::CONTENT_DISPOSITION, disposition),
        (FINAL, export.is_final().to_string()),
        (PARTIAL, export.missing().is_some().to_string()),
    ];
    Ok((headers, begin(service, export, room)).into_response())
}

/// Begins a download of the audit trail.
pub(super) fn download_trail(
    service: &ApiState,
    filter: AuditFilter,
    exact_text: bool,
) -> Result<Response, Problem> {
    let room = room(&service.downloads)?;
    let file = service.queries.clone().trail_file(filter, exact_text);
    let disposition = format!("attachment; filename=\"{}\"", file.file_name());
    let headers = [
        (
            header::CONTENT_TYPE,
            ExportFormat::Csv.content_type().to_owned(),
        ),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, begin(service, file, room)).into_response())
}

/// The body of a file that is made while it is sent.
fn begin(service: &ApiState, file: impl Made, room: OwnedSemaphorePermit) -> Body {
    let (pieces, made) = mpsc::channel(1);
    let work = make(file, pieces, room, service.metrics.clone());
    tokio::spawn(work.in_current_span());
    Body::from_stream(received(made, cut_short))
}

/// A file in the making.
trait Made: Send + 'static {
    /// The next piece; `None` after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, ExportError>> + Send;
    /// What it is, and its format, for metrics.
    fn names(&self) -> [&'static str; 2];
    /// Of which month it is, if it is of one.
    fn month(&self) -> Option<Month>;
    /// How many rows have been written.
    fn rows(&self) -> u64;
}

impl Made for Export {
    async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        Export::next(self).await
    }

    fn names(&self) -> [&'static str; 2] {
        let request = self.request();
        [request.what.name(), request.format.name()]
    }

    fn month(&self) -> Option<Month> {
        Some(self.request().month)
    }

    fn rows(&self) -> u64 {
        self.sums().rows()
    }
}

impl Made for TrailFile {
    async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        TrailFile::next(self).await
    }

    fn names(&self) -> [&'static str; 2] {
        ["audit", ExportFormat::Csv.name()]
    }

    fn month(&self) -> Option<Month> {
        None
    }

    fn rows(&self) -> u64 {
        self.sums().rows()
    }
}

fn room(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let room = of.clone().try_acquire_owned();
    room.map_err(|_| busy(DOWNLOADS_MAX))
}

/// What a download of a closed month holds while it runs.
enum Held {
    Admin { _room: OwnedSemaphorePermit },
    Anybody { _slot: DownloadSlot },
}

/// Who downloads a file of a closed month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Downloader {
    /// An admin: any file.
    Admin,
    /// Anybody: what goes on chain. The address is that of the client, if it is known.
    Anybody(Option<IpAddr>),
}

impl Downloader {
    /// How long a download of so many bytes may take.
    fn within(self, bytes: u64) -> Duration {
        match self {
            Downloader::Admin => WITHIN,
            Downloader::Anybody(_) => {
                let sending = Duration::from_secs(bytes / PUBLIC_BYTES_PER_SECOND);
                PUBLIC_GRACE.saturating_add(sending).min(WITHIN)
            }
        }
    }
}

/// Begins a download of a file of a closed month.
pub(super) async fn download_closed(
    service: &ApiState,
    month: Month,
    kind: FileKind,
    who: Downloader,
) -> Result<Response, Problem> {
    let held = match who {
        Downloader::Admin => Held::Admin {
            _room: room(&service.downloads)?,
        },
        Downloader::Anybody(address) => Held::Anybody {
            _slot: service.published.enter(address)?,
        },
    };
    let file = service.closing.open_file(month, kind).await?;
    let disposition = format!("attachment; filename=\"{month}-{kind}\"");
    let headers = [
        (header::CONTENT_TYPE, kind.content_type().to_owned()),
        (header::CONTENT_LENGTH, file.bytes.to_string()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    let within = who.within(file.bytes);
    let (pieces, made) = mpsc::channel(1);
    let work = async move {
        if !send_within(within, file.pieces, pieces, held).await {
            tracing::info!(
                event = "closing.download_ended", %month, %kind,
                "a download of a file of a closed month ended early"
            );
        }
    };
    tokio::spawn(work.in_current_span());
    Ok((headers, Body::from_stream(received(made, cut_short))).into_response())
}

/// Sends a file. `held` is kept until the connection has dropped the body, which is when it has
/// taken everything or was closed; or until the time is over. It is not enough that the last piece
/// waits for the connection. Whether everything was sent in time.
async fn send_within<H>(
    within: Duration,
    file: BoxStream<'static, Result<Bytes, ObjectsError>>,
    pieces: mpsc::Sender<Piece>,
    held: H,
) -> bool {
    let whole = async {
        send_closed(file, &pieces).await?;
        pieces.closed().await;
        Ok::<(), io::Error>(())
    };
    let sent = tokio::time::timeout(within, whole).await;
    drop(held);
    matches!(sent, Ok(Ok(())))
}

async fn send_closed(
    mut file: BoxStream<'static, Result<Bytes, ObjectsError>>,
    pieces: &mpsc::Sender<Piece>,
) -> io::Result<()> {
    let gone = || io::Error::other("the client went away");
    while let Some(bytes) = file.next().await {
        let bytes = bytes.map_err(io::Error::other)?;
        for frame in bytes.chunks(FRAME_BYTES) {
            let frame = Piece::Bytes(Bytes::copy_from_slice(frame));
            send(pieces, frame).await.map_err(|_| gone())?;
        }
    }
    // The length was sent before the file: a connection that has all bytes need not ask for more.
    let _ = send(pieces, Piece::End).await;
    Ok(())
}

fn cut_short() -> io::Error {
    io::Error::other("the download was cut short")
}

/// How a download ended early.
enum Ended {
    /// The client went away, or took nothing for too long.
    Client,
    TooLong,
    Failed(ExportError),
}

async fn make(
    mut export: impl Made,
    pieces: mpsc::Sender<Piece>,
    _room: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
) {
    let made = tokio::time::timeout(WITHIN, send_all(&mut export, &pieces)).await;
    let ended = made.unwrap_or(Err(Ended::TooLong));
    let ([what, format], rows) = (export.names(), export.rows());
    let outcome = match &ended {
        Ok(()) => "complete",
        Err(Ended::Client) => "interrupted",
        Err(Ended::TooLong | Ended::Failed(_)) => "failed",
    };
    let counter = &metrics.exports_total;
    counter.with_label_values(&[what, format, outcome]).inc();
    let month = export.month().map(tracing::field::display);
    match ended {
        Ok(()) => tracing::info!(
            event = "export.finished",
            what,
            format,
            month,
            rows,
            "an export was downloaded"
        ),
        Err(Ended::Client) => tracing::info!(
            event = "export.interrupted",
            what,
            format,
            month,
            rows,
            "the client stopped reading an export before its end"
        ),
        Err(Ended::TooLong) => tracing::warn!(
            event = "export.failed",
            what,
            format,
            month,
            rows,
            "an export took longer than {WITHIN:?}; make it in parts, or with `tidemark export`"
        ),
        Err(Ended::Failed(error)) => tracing::error!(
            event = "export.failed", what, format, month, rows, %error,
            "an export ended early; the client's file is incomplete"
        ),
    }
}

async fn send_all(export: &mut impl Made, pieces: &mpsc::Sender<Piece>) -> Result<(), Ended> {
    while let Some(bytes) = export.next().await.map_err(Ended::Failed)? {
        send(pieces, Piece::Bytes(bytes)).await?;
    }
    send(pieces, Piece::End).await
}

async fn send(pieces: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), Ended> {
    let sent = pieces.send_timeout(piece, STALLED_AFTER).await;
    sent.map_err(|_| Ended::Client)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use bytes::Bytes;
    use futures::stream::{self, BoxStream, StreamExt as _};
    use tokio::sync::mpsc;

    use super::{Downloader, FRAME_BYTES, WITHIN, send_within};
    use crate::app::pieces::{Piece, received};
    use crate::http::public_room::PublicRoom;
    use crate::objects::ObjectsError;

    fn file(bytes: usize) -> BoxStream<'static, Result<Bytes, ObjectsError>> {
        stream::iter([Ok(Bytes::from(vec![7; bytes]))]).boxed()
    }

    fn cut_short() -> io::Error {
        io::Error::other("cut short")
    }

    #[test]
    fn anybody_has_a_minute_and_the_time_at_a_pace() {
        const MIB: u64 = 1024 * 1024;
        let anybody = |bytes| Downloader::Anybody(None).within(bytes).as_secs();
        for (bytes, seconds) in [
            (0, 60),
            (256 * 1024 - 1, 60),
            (256 * 1024, 61),
            (100 * MIB, 460),
            (u64::MAX, WITHIN.as_secs()),
        ] {
            assert_eq!(anybody(bytes), seconds, "{bytes} bytes");
        }
        assert_eq!(Downloader::Admin.within(0), WITHIN);
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_loses_its_slot_when_its_time_is_over() {
        let room = PublicRoom::new(1, 1);
        for bytes in [5, 3 * FRAME_BYTES] {
            let slot = room.enter(None).ok().unwrap();
            let (pieces, made) = mpsc::channel(1);
            let within = Duration::from_millis(1);
            assert!(!send_within(within, file(bytes), pieces, slot).await);
            assert!(room.enter(None).is_ok(), "the slot is free");
            // What is left of it does not pass for the whole file.
            let taken: Vec<_> = received(made, cut_short).collect().await;
            assert!(taken.last().is_some_and(Result::is_err), "{bytes} bytes");
        }
    }

    #[tokio::test]
    async fn a_slot_is_held_until_the_body_is_dropped() {
        let room = PublicRoom::new(1, 1);
        let slot = room.enter(None).ok().unwrap();
        let (pieces, mut made) = mpsc::channel(1);
        let sending = tokio::spawn(send_within(WITHIN, file(5), pieces, slot));
        assert!(matches!(made.recv().await, Some(Piece::Bytes(bytes)) if bytes.len() == 5));
        assert!(matches!(made.recv().await, Some(Piece::End)));
        tokio::task::yield_now().await;
        assert!(room.enter(None).is_err(), "everything was sent, not taken");
        drop(made);
        assert!(sending.await.unwrap());
        assert!(room.enter(None).is_ok());
    }
}
