//! The service on a socket: TLS, and an end that waits for what is under way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidemark::http::{Hosts, Tls, TlsError, router, serve};
use tidemark::ops::config::{Config, HttpConfig};
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
    serving(Stand::new().await, tls).await
}

async fn serving(stand: Stand, tls: Option<Tls>) -> Served {
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
    let (status, plain, secure) = blocking(move || {
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
        let answer = answer.unwrap();
        let secure = answer.headers().get("strict-transport-security").cloned();
        (answer.status().as_u16(), plain.is_err(), secure)
    })
    .await;
    assert_eq!(status, 200);
    let secure = secure.expect("browsers are told to come back over TLS");
    assert!(
        secure.to_str().unwrap().starts_with("max-age="),
        "{secure:?}"
    );
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
        let is_named = matches!(error, TlsError::File { .. } | TlsError::Missing { .. });
        assert!(is_named, "{error}");
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

/// Time-outs and bounds that a test can wait for.
async fn bounded(all: u32, per_address: u32) -> Stand {
    Stand::with(HttpConfig {
        head_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_millis(1_200),
        connections_max: NonZeroU32::new(all),
        connections_per_address_max: NonZeroU32::new(per_address),
        ..Config::default().http
    })
    .await
}

const HALF: &[u8] = b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nX-Half: ";
const WHOLE: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The status of the next answer on a connection; `None`: it was closed.
fn answer(stream: &mut TcpStream) -> Option<u16> {
    let mut bytes = [0; 64 * 1024];
    let mut read = 0;
    loop {
        match stream.read(&mut bytes[read..]) {
            Ok(0) | Err(_) => return None,
            Ok(more) => read += more,
        }
        let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_ascii_lowercase();
        let length = length
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return text.split(' ').nth(1)?.parse().ok();
        }
    }
}

/// How long until the other side closes a connection.
fn closed_after(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    stream.set_read_timeout(Some(DRAIN)).unwrap();
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    assert!(ended.is_ok() || begun.elapsed() < DRAIN, "it stays open");
    begun.elapsed()
}

fn connections(served: &Served) -> i64 {
    served.stand.metrics.http_connections.get()
}

/// Looks until a condition holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DRAIN, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_requests_are_closed_whether_they_are_the_first_of_their_connection_or_not() {
    for is_first in [true, false] {
        let served = serving(bounded(0, 0).await, None).await;
        let address = served.address;
        let streams = blocking(move || {
            let half = |_| {
                let mut stream = TcpStream::connect(address).unwrap();
                if !is_first {
                    stream.write_all(WHOLE).unwrap();
                    assert_eq!(answer(&mut stream), Some(503), "it is not ready");
                }
                stream.write_all(HALF).unwrap();
                stream
            };
            (0..300).map(half).collect::<Vec<TcpStream>>()
        })
        .await;
        // Some may not have been accepted yet while others are closed already.
        let timed_out = &served.stand.metrics.http_connections_timed_out_total;
        let timed_out = timed_out.with_label_values(&["head"]);
        until("all are closed", || timed_out.get() == 300).await;
        until("none is open", || connections(&served) == 0).await;
        drop(streams);
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_asks_nothing_is_closed_and_one_that_asks_stays() {
    let served = serving(bounded(0, 0).await, None).await;
    let address = served.address;
    blocking(move || {
        let mut silent = TcpStream::connect(address).unwrap();
        assert!(closed_after(&mut silent) < DRAIN / 2);
        let mut idle = TcpStream::connect(address).unwrap();
        // Longer than any of the time-outs, with a pause between requests that is shorter.
        for _ in 0..6 {
            idle.write_all(WHOLE).unwrap();
            assert_eq!(answer(&mut idle), Some(503));
            std::thread::sleep(Duration::from_millis(500));
        }
        let idle = closed_after(&mut idle);
        assert!(idle < DRAIN / 2, "{idle:?}");
    })
    .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_too_many_connections_is_told_so_and_others_are_not_kept_out() {
    for (all, per_address, limit) in [(0, 20, "address"), (20, 0, "all")] {
        let served = serving(bounded(all, per_address).await, None).await;
        let address = served.address;
        let open = blocking(move || {
            let open: Vec<TcpStream> = (0..20)
                .map(|_| TcpStream::connect(address).unwrap())
                .collect();
            open
        })
        .await;
        until("all are accepted", || connections(&served) == 20).await;
        let told = blocking(move || {
            let mut one_more = TcpStream::connect(address).unwrap();
            one_more.write_all(WHOLE).unwrap();
            let mut said = String::new();
            one_more.read_to_string(&mut said).unwrap();
            said
        })
        .await;
        assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
        assert!(told.contains("\"code\":\"too_many_connections\""), "{told}");
        let refused = &served.stand.metrics.http_connections_refused_total;
        assert_eq!(refused.with_label_values(&[limit]).get(), 1);
        drop(open);
        until("they are gone", || connections(&served) == 0).await;
        let status = blocking(move || {
            let mut again = TcpStream::connect(address).unwrap();
            again.write_all(WHOLE).unwrap();
            answer(&mut again)
        });
        assert_eq!(status.await, Some(503), "not ready, which is an answer");
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_is_off_and_a_head_that_is_too_large_is_refused() {
    let served = serving(bounded(0, 0).await, None).await;
    let address = served.address;
    blocking(move || {
        let mut prior_knowledge = TcpStream::connect(address).unwrap();
        prior_knowledge
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .unwrap();
        let mut said = Vec::new();
        // Whether it is an answer of HTTP/1 or an end, it is no frame of HTTP/2.
        let _ = prior_knowledge.read_to_end(&mut said);
        assert!(
            said.is_empty() || said.starts_with(b"HTTP/1.1 4"),
            "{said:?}"
        );
        let mut large = TcpStream::connect(address).unwrap();
        let head = format!(
            "GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n",
            "x".repeat(400_000)
        );
        let _ = large.write_all(head.as_bytes());
        let status = answer(&mut large);
        assert!(matches!(status, Some(431) | None), "{status:?}");
        let mut good = TcpStream::connect(address).unwrap();
        let head = format!(
            "GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n",
            "x".repeat(20_000)
        );
        good.write_all(head.as_bytes()).unwrap();
        assert_eq!(answer(&mut good), Some(503), "the longest token fits");
    })
    .await;
    served.stop().await;
}
