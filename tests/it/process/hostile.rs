//! What hostile requests cost the real process: memory in proportion to what they unpack into, and never the answers of others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::site::Site;
use crate::http::hostile::{bombs, gzip};

/// The largest body that is taken unless configured otherwise.
const BODY_BYTES: usize = 32 << 20;
/// Beside four times the unpacked body: answers, rejects, and what a process that just started has yet to touch.
const BESIDE: u64 = 64 << 20;
/// On a quiet machine it is some milliseconds; before there were bounds, it was 20 s for some.
const HEALTH_WITHIN: Duration = Duration::from_secs(2);
/// Tests run unoptimised programs, on two cores with another test: for one of these bodies that alone
/// takes longer than 30 s, which is the usual `http.request_timeout`.
const REQUEST_WITHIN: Duration = Duration::from_secs(280);
const REQUEST_TIMEOUT: &str = "300s";

fn health(address: &str, ended: &AtomicBool) -> Duration {
    let mut slowest = Duration::ZERO;
    while !ended.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(address).expect("a connection");
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        slowest = slowest.max(begun.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    slowest
}

#[test]
fn small_bodies_that_unpack_into_much_cost_four_times_that_and_keep_nobody_waiting() {
    let mut site = Site::new();
    site.set(&[("TIDEMARK_HTTP_REQUEST_TIMEOUT", REQUEST_TIMEOUT)]);
    let mut up = site.up();
    up.wait_ready();
    let address = site.url("").trim_start_matches("http://").to_owned();
    let key = std::fs::read_to_string(site.data().join("key")).expect("a key");
    let idle = up.memory_peak();
    for (number, (path, kind, _, body)) in bombs(BODY_BYTES).into_iter().enumerate() {
        let unpacked = body.len() as u64;
        let packed = gzip(&body);
        drop(body);
        // Each by itself: what the one before it took must not hide what this one takes.
        up.restart_memory_peak();
        let ended = Arc::new(AtomicBool::new(false));
        let watcher = {
            let (address, ended) = (address.clone(), ended.clone());
            std::thread::spawn(move || health(&address, &ended))
        };
        let begun = Instant::now();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let answer = agent
            .post(&site.url(path))
            .header("authorization", format!("Bearer {}", key.trim()))
            .header("content-encoding", "gzip")
            .content_type(kind)
            .send(&packed[..])
            .expect("an answer");
        let took = begun.elapsed();
        ended.store(true, Ordering::Relaxed);
        let slowest = watcher.join().expect("it was answered");
        let grown = up.memory_peak().saturating_sub(idle);
        let name = format!("{number} {path} ({kind})");
        eprintln!(
            "{name}: {} KiB -> {} MiB, status {}, {took:?}, peak memory +{} MiB, /healthz {slowest:?}",
            packed.len() >> 10,
            unpacked >> 20,
            answer.status(),
            grown >> 20
        );
        assert!(matches!(answer.status().as_u16(), 200 | 413), "{name}");
        assert!(
            grown <= 4 * unpacked + BESIDE,
            "{name}: {} MiB",
            grown >> 20
        );
        assert!(took < REQUEST_WITHIN, "{name}: {took:?}");
        assert!(slowest < HEALTH_WITHIN, "{name}: {slowest:?}");
    }
    up.must_run();
    up.stop();
}
