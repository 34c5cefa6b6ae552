//! The embedded store at a TCP port, for tests that give other processes an endpoint or put a proxy before it. The bytes go to
//! the store's own Unix socket and back.

use std::path::{Path, PathBuf};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};

/// The endpoint of a bridge to the store in `dir`, which listens. It stays for the rest of the test process.
pub fn bridge(dir: &Path) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let socket = dir.join("store.sock");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(forward(listener, socket));
    });
    format!("http://{address}")
}

async fn forward(listener: std::net::TcpListener, socket: PathBuf) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        let socket = socket.clone();
        tokio::spawn(async move {
            // The store may have been closed: then the connection is, too.
            if let Ok(mut to) = UnixStream::connect(socket).await {
                drop(copy_bidirectional(&mut from, &mut to).await);
            }
        });
    }
}
