//! `up` at other addresses: keys for everybody, TLS or a warning, and commands of this machine as ever.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use super::{Place, chat, now};

const CERTIFICATE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/http/fixtures/certificate.pem"
);
const KEY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/http/fixtures/key.pem"
);

/// A port that was free a moment ago at every address.
fn free_port() -> u16 {
    let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    free.local_addr().unwrap().port()
}

/// The status of a request by another name than this machine's.
fn status(to: SocketAddr, key: &str, path: &str) -> u16 {
    let mut stream = TcpStream::connect(to).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: points.example\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn other_machines_need_a_key_and_are_warned_of_without_tls() {
    let place = Place::new();
    let port = free_port();
    let up = place.up_at(&format!("0.0.0.0:{port}"), &[]);
    // What another machine would reach.
    let public = SocketAddr::from(([127, 0, 0, 2], port));
    let key = place
        .tidemark(&["keys", "create", "reader", "--scope", "admin:read"])
        .ok();
    assert_eq!(status(public, "", "/internal/log"), 401);
    assert_eq!(status(public, "tmk_000000000000_x", "/internal/log"), 401);
    assert_eq!(status(public, key.trim(), "/internal/log"), 200);
    assert_eq!(status(public, "", "/readyz"), 200);
    // Commands have an address of their own, which answers to this machine's names only.
    assert!(up.listen.ip().is_loopback() && up.listen.port() != port);
    assert_eq!(status(up.listen, key.trim(), "/internal/log"), 421);
    place.send(&[chat("r-1", "ada")]);
    place.wait();
    assert_eq!(place.statement("user", "ada")["requests"], 1);
    for said in ["http.without_tls", "WITHOUT TLS"] {
        assert!(up.log().contains(said), "{said}: {}", up.log());
    }
    up.stop();
}

#[test]
fn with_a_certificate_up_speaks_tls_and_commands_find_it() {
    let mut place = Place::new();
    place.env = vec![
        ("TIDEMARK_TLS_CERTIFICATE", CERTIFICATE),
        ("TIDEMARK_TLS_KEY", KEY),
    ];
    let port = free_port();
    let up = place.up_at(&format!("127.0.0.1:{port}"), &[]);
    let key = place
        .tidemark(&["keys", "create", "gateway", "--scope", "ingest"])
        .ok();
    let pem = std::fs::read(CERTIFICATE).unwrap();
    let root = ureq::tls::Certificate::from_pem(&pem).unwrap();
    let roots = ureq::tls::RootCerts::new_with_certs(&[root]);
    let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
    let answer = agent
        .post(&format!("https://localhost:{port}/api/v1/events"))
        .header("authorization", &format!("Bearer {}", key.trim()))
        .send_json(chat("r-1", "ada"))
        .unwrap();
    assert_eq!(answer.status().as_u16(), 204);
    assert!(answer.headers().contains_key("strict-transport-security"));
    let plain = ureq::get(&format!("http://localhost:{port}/healthz")).call();
    assert!(plain.is_err(), "{plain:?} at {}", now());
    place.wait();
    assert_eq!(place.statement("user", "ada")["requests"], 1);
    assert!(up.log().contains("https://127.0.0.1:"), "{}", up.log());
    assert!(!up.log().contains("http.without_tls"), "{}", up.log());
    up.stop();
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let mut place = Place::new();
    place.env = vec![
        ("TIDEMARK_TLS_CERTIFICATE", "nowhere.pem"),
        ("TIDEMARK_TLS_KEY", KEY),
    ];
    let said = place.tidemark(&["up", "--listen", "127.0.0.1:0"]).failed(2);
    assert!(
        said.contains("nowhere.pem") && said.contains("a certificate chain"),
        "{said}"
    );
}
