//! AWS credentials, by the real binary: from a container's endpoint and from a web identity, over expiry, and while access is denied.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::*;
use crate::store::embedded_endpoint;

/// Longer than the ten seconds before expiry at which the SDK asks again.
const LIFE: Duration = Duration::from_secs(13);
/// Where the instance's metadata has the credentials of its role, and what a session there has to show.
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const SESSION: &str = "metadata-session";
/// What must never be told.
const SECRET: &str = "s3cr3t";

/// Sources of credentials, and a DynamoDB that looks at them.
struct Aws {
    /// When each access key that was given out expires.
    keys: Mutex<Vec<(String, Instant)>>,
    /// Answered to every request to DynamoDB, if any.
    denies: Mutex<Option<&'static str>>,
    /// Requests that came with a good key.
    accepted: AtomicU64,
    /// Requests that were denied.
    denied: AtomicU64,
    upstream: String,
    agent: ureq::Agent,
}

impl Aws {
    fn start() -> (Arc<Aws>, String, tokio::runtime::Runtime) {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build();
        let aws = Arc::new(Aws {
            keys: Mutex::default(),
            denies: Mutex::default(),
            accepted: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            upstream: embedded_endpoint().to_owned(),
            agent: config.into(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let app = Router::new().fallback(handle).with_state(aws.clone());
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        (aws, format!("http://{address}"), runtime)
    }

    /// Gives out a key.
    fn draw(&self) -> (String, String) {
        let mut keys = self.keys.lock().unwrap();
        let key = format!("KEY{}", keys.len());
        keys.push((key.clone(), Instant::now() + LIFE));
        let expires = jiff::Timestamp::now() + jiff::SignedDuration::try_from(LIFE).unwrap();
        (key, expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    fn given_out(&self) -> usize {
        self.keys.lock().unwrap().len()
    }

    fn deny(&self, with: Option<&'static str>) {
        *self.denies.lock().unwrap() = with;
    }

    /// Why a request to DynamoDB is not let in.
    fn fault(&self, headers: &HeaderMap) -> Option<&'static str> {
        if let Some(with) = *self.denies.lock().unwrap() {
            return Some(with);
        }
        let authorization = headers.get("authorization")?.to_str().unwrap().to_owned();
        let token = headers
            .get("x-amz-security-token")
            .map(|token| token.to_str().unwrap());
        let keys = self.keys.lock().unwrap();
        let key = keys
            .iter()
            .find(|(key, _)| authorization.contains(&format!("Credential={key}/")));
        match key {
            Some(_) if token != Some(&format!("{SECRET}-token")) => {
                Some("MissingAuthenticationTokenException")
            }
            Some((_, expires)) if Instant::now() < *expires => None,
            Some(_) => Some("ExpiredTokenException"),
            None => Some("UnrecognizedClientException"),
        }
    }
}

async fn handle(
    State(aws): State<Arc<Aws>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path();
    if path == "/latest/api/token" {
        return ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], SESSION).into_response();
    }
    if path.starts_with(ROLES)
        && headers
            .get("x-aws-ec2-metadata-token")
            .is_none_or(|t| t != SESSION)
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if path == ROLES {
        return "tidemark-worker".into_response();
    }
    if path == "/container" || path == format!("{ROLES}tidemark-worker") {
        let (key, expires) = aws.draw();
        return json!({"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-11-29T00:00:00Z", "AccessKeyId": key,
                      "SecretAccessKey": SECRET, "Token": format!("{SECRET}-token"), "Expiration": expires})
            .to_string()
            .into_response();
    }
    if uri.path() == "/broken" {
        return format!("{{\"AccessKeyId\": \"{SECRET}\", \"SecretAccessKey\": {SECRET}")
            .into_response();
    }
    let Some(target) = headers.get("x-amz-target").cloned() else {
        return token_service(&aws, &body);
    };
    if let Some(code) = aws.fault(&headers) {
        aws.denied.fetch_add(1, Ordering::SeqCst);
        let said = format!(
            "The Canonical String for this request should have been 'x-amz-security-token:{SECRET}-token'"
        );
        let body = json!({"__type": format!("com.amazon.coral.service#{code}"), "message": said});
        return (StatusCode::BAD_REQUEST, body.to_string()).into_response();
    }
    aws.accepted.fetch_add(1, Ordering::SeqCst);
    let request = aws
        .agent
        .post(&aws.upstream)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", target.to_str().unwrap())
        .header("authorization", headers["authorization"].to_str().unwrap())
        .header("x-amz-date", headers["x-amz-date"].to_str().unwrap());
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = request.send(&body[..])?;
        let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
        Ok::<_, ureq::Error>((status, answer.body_mut().read_to_vec()?))
    });
    match answer.await.unwrap() {
        Ok(answer) => answer.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// AWS STS: `AssumeRoleWithWebIdentity`.
fn token_service(aws: &Aws, body: &[u8]) -> Response {
    let form = String::from_utf8_lossy(body).into_owned();
    if !form.contains("Action=AssumeRoleWithWebIdentity") || !form.contains("WebIdentityToken=jwt")
    {
        return (StatusCode::BAD_REQUEST, form).into_response();
    }
    let (key, expires) = aws.draw();
    format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>\
         <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>r:s</AssumedRoleId></AssumedRoleUser>\
         <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>\
         <SessionToken>{SECRET}-token</SessionToken><Expiration>{expires}</Expiration></Credentials>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )
    .into_response()
}

fn kept(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// A place whose store is the fake, with nothing of the machine's own AWS settings.
fn place(endpoint: &str, prefix: &str) -> Place {
    let mut place = Place::new();
    place.write(
        "aws.toml",
        &format!("[store]\nengine = 'dynamodb'\nendpoint = '{endpoint}'\nregion = 'eu-central-1'\ntable_prefix = '{prefix}'\n"),
    );
    let nowhere = kept(place.path("no-such-file").display().to_string());
    place.env = vec![
        ("TIDEMARK_CONFIG", "aws.toml"),
        ("AWS_CONFIG_FILE", nowhere),
        ("AWS_SHARED_CREDENTIALS_FILE", nowhere),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ACCESS_KEY_ID", ""),
    ];
    place
}

#[test]
fn credentials_that_expire_are_renewed_and_denied_access_halts_nothing() {
    let (aws, endpoint, _runtime) = Aws::start();
    let mut place = place(&endpoint, "renewed-");
    place.env.extend(web_identity(&place, &endpoint));
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let up = place.up(&[]);
    let before = aws.given_out();
    let mut sent = 0;
    let mut send = || {
        place.send(&[chat(&format!("r-{sent}"), "ann")]);
        sent += 1;
        sent
    };
    // The credentials of the beginning expire, and those that took their place.
    let start = Instant::now();
    until("credentials have expired twice", || {
        send();
        (start.elapsed() > 2 * LIFE).then_some(())
    });
    assert!(aws.given_out() >= before + 3, "{}", aws.given_out());
    let denied = aws.denied.load(Ordering::SeqCst);
    assert_eq!(denied, 0, "nobody used credentials that had expired");
    // Denied for every reason there is: nothing halts, and it goes on by itself.
    for code in [
        "ExpiredTokenException",
        "AccessDeniedException",
        "RequestTimeTooSkewed",
    ] {
        aws.deny(Some(code));
        let denied = aws.denied.load(Ordering::SeqCst);
        let (status, _) = post(&up, &chat(&format!("denied-{code}"), "ann"));
        assert_eq!(
            status, 204,
            "ingest needs the log only, and a key that was good"
        );
        until("requests are denied", || {
            let tried = aws.denied.load(Ordering::SeqCst) > denied + 5;
            (tried && up.log().contains("task.reload")).then_some(())
        });
        let metrics = up.metrics();
        assert!(
            !metrics
                .lines()
                .any(|line| line.starts_with("tidemark_halted{") && line.ends_with(" 1")),
            "{metrics}"
        );
        aws.deny(None);
    }
    let last = send() + 3;
    place.wait();
    let statement = place.statement("user", "ann");
    assert_eq!(
        statement["requests"].to_string().trim_matches('"'),
        last.to_string(),
        "{statement}"
    );
    let log = up.log();
    assert!(log.contains("task.reload"), "{log}");
    assert!(!log.contains("task.halt"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    up.stop();
}

/// Posts an event as a gateway does.
fn post(up: &Up, event: &Value) -> (u16, String) {
    request(
        up.listen,
        &up.key(),
        "POST",
        "/api/v1/events",
        "application/json",
        &event.to_string(),
    )
}

/// A role that is taken on with a token in a file, as pods do (IRSA).
fn web_identity(place: &Place, endpoint: &str) -> [(&'static str, &'static str); 3] {
    place.write("token", "jwt");
    [
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            kept(place.path("token").display().to_string()),
        ),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_ENDPOINT_URL_STS", kept(endpoint.to_owned())),
    ]
}

/// `up` works on while what `source` gives out expires twice, and every event counts.
fn works_over_two_expiries(aws: &Aws, place: &Place) {
    place.tidemark(&["init"]).ok();
    place.tidemark(&["pricing", "init", "testnet"]).ok();
    let up = place.up(&[]);
    let before = aws.given_out();
    let start = Instant::now();
    let mut sent = 0;
    until("credentials have expired twice", || {
        place.send(&[chat(&format!("r-{sent}"), "ann")]);
        sent += 1;
        (start.elapsed() > 2 * LIFE).then_some(())
    });
    assert!(
        aws.given_out() >= before + 2,
        "{} after {before}",
        aws.given_out()
    );
    assert_eq!(aws.denied.load(Ordering::SeqCst), 0);
    place.wait();
    let statement = place.statement("user", "ann");
    let requests = statement["requests"].to_string();
    assert_eq!(requests.trim_matches('"'), sent.to_string(), "{statement}");
    assert!(!up.log().contains(SECRET), "{}", up.log());
    up.stop();
}

#[test]
fn the_role_of_an_instance_is_renewed() {
    let (aws, endpoint, _runtime) = Aws::start();
    let mut place = place(&endpoint, "instance-");
    place
        .env
        .retain(|(name, _)| *name != "AWS_EC2_METADATA_DISABLED");
    place
        .env
        .push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", kept(endpoint.clone())));
    works_over_two_expiries(&aws, &place);
}

/// A profile that takes on a role with a token in a file, as `aws configure` writes it; and one whose key is in the file.
#[test]
fn a_profile_is_read_and_the_role_that_it_names_is_renewed() {
    let (aws, endpoint, _runtime) = Aws::start();
    let mut place = place(&endpoint, "profile-");
    place.write("token", "jwt");
    let token = place.path("token").display().to_string();
    let config = format!(
        "[profile ledger]\nrole_arn = arn:aws:iam::1:role/r\nweb_identity_token_file = {token}\n\
         [profile fixed]\nregion = eu-central-1\n"
    );
    place.write("aws-config", &config);
    aws.keys.lock().unwrap().push((
        "FIXED".to_owned(),
        Instant::now() + Duration::from_secs(600),
    ));
    let keys = format!(
        "[fixed]\naws_access_key_id = FIXED\naws_secret_access_key = {SECRET}\naws_session_token = {SECRET}-token\n"
    );
    place.write("aws-keys", &keys);
    let of = |name: &str| kept(place.path(name).display().to_string());
    let files = [
        ("AWS_CONFIG_FILE", of("aws-config")),
        ("AWS_SHARED_CREDENTIALS_FILE", of("aws-keys")),
        ("AWS_ENDPOINT_URL_STS", kept(endpoint.clone())),
    ];
    place
        .env
        .retain(|(name, _)| !files.iter().any(|(file, _)| file == name));
    place.env.extend(files);
    place.env.push(("AWS_PROFILE", "fixed"));
    place.tidemark(&["init"]).ok();
    assert_eq!(aws.given_out(), 1, "only the key in the file was used");
    place.env.pop();
    place.env.push(("AWS_PROFILE", "ledger"));
    works_over_two_expiries(&aws, &place);
}

#[test]
fn a_containers_credentials_are_enough() {
    let (aws, endpoint, _runtime) = Aws::start();
    let mut place = place(&endpoint, "container-");
    place.env.push((
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        kept(format!("{endpoint}/container")),
    ));
    place.tidemark(&["init"]).ok();
    assert!(aws.accepted.load(Ordering::SeqCst) > 0 && aws.given_out() > 0);
}

#[test]
fn what_is_wrong_with_credentials_is_said_in_words_at_once_and_without_secrets() {
    let (aws, endpoint, _runtime) = Aws::start();
    let container = |path: &str| {
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            kept(format!("{endpoint}{path}")),
        )
    };
    type Row = (
        Option<&'static str>,
        (&'static str, &'static str),
        &'static str,
    );
    let rows: [Row; 6] = [
        (None, ("AWS_PROFILE", "nobody"), "AWS credentials"),
        (None, container("/broken"), "source of AWS credentials"),
        (
            None,
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/"),
            "source of AWS credentials cannot be reached",
        ),
        (
            Some("ExpiredTokenException"),
            container("/container"),
            "credentials have expired",
        ),
        (
            Some("AccessDeniedException"),
            container("/container"),
            "lack a permission",
        ),
        (
            Some("InvalidSignatureException"),
            container("/container"),
            "secret access key",
        ),
    ];
    for (denies, source, says) in rows {
        aws.deny(denies);
        let mut place = place(&endpoint, "wrong-");
        place.env.push(source);
        let start = Instant::now();
        let said = place.tidemark(&["doctor"]);
        let said = if said.err.contains("no data directory") {
            place.tidemark(&["init"]).failed(1)
        } else {
            said.failed(2)
        };
        assert!(said.contains(says), "{source:?}: {said}");
        assert!(!said.contains(SECRET), "{said}");
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{source:?}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn a_worker_that_is_denied_access_is_not_told_to_create_tables() {
    let (aws, endpoint, _runtime) = Aws::start();
    aws.deny(Some("AccessDeniedException"));
    let mut place = place(&endpoint, "denied-");
    let config = std::fs::read_to_string(place.path("aws.toml")).unwrap();
    let kafka = "[log]\nengine = 'kafka'\n[kafka]\nbootstrap = '127.0.0.1:1'\n";
    place.write("aws.toml", &format!("{kafka}{config}"));
    place.env.push((
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        kept(format!("{endpoint}/container")),
    ));
    for service in ["worker", "serve"] {
        let said = place.tidemark(&[service]).failed(1);
        assert!(said.contains("lack a permission"), "{said}");
        assert!(!said.contains("tidemark init"), "{said}");
    }
}

#[test]
fn a_server_of_ones_own_needs_no_credentials_and_aws_needs_a_region() {
    let (aws, endpoint, _runtime) = Aws::start();
    aws.keys.lock().unwrap().push((
        "tidemark".to_owned(),
        Instant::now() + Duration::from_secs(600),
    ));
    let mut place = place(&endpoint, "own-");
    place
        .env
        .retain(|(name, _)| !name.starts_with("AWS_CONFIG") && !name.starts_with("AWS_SHARED"));
    // The fake asks for a token, which fixed keys do not have; that it was reached with them is what counts.
    let said = place.tidemark(&["init"]).failed(1);
    assert!(said.contains("MissingAuthenticationToken"), "{said}");

    place.write("aws.toml", "[store]\nengine = 'dynamodb'\n");
    let start = Instant::now();
    let said = place.tidemark(&["init"]).failed(2);
    assert!(
        said.contains("store.region") && said.contains("AWS_REGION"),
        "{said}"
    );
    assert!(start.elapsed() < Duration::from_secs(20));
}
