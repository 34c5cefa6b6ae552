//! The Unix socket in the store's directory, by which commands in another terminal reach the store
//! of a running `up`. The directory belongs to its user alone (mode 0700), and so does the socket:
//! nobody else can connect, and neither can a web page, which has no way to a Unix socket.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use super::engine::{Answer, Queue};

/// The socket's name in the store's directory.
const FILE: &str = "store.sock";
/// The longest path that `sockaddr_un` holds on every Unix, its end included.
const PATH_BYTES_MAX: usize = 104;
/// DynamoDB's own limit for a request.
const BODY_BYTES_MAX: usize = 16 << 20;
/// How long a client may take to send the head of a request.
const HEADER_WITHIN: Duration = Duration::from_secs(10);

/// Where the socket of a store is.
#[derive(Debug)]
pub(super) struct SocketAddress {
    dir: PathBuf,
}

/// Why a request over the socket got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// Nobody listens there.
    #[error("cannot connect to {path}: {error}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The request may have been applied.
    #[error("the connection to the embedded store broke: {0}")]
    Exchange(Box<dyn std::error::Error + Send + Sync>),
}

/// A path of the socket that the system takes, and what must stay open as long as it is used.
struct ShortPath {
    path: PathBuf,
    _dir: Option<File>,
}

impl SocketAddress {
    /// Of the store in `dir`.
    pub fn of(dir: &Path) -> SocketAddress {
        let dir = dir.to_owned();
        SocketAddress { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// The socket's path; where that is too long for the system, one by way of the directory's
    /// descriptor, which only Linux has.
    fn short(&self) -> io::Result<ShortPath> {
        let path = self.path();
        if path.as_os_str().as_bytes().len() < PATH_BYTES_MAX {
            return Ok(ShortPath { path, _dir: None });
        }
        if !cfg!(target_os = "linux") {
            let why =
                format!("its path is longer than {PATH_BYTES_MAX} bytes; use a shorter --data");
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, why));
        }
        let dir = File::open(&self.dir)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&dir);
        Ok(ShortPath {
            path: Path::new("/proc/self/fd")
                .join(number.to_string())
                .join(FILE),
            _dir: Some(dir),
        })
    }

    /// Asks over a connection of its own. Commands send few requests, and connecting takes
    /// microseconds.
    pub async fn ask(&self, target: String, body: Bytes) -> Result<Answer, SocketError> {
        let stream = self.connect().await?;
        exchange(stream, target, body)
            .await
            .map_err(SocketError::Exchange)
    }

    async fn connect(&self) -> Result<UnixStream, SocketError> {
        let failed = |error| SocketError::Connect {
            path: self.path(),
            error,
        };
        let short = self.short().map_err(failed)?;
        UnixStream::connect(&short.path).await.map_err(failed)
    }
}

async fn exchange(
    stream: UnixStream,
    target: String,
    body: Bytes,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::post("/")
        .header("host", "localhost")
        .header("x-amz-target", target)
        .body(Full::new(body))?;
    let asked = async move {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer {
            status,
            body: body.into(),
        })
    };
    // Both in this task: a caller that stops waiting takes the connection with it.
    let (answer, _) = futures::future::join(asked, connection).await;
    answer
}

/// Serves a store's requests on its socket, until it is dropped.
#[derive(Debug)]
pub(super) struct SocketServer {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SocketServer {
    /// Takes the place of a socket that a killed process has left: the caller holds the store's
    /// lock.
    pub fn start(dir: &Path, queue: Arc<Queue>) -> io::Result<SocketServer> {
        let address = SocketAddress::of(dir);
        let path = address.path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let listener = std::os::unix::net::UnixListener::bind(&address.short()?.path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopping) = oneshot::channel();
        let serving = move || runtime.block_on(serve(listener, queue, stopping));
        let thread = thread::Builder::new()
            .name("store-socket".to_owned())
            .spawn(serving)?;
        Ok(SocketServer {
            path,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        // It may be gone already.
        drop(fs::remove_file(&self.path));
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    queue: Arc<Queue>,
    stopping: oneshot::Receiver<()>,
) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return failed(&error),
    };
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, queue.clone()))),
                Err(error) => {
                    failed(&error);
                    // For example: too many open files. It may pass.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    };
    // Whether the other end was used or dropped: stop.
    drop(futures::future::select(std::pin::pin!(accept), stopping).await);
}

fn failed(error: &io::Error) {
    tracing::error!(
        event = "store.socket_failed",
        %error,
        "the store's socket failed; commands in other terminals cannot reach the store"
    );
}

async fn converse(stream: UnixStream, queue: Arc<Queue>) {
    let service = service_fn(move |request| respond(request, queue.clone()));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(event = "store.connection_ended", %error, "a command's connection broke");
    }
}

/// A request that the engine did not answer breaks the connection: its sender must not believe that
/// it was refused.
async fn respond(
    request: Request<Incoming>,
    queue: Arc<Queue>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let target = request.headers().get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok());
    let target = target.unwrap_or_default().to_owned();
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let body = body.collect().await?.to_bytes();
    let answer = queue.ask(target, body).await?;
    let mut response = Response::new(Full::new(answer.body.into()));
    *response.status_mut() = StatusCode::from_u16(answer.status)?;
    Ok(response)
}
