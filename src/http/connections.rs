//! Connections: how many may be open, and how long one may keep us waiting.
//!
//! Nobody needs a key to open a connection, so each has a bound on the time in which it sends a
//! whole request head, in which it begins another one, and in which it takes its answer. Bodies
//! have their own (`body`). HTTP/2 is off: its streams would need all of this once more.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::limits::network;
use crate::ops::config::HttpConfig;
use crate::ops::log_throttle::LogThrottle;
use crate::ops::metrics::Metrics;

/// How long a client may take none of an answer that waits for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Who is refused is told so for that long, so many at a time; everybody beyond is only closed.
const TELL_WITHIN: Duration = Duration::from_secs(1);
const TOLD_AT_ONCE_MAX: usize = 32;
/// What a refused client may have sent already. Closing with that unread would take our answer from
/// it.
const REFUSED_BYTES_READ_MAX: u64 = 64 * 1024;

const TOO_MANY: &str = concat!(
    r#"{"type":"urn:tidemark:problem:too_many_connections","title":"Service Unavailable","status":503,"#,
    r#""code":"too_many_connections","detail":"too many connections are open; close idle ones, or retry shortly"}"#
);

/// The connections of a process, and their bounds. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

struct Shared {
    all_max: Option<usize>,
    per_address_max: Option<usize>,
    head_timeout: Duration,
    idle_timeout: Duration,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
    telling: Semaphore,
    refusals: LogThrottle<&'static str>,
}

#[derive(Default)]
struct Open {
    all: usize,
    addresses: HashMap<IpAddr, usize>,
}

impl Connections {
    /// None are open.
    pub fn new(config: &HttpConfig, metrics: Arc<Metrics>) -> Connections {
        let limit = |limit: Option<std::num::NonZeroU32>| limit.map(|limit| limit.get() as usize);
        Connections(Arc::new(Shared {
            all_max: limit(config.connections_max),
            per_address_max: limit(config.connections_per_address_max),
            head_timeout: config.head_timeout,
            idle_timeout: config.idle_timeout,
            metrics,
            open: Mutex::default(),
            telling: Semaphore::new(TOLD_AT_ONCE_MAX),
            refusals: LogThrottle::new(),
        }))
    }

    /// In which a request head must come whole.
    pub(super) fn head_timeout(&self) -> Duration {
        self.0.head_timeout
    }

    /// In which a connection must begin another request.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.0.idle_timeout
    }

    /// Accepts within the bounds what `inner` accepts. `is_plain`: HTTP is spoken in the clear, so
    /// that a refusal can be told.
    pub(super) fn before<A>(&self, inner: A, is_plain: bool) -> Bounded<A> {
        Bounded {
            inner,
            connections: self.clone(),
            is_plain,
        }
    }

    /// Counts one more; `None` if there are as many as there may be.
    fn enter(&self, address: IpAddr) -> Option<Pass> {
        let address = network(address);
        let mut open = self.lock();
        let of_address = open.addresses.get(&address).copied().unwrap_or(0);
        let is_over = |count: usize, max: Option<usize>| max.is_some_and(|max| count >= max);
        let limit = match () {
            () if is_over(of_address, self.0.per_address_max) => Some("address"),
            () if is_over(open.all, self.0.all_max) => Some("all"),
            () => None,
        };
        if let Some(limit) = limit {
            self.refused(&open, limit, address);
            return None;
        }
        open.all += 1;
        open.addresses.insert(address, of_address + 1);
        self.0.metrics.http_connections.inc();
        Some(Pass {
            connections: self.clone(),
            address,
        })
    }

    fn refused(&self, open: &Open, limit: &'static str, address: IpAddr) {
        let refused = &self.0.metrics.http_connections_refused_total;
        refused.with_label_values(&[limit]).inc();
        if let Some(kept_back) = self.0.refusals.say(limit) {
            tracing::warn!(
                event = "http.connections_refused",
                limit,
                %address,
                open = open.all,
                kept_back,
                "too many connections are open; new ones are refused (http.connections_max, http.connections_per_address_max)"
            );
        }
    }

    fn timed_out(&self, waiting_for: &'static str) -> io::Error {
        let timed_out = &self.0.metrics.http_connections_timed_out_total;
        timed_out.with_label_values(&[waiting_for]).inc();
        io::ErrorKind::TimedOut.into()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // A panic elsewhere leaves the counts as they were: nothing between two changes can panic.
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the connections; given back when dropped.
struct Pass {
    connections: Connections,
    address: IpAddr,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.all -= 1;
        if let Some(count) = open.addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.addresses.remove(&self.address);
            }
        }
        self.connections.0.metrics.http_connections.dec();
    }
}

