//! A close whose files go into a bucket: killed on its way again and again, repeated, downloaded, checked.
//!
//! Needs moto: `tests/servers/moto fetch`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use tidemark::objects::{Objects, ObjectsError};

use super::earned::{Earner, closable, earned, wait_final};
use super::moto::{Moto, needs};
use super::site::Site;
use crate::domain::closing::{address, provider, user};
use crate::http::closes::proves;

const ACCOUNTS: u32 = 24;
/// After so many files of a close it is killed. There are ten.
const KILLED_AT: [usize; 5] = [1, 3, 5, 7, 9];
/// How long anything may take that the machine's load decides.
const PATIENCE: Duration = Duration::from_secs(120);

fn earners() -> Vec<Earner> {
    let earner = |n: u32| {
        let account = match n % 4 {
            3 => provider(&format!("prov-{n}")),
            _ => user(&format!("user-{n}")),
        };
        (
            account,
            1 + i64::from(n) * 7,
            (n % 6 != 5).then(|| address(n)),
        )
    };
    (0..ACCOUNTS).map(earner).collect()
}

/// What is in a bucket.
struct Bucket {
    objects: Objects,
    runtime: tokio::runtime::Runtime,
}

impl Bucket {
    fn new(objects: Objects) -> Bucket {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        Bucket { objects, runtime }
    }

    fn paths(&self) -> Vec<String> {
        let listed = self.objects.list(None);
        let paths = listed.map_ok(|meta| meta.location.to_string());
        let paths: Vec<String> = self.runtime.block_on(paths.try_collect()).expect("a list");
        // Below the prefix.
        let below = paths.iter().map(|path| path.split('/').rev());
        let below = below.map(|mut parts| {
            let name = parts.next().unwrap_or_default();
            format!("{}/{name}", parts.next().unwrap_or_default())
        });
        below.collect()
    }

    fn all(&self) -> BTreeMap<String, Bytes> {
        let read = |path: String| {
            let bytes = self.runtime.block_on(self.objects.get(&path));
            (path, bytes.expect("it answers").expect("it is listed"))
        };
        self.paths().into_iter().map(read).collect()
    }

    fn replace(&self, path: &str, bytes: Option<Bytes>) {
        self.runtime.block_on(async {
            self.objects.delete(path).await.expect("it goes");
            if let Some(bytes) = bytes {
                self.objects.put(path, bytes).await.expect("it comes");
            }
        });
    }
}

/// Status and body of what anybody may ask.
fn anybody(site: &Site, path: &str) -> (u16, Vec<u8>) {
    let request = ureq::get(site.url(path)).config();
    let request = request.http_status_as_error(false).build();
    let mut answer = request.call().expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.body_mut().read_to_vec().expect("a body"))
}

fn code(body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).expect("JSON");
    problem["code"].as_str().expect("a code").to_owned()
}

/// Closes a month, and kills the command once there are so many files. Whether it was killed before it came to its end.
fn close_and_kill(site: &Site, args: &[&str], bucket: &Bucket, files: usize) -> bool {
    let mut command = site.command(args);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary runs");
    let start = Instant::now();
    while bucket.paths().len() < files && child.try_wait().expect("a child").is_none() {
        assert!(start.elapsed() < PATIENCE, "{files} files never came");
    }
    drop(child.kill());
    child.wait().expect("a child").code().is_none()
}

/// Downloads what is public of a close as browsers name it, and checks it with the command.
fn download_and_check(site: &Site, close: &Value, directory: &Path) {
    let month = close["month"].as_str().expect("a month");
    let mut names = Vec::new();
    for file in close["files"].as_array().expect("files") {
        let name = file["name"].as_str().expect("a name");
        let (status, body) = anybody(site, &format!("/api/closes/{month}/{name}"));
        match file["public"].as_bool().expect("a flag") {
            true => {
                assert_eq!(status, 200, "{name}");
                let path = directory.join(format!("{month}-{name}"));
                fs::write(&path, body).expect("a file");
                names.push(path);
            }
            false => assert_eq!((status, code(&body)), (404, "no_such_file".to_owned())),
        }
    }
    assert_eq!(names.len(), 5, "{names:?}");
    for path in &names {
        let said = site.run(&["claims", "check", path.to_str().expect("UTF-8")]);
        assert!(said.contains("claims"), "{said}");
    }
    // One character of an amount.
    let path = directory.join(format!("{month}-sablier.csv"));
    let text = fs::read_to_string(&path).expect("a file");
    fs::write(&path, text.replacen(",1", ",2", 1)).expect("a file");
    let said = site.try_run(&["claims", "check", path.to_str().expect("UTF-8")]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("line "), "{}", said.stderr);
}

