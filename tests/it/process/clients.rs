//! The programs of docs/clients, run as they stand there: against `up`, and against a stand-in that answers
//! with every fault a client must know.
//!
//! Needs the clients: `tests/servers/clients fetch`.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidemark::domain::time::Millis;

use super::site::Site;

/// What follows `Retry-After: 1`, measured from answer to request, may be a little early for rounding.
const A_SECOND: Duration = Duration::from_millis(950);

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers/clients")
}

/// Fails the test if the clients are not built.
fn needs_clients() {
    let is_ready = Command::new(script()).arg("ready").status();
    if !is_ready.expect("the script runs").success() {
        crate::needs::missing("the clients of docs/clients", "tests/servers/clients fetch");
    }
}

/// How a client ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(client: &str, url: &str, key: &str, batch: u32, retries: u32, argument: &str) -> Ended {
    let mut command = Command::new(script());
    command
        .args(["run", client, argument])
        .env("TIDEMARK_URL", url)
        .env("TIDEMARK_KEY", key)
        .env("TIDEMARK_BATCH", batch.to_string())
        .env("TIDEMARK_RETRIES", retries.to_string());
    let output = command.output().expect("the script runs");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    Millis(i64::try_from(since.as_millis()).expect("a time")).to_string()
}

fn event(id: &str) -> Value {
    json!({"requestId": id, "userId": "ada", "endpoint": "/v1/chat/completions", "model": "llama-3-8b",
        "timestamp": now(), "statusCode": 200, "inputTokens": 15, "outputTokens": 7})
}

/// What a stand-in does with a request.
enum Reply {
    /// A status, seconds of `Retry-After`, and a body.
    Answer(u16, Option<u32>, String),
    /// The connection ends without an answer.
    HangUp,
}

/// A request as it came in, and when.
struct Came {
    ids: Vec<String>,
    at: Instant,
    head: String,
}

/// A service that answers as it is told, one request after the other; after that, 204.
struct StandIn {
    url: String,
    came: Arc<Mutex<Vec<Came>>>,
}

impl StandIn {
    fn new(replies: Vec<Reply>) -> StandIn {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let came = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut replies) = (came.clone(), VecDeque::from(replies));
        // Ends with the test's process: a client that is done asks no more.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let Some(request) = receive(&stream) else {
                    continue;
                };
                kept.lock().expect("the requests").push(request);
                let reply = replies.pop_front();
                reply_to(
                    &mut stream,
                    reply.unwrap_or(Reply::Answer(204, None, String::new())),
                );
            }
        });
        StandIn { url, came }
    }

    /// The ids of the events of each request.
    fn ids(&self) -> Vec<Vec<String>> {
        let came = self.came.lock().expect("the requests");
        came.iter().map(|request| request.ids.clone()).collect()
    }

    /// How long after the one before each request came.
    fn pauses(&self) -> Vec<Duration> {
        let came = self.came.lock().expect("the requests");
        came.windows(2)
            .map(|pair| pair[1].at - pair[0].at)
            .collect()
    }

    fn heads(&self) -> Vec<String> {
        let came = self.came.lock().expect("the requests");
        came.iter().map(|request| request.head.clone()).collect()
    }
}

/// A request with a Content-Length.
fn receive(stream: &TcpStream) -> Option<Came> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let at = Instant::now();
    let lower = head.to_ascii_lowercase();
    let length = lower
        .split("content-length:")
        .nth(1)
        .expect("a Content-Length");
    let length = length.lines().next().expect("a line").trim().parse();
    let mut body = vec![0; length.expect("a number")];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).expect("UTF-8");
    let id = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("an event a line");
        event["requestId"].as_str().expect("an id").to_owned()
    };
    let lines = body.lines().filter(|line| !line.is_empty());
    let ids = lines.map(id).collect();
    Some(Came { ids, at, head })
}

fn reply_to(stream: &mut TcpStream, reply: Reply) {
    let Reply::Answer(status, retry_after, body) = reply else {
        return;
    };
    let retry_after = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n"));
    let head = format!(
        "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n",
        retry_after.unwrap_or_default(),
        body.len()
    );
    // 204 has no body and no length.
    let head = match status {
        204 => head.replace("Content-Length: 0\r\n", ""),
        _ => head,
    };
    let sent = stream.write_all(head.as_bytes());
    sent.and_then(|()| stream.write_all(body.as_bytes()))
        .expect("the client reads the answer");
}

fn problem(status: u16, code: &str, retry_after: Option<u32>) -> Reply {
    let body = json!({"type": "about:blank", "title": code, "status": status, "code": code, "detail": code});
    Reply::Answer(status, retry_after, body.to_string())
}