/// Accepts connections within the bounds, and hands them to `inner`, which may speak TLS.
#[derive(Clone)]
pub(super) struct Bounded<A> {
    inner: A,
    connections: Connections,
    is_plain: bool,
}

impl<A, S> Accept<TcpStream, S> for Bounded<A>
where
    A: Accept<TcpStream, Watched<S>> + Clone + Send + 'static,
    A::Future: Send,
    A::Stream: Send,
    A::Service: Send,
    S: Send + 'static,
{
    type Stream = Timed<A::Stream>;
    type Service = A::Service;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let this = self.clone();
        async move {
            let peer = stream.peer_addr()?.ip().to_canonical();
            let Some(pass) = this.connections.enter(peer) else {
                if this.is_plain {
                    tell(&this.connections, stream).await;
                }
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let phase = Arc::new(AtomicU8::new(HEAD));
            let watched = Watched {
                inner: service,
                phase: phase.clone(),
            };
            let (stream, service) = this.inner.accept(stream, watched).await?;
            Ok((Timed::new(stream, phase, pass), service))
        }
        .boxed()
    }
}

/// Says why the connection is closed, to who listens.
async fn tell(connections: &Connections, mut stream: TcpStream) {
    let Ok(_telling) = connections.0.telling.try_acquire() else {
        return;
    };
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nretry-after: 1\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n{TOO_MANY}",
        TOO_MANY.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = stream.take(REFUSED_BYTES_READ_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whether it was heard changes nothing.
    let _ = tokio::time::timeout(TELL_WITHIN, told).await;
}

/// Where a connection is: it owes the (rest of the) head of a request.
const HEAD: u8 = 0;
/// A request is being worked on, its body may still come.
const REQUEST: u8 = 1;
/// It was answered, and nothing of another request has come.
const ANSWERED: u8 = 2;

/// A service that notes when a request begins and when it is answered.
#[derive(Clone)]
pub(super) struct Watched<S> {
    inner: S,
    phase: Arc<AtomicU8>,
}

impl<S, R> Service<R> for Watched<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.phase.store(REQUEST, Ordering::Relaxed);
        let phase = self.phase.clone();
        let answer = self.inner.call(request);
        answer
            .inspect(move |_| phase.store(ANSWERED, Ordering::Relaxed))
            .boxed()
    }
}

/// A stream that ends when its client keeps us waiting.
pub(super) struct Timed<S> {
    inner: S,
    phase: Arc<AtomicU8>,
    head_due: Pin<Box<Sleep>>,
    /// Set while the client takes none of what is written.
    answer_due: Option<Pin<Box<Sleep>>>,
    pass: Pass,
}

impl<S> Timed<S> {
    fn new(inner: S, phase: Arc<AtomicU8>, pass: Pass) -> Timed<S> {
        let head_due = tokio::time::sleep(pass.connections.head_timeout());
        Timed {
            inner,
            phase,
            head_due: Box::pin(head_due),
            answer_due: None,
            pass,
        }
    }

    /// Bytes came: if they begin a request, its head is due from now on.
    fn came(&mut self) {
        let begins =
            self.phase
                .compare_exchange(ANSWERED, HEAD, Ordering::Relaxed, Ordering::Relaxed);
        if begins.is_ok() {
            let due = Instant::now() + self.pass.connections.head_timeout();
            self.head_due.as_mut().reset(due);
        }
    }

    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.answer_due = None;
            return polled;
        }
        let sleep = || Box::pin(tokio::time::sleep(ANSWER_WITHIN));
        ready!(self.answer_due.get_or_insert_with(sleep).as_mut().poll(cx));
        Poll::Ready(Err(self.pass.connections.timed_out("answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(cx, into) {
            if into.filled().len() > before {
                this.came();
            }
            return Poll::Ready(read);
        }
        if this.phase.load(Ordering::Relaxed) != HEAD {
            return Poll::Pending;
        }
        ready!(this.head_due.as_mut().poll(cx));
        Poll::Ready(Err(this.pass.connections.timed_out("head")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.written(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, bytes);
        this.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_flush(cx);
        this.written(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.written(cx, polled)
    }
}
