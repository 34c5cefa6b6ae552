//! The service on a socket: TLS, and an end that waits for what is under way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidemark::http::{Hosts, Tls, TlsError, router, serve};
use tidemark::ops::shutdown::{self, Trigger};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::stand::Stand;

const DRAIN: Duration = Duration::from_secs(30);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/http/fixtures")
        .join(name)
}

struct Served {
    stand: Stand,
    address: SocketAddr,
    trigger: Trigger,
    ended: JoinHandle<std::io::Result<()>>,
}

async fn served(tls: Option<Tls>) -> Served {
    let stand = Stand::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = shutdown::channel();
    let connections = stand.service.connections();
    let router = router(stand.service.clone(), Hosts::Any);
    let ended = tokio::spawn(serve(listener, router, tls, connections, shutdown, DRAIN));
    Served {
        stand,
        address,
        trigger,
        ended,
    }
}

impl Served {
    /// Ends it; it must take much less than its bound.
    async fn stop(self) {
        let asked = Instant::now();
        self.trigger.shut_down();
        self.ended.await.unwrap().unwrap();
        assert!(asked.elapsed() < DRAIN / 2);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let tls = Tls::load(&fixture("certificate.pem"), &fixture("key.pem")).unwrap();
    let served = served(Some(tls)).await;
    let (address, key) = (served.address, served.stand.admin.clone());
    let (status, plain) = blocking(move || {
        let pem = std::fs::read(fixture("certificate.pem")).unwrap();
        let root = ureq::tls::Certificate::from_pem(&pem).unwrap();
        let roots = ureq::tls::RootCerts::new_with_certs(&[root]);
        let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
        let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
        let request = agent.get(&format!(
            "https://localhost:{}/internal/log",
            address.port()
        ));
        let answer = request
            .header("authorization", format!("Bearer {key}"))
            .call();
        let plain = ureq::get(&format!("http://{address}/healthz")).call();
        (answer.unwrap().status().as_u16(), plain.is_err())
    })
    .await;
    assert_eq!(status, 200);
    assert!(plain, "it answers without TLS");
    served.stop().await;
}

#[test]
fn files_that_are_no_certificate_or_no_key_are_named() {
    let rows = [
        ("nowhere.pem", "key.pem", "nowhere.pem"),
        ("certificate.pem", "nowhere.pem", "nowhere.pem"),
        ("certificate.pem", "certificate.pem", "a private key"),
    ];
    for (certificate, key, said) in rows {
        let error = Tls::load(&fixture(certificate), &fixture(key)).unwrap_err();
        assert!(matches!(error, TlsError::File { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_under_way_is_finished_before_the_end() {
    let served = served(None).await;
    let (address, key) = (served.address, served.stand.admin.clone());
    let event = r#"{"requestId":"1","userId":"anna","endpoint":"/v1/scrape","timestamp":"2026-11-22T07:01:02Z","statusCode":200}"#;
    let (first, rest) = event.split_at(20);
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{first}",
        event.len()
    );
    let mut stream = blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // Another connection that is answered shows that the first one has been accepted.
        assert!(
            ureq::get(&format!("http://{address}/metrics"))
                .call()
                .is_ok()
        );
        stream
    })
    .await;
    served.trigger.shut_down();
    let answer = blocking(move || {
        let start = Instant::now();
        while TcpStream::connect(address).is_ok() {
            assert!(start.elapsed() < DRAIN / 2, "it takes new connections");
            std::thread::sleep(Duration::from_millis(5));
        }
        stream.write_all(rest.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    served.stop().await;
}
