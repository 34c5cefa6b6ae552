//! The HTTP service without a socket: the real router on a log in memory and the embedded DynamoDB.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::Bytes;
use serde_json::Value;
use tidemark::app::queries::StoredArchive;
use tidemark::archive::ArchiveStore;
use tidemark::domain::access::Scope;
use tidemark::domain::time::Millis;
use tidemark::http::{ApiState, Hosts, Partitions, Parts, router};
use tidemark::log::CountingLog;
use tidemark::objects::Objects;
use tidemark::ops::clock::Clock;
use tidemark::ops::config::HttpConfig;
use tidemark::ops::health::Health;
use tidemark::ops::metrics::Metrics;
use tidemark::store::db::Db;
use tidemark::store::dynamo::DynamoDb;
use tidemark::store::keys::{self, KeyText};
use tidemark::store::tables::create_tables;
use tokio::runtime::Handle;
use tower::ServiceExt;

use crate::edge::memory_log::{MemoryLog, PARTITIONS};
use crate::store::{client, embedded_endpoint, settings};

/// 2026-11-22T12:00:00Z.
pub const NOON: Millis = Millis(1_795_348_800_000);

/// A clock that a test sets.
pub struct SetClock(AtomicI64);

impl SetClock {
    pub fn set(&self, now: Millis) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for SetClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A service, and what stands behind it.
pub struct Stand {
    pub log: Arc<MemoryLog>,
    pub db: DynamoDb,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<SetClock>,
    pub service: ApiState,
    /// May do everything that is not an account's.
    pub admin: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    /// Status and code of a problem document.
    pub fn code(&self) -> (u16, String) {
        let kind = &self.headers[header::CONTENT_TYPE];
        assert_eq!(kind, "application/problem+json", "{:?}", self.body);
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        let code = problem["code"].as_str().expect("a code").to_owned();
        (self.status.as_u16(), code)
    }
}

impl Stand {
    pub async fn new() -> Stand {
        Stand::with(HttpConfig {
            stalled_after: Duration::ZERO,
            body_bytes_max: 4 << 20,
            ..tidemark::ops::config::Config::default().http
        })
        .await
    }

    pub async fn with(config: HttpConfig) -> Stand {
        let db = client(&settings(embedded_endpoint()));
        create_tables(&db).await.unwrap();
        let log = Arc::new(MemoryLog::default());
        let metrics = Arc::new(Metrics::new());
        let health = Arc::new(Health::new(metrics.clone()));
        let clock = Arc::new(SetClock(AtomicI64::new(NOON.0)));
        let service = ApiState::new(Parts {
            closing: Some(Objects::in_memory()),
            log: Arc::new(CountingLog::new(log.clone(), metrics.clone())),
            partitions: Partitions {
                source: PARTITIONS,
                posting: PARTITIONS,
                rejected: PARTITIONS,
            },
            db: Arc::new(db.clone()),
            clock: clock.clone(),
            metrics: metrics.clone(),
            health: health.clone(),
            config,
            archive: None,
        });
        let admin = key(&db, &["ingest", "admin:read", "admin:write"]).await;
        Stand {
            log,
            db,
            health,
            metrics,
            clock,
            service,
            admin,
        }
    }

    /// The same, with an archive of requests in a directory.
    pub fn with_archive(self, directory: &Path) -> Stand {
        let files = ArchiveStore::in_directory(directory).expect("a directory");
        let archive = StoredArchive::new(files, Handle::current());
        let service = ApiState::new(Parts {
            log: self.service.log.clone(),
            partitions: self.service.partitions,
            db: self.service.db.clone(),
            clock: self.service.clock.clone(),
            metrics: self.service.metrics.clone(),
            health: self.service.health.clone(),
            config: self.service.config.clone(),
            archive: Some(archive),
            closing: self.service.closing.clone(),
        });
        Stand { service, ..self }
    }

    /// The same, with the files of closed months in another place.
    pub fn with_files(self, files: Objects) -> Stand {
        let service = ApiState::new(Parts {
            log: self.service.log.clone(),
            partitions: self.service.partitions,
            db: self.service.db.clone(),
            clock: self.service.clock.clone(),
            metrics: self.service.metrics.clone(),
            health: self.service.health.clone(),
            config: self.service.config.clone(),
            archive: self.service.archive.clone(),
            closing: Some(files),
        });
        Stand { service, ..self }
    }

    /// A new key of these scopes.
    pub async fn key(&self, scopes: &[&str]) -> String {
        key(&self.db, scopes).await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let router = router(self.service.clone(), Hosts::Loopback);
        let response = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// Asks with a key, and a JSON body if there is one.
    pub async fn ask(
        &self,
        key: Option<&str>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:8787");
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let body = match body {
            None => Body::empty(),
            Some(value) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(value.to_string())
            }
        };
        self.send(request.body(body).unwrap()).await
    }

    /// Asks as an admin.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Some(&self.admin), Method::GET, path, None).await
    }

    /// Asks as an admin.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Some(&self.admin), Method::POST, path, Some(body))
            .await
    }
}

async fn key(db: &dyn Db, scopes: &[&str]) -> String {
    let text = KeyText::of_random(rand::random(), rand::random());
    let scopes: Vec<Scope> = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    keys::create(db, &text, "a test's", scopes, "a test", NOON)
        .await
        .unwrap();
    text.to_string()
}