#[test]
#[ignore = "needs moto"]
fn a_close_into_a_bucket_that_is_killed_and_repeated_gives_one_set_of_files() {
    needs("moto");
    let moto = Moto::start();
    let bucket = Bucket::new(moto.objects("closed/months"));
    let mut site = Site::new();
    site.set(&[
        ("TIDEMARK_CLOSING_LOCATION", "s3://points/closed/months"),
        ("TIDEMARK_CLOSING_ENDPOINT", &moto.endpoint()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]);
    let mut up = site.up();
    up.wait_ready();
    let month = closable();
    bucket
        .runtime
        .block_on(earned(&site.data(), month, &earners()));
    wait_final(&site, month);
    let month = month.to_string();
    let terms = ["close", &month, "--pool", "1000", "--decimals", "6"];

    let killed = KILLED_AT.map(|files| {
        let was_killed = close_and_kill(&site, &terms, &bucket, files);
        if was_killed
            && !bucket
                .paths()
                .iter()
                .any(|path| path.ends_with("close.json"))
        {
            let (status, body) = anybody(&site, &format!("/api/closes/{month}/close.json"));
            assert_eq!((status, code(&body)), (409, "close_unfinished".to_owned()));
        }
        was_killed
    });
    let count = killed.iter().filter(|killed| **killed).count();
    assert!(
        count >= 2,
        "only {count} of the closes were killed on their way"
    );
    // Whoever finishes it needs no terms.
    let close = site.run(&["close", &month, "--json"]);
    let close: Value = serde_json::from_str(&close).expect("JSON");
    assert_eq!(close["state"], "closed", "{close}");
    let files = bucket.all();
    assert_eq!(files.len(), 10, "{:?}", files.keys());

    // The same again, where nothing of it is left.
    for path in files.keys() {
        bucket.replace(path, None);
    }
    site.run(&terms);
    assert!(bucket.all() == files, "other bytes came out");

    let directory = tempfile::tempdir().expect("a directory");
    download_and_check(&site, &close, directory.path());
    for (account, _, wallet) in earners() {
        let path = format!("/api/{}s/{}/claims", account.kind, account.id());
        let claims = site.get(&path).expect("claims");
        let claims: Value = serde_json::from_str(&claims).expect("JSON");
        let of_month = &claims["closes"][0];
        match wallet {
            Some(_) => {
                assert!(proves(&of_month["openzeppelin"], false), "{claims}");
                assert!(proves(&of_month["uniswap"], true), "{claims}");
                assert!(proves(&claims["cumulative"][0]["claim"], false), "{claims}");
            }
            None => assert_eq!(of_month["status"], "no_wallet", "{claims}"),
        }
    }

    // Cut short, it is not served; a process that begins says so, and the doctor does.
    let path = format!("{month}/openzeppelin.json");
    let half = files[&path].slice(..files[&path].len() / 2);
    bucket.replace(&path, Some(half));
    let (status, body) = anybody(&site, &format!("/api/closes/{path}"));
    assert_eq!(
        (status, code(&body)),
        (409, "closing_file_damaged".to_owned())
    );
    up.stop();
    let mut up = site.up();
    up.wait_ready();
    let start = Instant::now();
    while up.metric("tidemark_closing_files_missing") != Some(1.0) {
        up.must_run();
        assert!(start.elapsed() < PATIENCE, "it is never noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = site.try_run(&["doctor"]);
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(said.stdout.contains(&path), "{}", said.stdout);
    site.run(&["close", &month]);
    assert!(bucket.all() == files, "it was not completed");
    let said = site.try_run(&["doctor"]).stdout;
    let note = "The files of all closed months are in s3://points/closed/months";
    assert!(said.contains(note), "{said}");
}

#[test]
#[ignore = "needs moto"]
fn a_large_file_reaches_a_bucket_whole_or_not_at_all() {
    needs("moto");
    let moto = Moto::start();
    let bucket = Bucket::new(moto.objects("large"));
    let piece = |n: u8| Ok::<_, ObjectsError>(Bytes::from(vec![n; 1_000_003]));
    let whole = || (0..21).map(piece);
    bucket.runtime.block_on(async {
        let broken = ObjectsError {
            place: "here".to_owned(),
            what: "it ended".to_owned(),
        };
        let cut = stream::iter(whole().chain([Err(broken.clone())]));
        let objects = &bucket.objects;
        assert_eq!(objects.put_pieces("file", cut).await, Err(broken));
        assert_eq!(objects.size("file").await, Ok(None));
        let done = objects.put_pieces("file", stream::iter(whole())).await;
        assert_eq!(done, Ok(()));
        let (bytes, pieces) = objects.get_pieces("file").await.unwrap().expect("a file");
        let found: Vec<Bytes> = pieces.map(|piece| piece.unwrap()).collect().await;
        let expected: Vec<u8> = whole().flat_map(|piece| piece.unwrap()).collect();
        assert_eq!(bytes, expected.len() as u64);
        assert!(found.concat() == expected, "other bytes came back");
    });
}
