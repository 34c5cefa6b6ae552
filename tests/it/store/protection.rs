//! Deletion protection and point-in-time recovery, against a control plane that answers as AWS does.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router};
use serde_json::{Value, json};
use tidemark::ops::clock::SystemClock;
use tidemark::store::db::{StoreError, Table};
use tidemark::store::dynamo::{DynamoDb, DynamoSettings};
use tidemark::store::meter::StoreMeter;
use tidemark::store::protection::{self, Protection, Report};

use crate::process::site::Site;

const BACKUPS: &str = "UpdateContinuousBackups";
const CONTROLLED: [&str; 3] = ["UpdateTable", "DescribeContinuousBackups", BACKUPS];

/// The tables' control plane.
#[derive(Default)]
struct Control {
    from_deletion: BTreeSet<String>,
    recovery: BTreeSet<String>,
    /// An operation and the code that it is answered with.
    refuses: Option<(&'static str, &'static str)>,
    /// How many changes are refused because their table was just created.
    busy: u32,
    changes: u32,
    /// Where everything else is done; none: nothing else is asked for.
    store: Option<&'static str>,
}

type Shared = Arc<Mutex<Control>>;

impl Control {
    fn answer(&mut self, operation: &str, table: &str) -> Result<Value, &'static str> {
        if let Some((refused, code)) = self.refuses
            && operation.ends_with(refused)
        {
            return Err(code);
        }
        if operation.starts_with("Update") {
            if self.busy > 0 {
                self.busy -= 1;
                return Err(match operation {
                    BACKUPS => "ContinuousBackupsUnavailableException",
                    _ => "ResourceInUseException",
                });
            }
            self.changes += 1;
        }
        let on_off = |is_on: bool| if is_on { "ENABLED" } else { "DISABLED" };
        match operation {
            "UpdateTable" => drop(self.from_deletion.insert(table.to_owned())),
            BACKUPS => drop(self.recovery.insert(table.to_owned())),
            _ => {}
        }
        Ok(match operation {
            "DescribeTable" => {
                let is_on = self.from_deletion.contains(table);
                json!({"Table": {"TableName": table, "TableStatus": "ACTIVE", "DeletionProtectionEnabled": is_on}})
            }
            "UpdateTable" => {
                json!({"TableDescription": {"TableName": table, "TableStatus": "UPDATING"}})
            }
            _ => {
                let state = on_off(self.recovery.contains(table));
                let recovery = json!({"PointInTimeRecoveryStatus": state});
                json!({"ContinuousBackupsDescription": {"ContinuousBackupsStatus": "ENABLED",
                       "PointInTimeRecoveryDescription": recovery}})
            }
        })
    }
}

async fn handle(
    State(control): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    let target = headers["x-amz-target"].to_str().unwrap();
    let operation = target.split('.').next_back().unwrap();
    let request: Value = serde_json::from_slice(&body).unwrap();
    let table = request["TableName"].as_str().unwrap_or_default();
    let store = control.lock().unwrap().store;
    if let Some(store) = store
        && !CONTROLLED.contains(&operation)
    {
        let target = target.to_owned();
        let forward = tokio::task::spawn_blocking(move || forwarded(store, &target, &body));
        let (status, mut answer) = forward.await.unwrap();
        if let Some(found) = answer.get_mut("Table") {
            let is_on = control.lock().unwrap().from_deletion.contains(table);
            found["DeletionProtectionEnabled"] = is_on.into();
        }
        return (status, Json(answer));
    }
    match control.lock().unwrap().answer(operation, table) {
        Ok(answer) => (StatusCode::OK, Json(answer)),
        Err(code) => {
            let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
            (StatusCode::BAD_REQUEST, Json(json!({"__type": code})))
        }
    }
}

fn forwarded(store: &str, target: &str, body: &Bytes) -> (StatusCode, Value) {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let request = agent.post(store).header("x-amz-target", target);
    let request = request.content_type("application/x-amz-json-1.0");
    let mut answer = request.send(&body[..]).unwrap();
    let text = answer.body_mut().read_to_vec().unwrap();
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
    (status, serde_json::from_slice(&text).unwrap())
}

