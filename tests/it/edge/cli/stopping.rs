//! Stopping `up` while somebody holds it up.

use std::io::Write as _;
use std::net::TcpStream;

use super::{Place, Up, chat, until};

/// A request whose body never comes.
fn hang(up: &Up) -> TcpStream {
    let mut stream = TcpStream::connect(up.listen).unwrap();
    let key = up.key();
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Another connection that is answered shows that the first one has been accepted.
    assert_eq!(up.get("/readyz").0, 200);
    stream
}

#[test]
fn a_stop_ends_within_its_bound_whatever_hangs() {
    let mut place = Place::new();
    place.env = vec![("TIDEMARK_DRAIN_TIMEOUT", "1s")];
    let up = place.up(&[]);
    place.send(&[chat("1", "ann")]);
    let hanging = hang(&up);
    up.stop();
    drop(hanging);
    let log = std::fs::read_to_string(place.path("up.log")).unwrap();
    assert!(log.contains("shutdown timed out"), "{log}");
    let up = place.up(&[]);
    place.wait();
    assert_eq!(place.statement("user", "ann")["total"], "5.3");
    up.stop();
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut place = Place::new();
    place.env = vec![("TIDEMARK_DRAIN_TIMEOUT", "10m")];
    let mut up = place.up(&[]);
    let _hanging = hang(&up);
    up.signal();
    until("it stops", || {
        up.log()
            .contains("another signal stops immediately")
            .then_some(())
    });
    up.signal();
    let ended = until("`up` ends", || up.child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(130));
}
