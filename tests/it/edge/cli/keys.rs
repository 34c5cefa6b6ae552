//! Keys: made, listed and revoked from the command line; and the key of this machine's commands.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use super::{Place, Up, request, until};

fn status(up: &Up, key: &str, method: &str, path: &str) -> u16 {
    request(up.listen, key, method, path, "application/x-ndjson", "").0
}

#[test]
fn a_key_works_from_when_it_is_made_until_it_is_revoked() {
    let place = Place::new();
    let up = place.up(&[]);
    let made = place.tidemark(&["keys", "create", "gateway-eu", "--scope", "ingest"]);
    let key = made.ok();
    let key = key.trim();
    let id = key.split('_').nth(1).unwrap();
    assert_eq!(status(&up, key, "POST", "/api/v1/events"), 204);
    assert_eq!(status(&up, key, "GET", "/internal/log"), 403);
    let listed = place.tidemark(&["keys", "list"]).ok();
    let secret = key.splitn(3, '_').nth(2).unwrap();
    assert!(
        listed.contains(id) && listed.contains("gateway-eu"),
        "{listed}"
    );
    assert!(!listed.contains(secret), "{listed}");
    // Whoever pastes the whole key means its id; a repeat changes nothing.
    place.tidemark(&["keys", "revoke", key]).ok();
    place.tidemark(&["keys", "revoke", id]).ok();
    until("the revocation is felt", || {
        (status(&up, key, "POST", "/api/v1/events") == 401).then_some(())
    });
    let log = up.log();
    assert!(!log.contains(secret), "{log}");
    up.stop();
    let log = std::fs::read_to_string(place.path("up.log")).unwrap();
    assert!(!log.contains(secret));
}

#[test]
fn scopes_and_ids_that_are_none_are_refused_with_what_is_allowed() {
    let place = Place::new();
    let _up = place.up(&[]);
    let rows: [(&[&str], &str); 6] = [
        (&["keys", "create", "x"], "--scope"),
        (
            &["keys", "create", "x", "--scope", "root"],
            "allowed: ingest",
        ),
        (
            &["keys", "create", "x", "--scope", "account:robot:a"],
            "allowed: user, provider",
        ),
        (
            &["keys", "create", "x", "--scope", "account:user:"],
            "must not be empty",
        ),
        (
            &["keys", "create", "", "--scope", "ingest"],
            "the name is empty",
        ),
        (
            &["keys", "revoke", "0123456789ab"],
            "no key has the id 0123456789ab",
        ),
    ];
    for (args, said) in rows {
        let refused = place.tidemark(args).failed(2);
        assert!(refused.contains(said), "{args:?}: {refused}");
    }
}

#[test]
fn the_key_of_this_machine_is_for_its_owner_alone_and_is_made_again_when_it_is_lost() {
    let place = Place::new();
    let up = place.up(&[]);
    let file = place.path("data/key");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = up.key();
    up.stop();
    let up = place.up(&[]);
    assert_eq!(up.key(), first, "a good key stays");
    up.stop();
    std::fs::write(&file, "nonsense").unwrap();
    let up = place.up(&[]);
    assert_ne!(up.key(), first);
    assert_eq!(status(&up, &up.key(), "GET", "/internal/log"), 200);
    assert_eq!(status(&up, "", "GET", "/internal/log"), 401);
    up.stop();
}

#[test]
fn a_key_is_sent_to_nobody_but_the_up_of_its_data_directory() {
    let place = Place::new();
    let mut up = place.up(&[]);
    let (listen, key) = (up.listen, up.key());
    // Killed: up.json stays, and its port is another program's by the next moment.
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    let stranger = TcpListener::bind(listen).unwrap();
    // Some process holds the directory: an `up` that is just starting, say.
    let lock = File::options()
        .write(true)
        .open(place.path("data/lock"))
        .unwrap();
    lock.lock().unwrap();
    let heard = Arc::new(Mutex::new(String::new()));
    let hearing = heard.clone();
    std::thread::spawn(move || {
        for stream in stranger.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            hearing
                .lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&head[..read]));
            let body = r#"{"proof":"00","status":"ready"}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            // The command may have gone.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    place
        .tidemark(&["log", "cat", "usage.events", "--last", "1"])
        .failed(1);
    let heard = heard.lock().unwrap().clone();
    assert!(heard.contains("GET /internal/listener?nonce="), "{heard}");
    assert!(!heard.to_lowercase().contains("authorization"), "{heard}");
    assert!(!heard.contains(&key), "{heard}");
}

#[test]
fn links_that_sign_in_are_not_written_into_files() {
    let place = Place::new();
    let up = place.up(&[]);
    until("it has said what it is", || {
        up.log().contains("tidemark is up").then_some(())
    });
    let said = up.log();
    assert!(!said.contains("/signin/link"), "{said}");
    assert!(said.contains("Sign in with the key in"), "{said}");
    up.stop();
}