/// Its address.
async fn serve(shared: Shared) -> String {
    let app = Router::new().fallback(handle).with_state(shared);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

async fn on(control: Control) -> (DynamoDb, Shared) {
    let shared = Arc::new(Mutex::new(control));
    let settings = DynamoSettings::local(serve(shared.clone()).await);
    let meter = Arc::new(StoreMeter::default());
    (
        DynamoDb::new(&settings, meter, Arc::new(SystemClock)),
        shared,
    )
}

async fn state(db: &DynamoDb) -> Vec<Protection> {
    let mut all = Vec::new();
    for table in Table::ALL {
        all.push(protection::read(db, table).await.unwrap());
    }
    all
}

fn everywhere(from_deletion: Option<bool>, recovery: Option<bool>) -> Vec<Protection> {
    let one = Protection {
        from_deletion,
        recovery,
    };
    vec![one; Table::ALL.len()]
}

#[tokio::test]
async fn what_is_off_is_switched_on_once_also_while_tables_are_being_created() {
    let control = Control {
        busy: 2,
        ..Control::default()
    };
    let (db, shared) = on(control).await;
    let before = state(&db).await;
    assert_eq!(before, everywhere(Some(false), Some(false)));
    assert_eq!(
        before[0].missing(),
        ["deletion protection", "point-in-time recovery"]
    );
    let report = protection::protect(&db).await.unwrap();
    assert_eq!(report.changed, Table::ALL);
    assert!(report.unsupported.is_empty());
    assert_eq!(state(&db).await, everywhere(Some(true), Some(true)));
    let changes = shared.lock().unwrap().changes;
    assert_eq!(changes, 2 * Table::ALL.len() as u32);
    // Again: nothing is left to do, and no table is touched.
    let again = protection::protect(&db).await.unwrap();
    assert_eq!(again, Report::default());
    assert_eq!(shared.lock().unwrap().changes, changes);
}

#[tokio::test]
async fn a_server_without_backups_is_protected_against_deletion_only_and_that_is_said() {
    let control = Control {
        refuses: Some(("ContinuousBackups", "UnknownOperationException")),
        ..Control::default()
    };
    let (db, _) = on(control).await;
    let report = protection::protect(&db).await.unwrap();
    assert_eq!(report.unsupported, ["point-in-time recovery"]);
    assert_eq!(report.changed, Table::ALL);
    assert_eq!(state(&db).await, everywhere(Some(true), None));
}

#[tokio::test]
async fn a_missing_permission_is_said_and_changes_nothing_else() {
    let control = Control {
        refuses: Some(("UpdateTable", "AccessDeniedException")),
        ..Control::default()
    };
    let (db, _) = on(control).await;
    let denied = protection::protect(&db).await;
    assert!(matches!(denied, Err(StoreError::Denied(_))), "{denied:?}");
    assert_eq!(state(&db).await, everywhere(Some(false), Some(false)));
}

#[test]
fn init_protects_the_tables_and_doctor_says_whether_they_are() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let control = Control {
        store: Some(super::embedded_endpoint()),
        ..Control::default()
    };
    let shared = Arc::new(Mutex::new(control));
    let endpoint = runtime.block_on(serve(shared.clone()));
    let prefix = format!("protected-{}-", std::process::id());
    let mut site = Site::new();
    let mut protect = |wanted: &str| {
        site.set(&[
            ("TIDEMARK_STORE_ENGINE", "dynamodb"),
            ("TIDEMARK_STORE_ENDPOINT", &endpoint),
            ("TIDEMARK_STORE_TABLE_PREFIX", &prefix),
            ("TIDEMARK_STORE_PROTECT_TABLES", wanted),
        ]);
        (site.try_run(&["init"]), site.try_run(&["doctor"]))
    };
    // Not AWS: left alone, and nothing is said.
    let (init, doctor) = protect("auto");
    assert_eq!(init.code, Some(0), "{}", init.stderr);
    assert!(
        !doctor.stdout.contains("deletion protection"),
        "{}",
        doctor.stdout
    );
    assert_eq!(shared.lock().unwrap().changes, 0);
    // A permission is missing.
    shared.lock().unwrap().refuses = Some((BACKUPS, "AccessDeniedException"));
    let (init, doctor) = protect("on");
    assert_eq!(init.code, Some(1), "{}", init.stderr);
    assert!(
        init.stderr.contains("access to the store was denied"),
        "{}",
        init.stderr
    );
    let missing = format!("no point-in-time recovery: {prefix}PricingConfig");
    assert!(doctor.stdout.contains(&missing), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("tidemark init"), "{}", doctor.stdout);
    // It is granted.
    shared.lock().unwrap().refuses = None;
    let (init, doctor) = protect("on");
    assert_eq!(init.code, Some(0), "{}", init.stderr);
    let protected = "The tables have deletion protection and point-in-time recovery.";
    assert!(doctor.stdout.contains(protected), "{}", doctor.stdout);
    assert_eq!(shared.lock().unwrap().changes, 2 * Table::ALL.len() as u32);
}