/// Writes events into a file; its path.
fn file_of(site: &Site, name: &str, events: &[Value]) -> String {
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let path = site.file(name);
    // The last line has no end.
    std::fs::write(&path, lines.join("\n")).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

fn events(ids: &[&str]) -> Vec<Value> {
    ids.iter().map(|id| event(id)).collect()
}

/// Every fault that passes, every fault that does not, and a batch that is too large.
fn survives_faults(client: &str) {
    let site = Site::new();
    let stand_in = StandIn::new(vec![
        problem(503, "log_unavailable", Some(1)),
        problem(429, "too_many_requests", Some(1)),
        Reply::HangUp,
        problem(413, "body_too_large", None),
        Reply::Answer(204, None, String::new()),
        problem(503, "log_unavailable", Some(1)),
        Reply::Answer(
            200,
            None,
            json!({"taken": 1, "refused": [{"index": 1, "code": "out_of_range", "field": "statusCode", "detail": "statusCode must be a status"}],
                "usageUnknown": [0]})
            .to_string(),
        ),
        problem(400, "malformed", None),
        Reply::Answer(204, None, String::new()),
    ]);
    let all = events(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
    let file = file_of(&site, "events.ndjson", &all);
    let ended = run(client, &stand_in.url, "tmk_test", 4, 5, &file);
    let (said, warned) = (&ended.stdout, &ended.stderr);
    assert_eq!(ended.code, Some(3), "{client}\n{said}\n{warned}");
    let batch = |ids: &str| ids.chars().map(String::from).collect::<Vec<String>>();
    let expected = [
        "abcd", "abcd", "abcd", "abcd", "ab", "cd", "cd", "efgh", "i",
    ];
    assert_eq!(stand_in.ids(), expected.map(batch), "{client}\n{warned}");
    let pauses = stand_in.pauses();
    for waited in [0, 1, 5] {
        assert!(pauses[waited] >= A_SECOND, "{client}: {pauses:?}");
    }
    for head in stand_in.heads() {
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains("authorization: bearer tmk_test\r\n"),
            "{head}"
        );
        assert!(
            head.starts_with("post /api/v1/events?partial=true "),
            "{head}"
        );
    }
    // What was refused is handed back with the reason: `d`, and the batch in which nothing could be read.
    assert!(said.contains("statusCode must be a status"), "{said}");
    assert!(said.contains("malformed"), "{said}");
    for id in ["e", "f", "g", "h"] {
        let id = format!("\"requestId\":\"{id}\"");
        let is_named = said.replace('\\', "").contains(&id);
        assert!(is_named, "{client}: {id} is missing in {said}");
    }
}

/// A wrong key is not retried; an outage that does not end is given up, and both say that events are left.
fn says_what_was_not_sent(client: &str) {
    let site = Site::new();
    let file = file_of(&site, "events.ndjson", &events(&["a", "b"]));
    let refuses = StandIn::new(vec![problem(401, "bad_key", None)]);
    let ended = run(client, &refuses.url, "tmk_test", 4, 5, &file);
    assert_eq!(ended.code, Some(1), "{client}: {}", ended.stderr);
    assert_eq!(refuses.ids().len(), 1, "{client}: {}", ended.stderr);
    assert!(ended.stderr.contains("not sent"), "{}", ended.stderr);
    let is_down = || problem(503, "log_unavailable", Some(1));
    let down = StandIn::new((0..9).map(|_| is_down()).collect());
    let ended = run(client, &down.url, "tmk_test", 4, 2, &file);
    assert_eq!(ended.code, Some(1), "{client}: {}", ended.stderr);
    assert_eq!(down.ids().len(), 3, "{client}: {}", ended.stderr);
    assert!(ended.stderr.contains("not sent"), "{}", ended.stderr);
}

fn requests_of(site: &Site, user: &str) -> Value {
    site.run(&["wait", "--timeout", "1m"]);
    let statement = site.run(&["statement", "user", user, "--json"]);
    let statement: Value = serde_json::from_str(&statement).expect("JSON");
    statement["requests"].clone()
}

/// Against the real service: everything good counts once, however often it is sent.
fn counts_once(site: &Site, key: &str, client: &str) {
    let user = format!("user-{client}");
    let mut all: Vec<Value> = (0..25)
        .map(|number| event(&format!("{client}-{number}")))
        .collect();
    all[7]["statusCode"] = json!(7);
    all[9]["input_tokens"] = all[9]["inputTokens"].take();
    all[9]
        .as_object_mut()
        .expect("an object")
        .remove("inputTokens");
    for one in &mut all {
        one["userId"] = json!(user);
    }
    let without_counts = all[20].as_object_mut().expect("an object");
    without_counts.retain(|name, _| !name.ends_with("Tokens"));
    let file = file_of(site, &format!("{client}.ndjson"), &all);
    for _ in 0..2 {
        let ended = run(client, &site.url(""), key, 10, 3, &file);
        let said = format!("{}\n{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(3), "{client}: {said}");
        for field in ["statusCode", "input_tokens"] {
            assert!(ended.stdout.contains(field), "{client}: {said}");
        }
        let warns = said.contains("no token counts") || said.contains("\"usageUnknown\":[0]");
        assert!(warns, "{client}: {said}");
        assert_eq!(requests_of(site, &user), json!(23), "{client}");
    }
}

#[test]
#[ignore = "needs the clients of docs/clients"]
fn every_client_handles_what_the_service_answers() {
    needs_clients();
    // Mostly waiting: at once.
    std::thread::scope(|scope| {
        for client in ["curl", "python", "typescript", "go"] {
            scope.spawn(move || {
                survives_faults(client);
                says_what_was_not_sent(client);
            });
        }
    });
}

#[test]
#[ignore = "needs the clients of docs/clients"]
fn what_clients_send_counts_once() {
    needs_clients();
    let site = Site::new();
    let mut up = site.up();
    up.wait_ready();
    let key = site.run(&["keys", "create", "clients", "--scope", "ingest"]);
    for client in ["curl", "python", "typescript", "go"] {
        counts_once(&site, key.trim(), client);
    }
    for sdk in ["cloudevents_1", "cloudevents_2"] {
        let time = now();
        for _ in 0..2 {
            let ended = run(sdk, &site.url(""), key.trim(), 10, 3, &time);
            assert_eq!(
                ended.code,
                Some(0),
                "{sdk}: {}{}",
                ended.stdout,
                ended.stderr
            );
        }
    }
    assert_eq!(requests_of(&site, "ada"), json!(4));
    let (status, _) = up.stop();
    assert_eq!(status.code(), Some(0));
    site.log_is_clean();
}
