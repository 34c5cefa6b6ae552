//! A server that speaks S3's protocol.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use tidemark::objects::{Objects, S3Place};

pub const BUCKET: &str = "points";

/// A script of `tests/servers`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/servers")
        .join(name)
}

/// Fails the test if a tool is missing.
pub fn needs(name: &str) {
    let is_ready = Command::new(script(name)).arg("ready").status();
    if !is_ready.expect("the script runs").success() {
        crate::needs::missing(name, &format!("tests/servers/{name} fetch"));
    }
}

/// A running server with an empty bucket; stopped when dropped.
pub struct Moto {
    port: String,
}

impl Moto {
    pub fn start() -> Moto {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = free.local_addr().expect("an address").port().to_string();
        drop(free);
        let moto = Moto { port };
        moto.run(&["up", &moto.port, BUCKET]);
        moto
    }

    fn run(&self, args: &[&str]) {
        let done = Command::new(script("moto")).args(args).status();
        assert!(done.expect("the script runs").success(), "{args:?}");
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Copies everything into a directory.
    pub fn copy_to(&self, directory: &Path) {
        let directory = directory.to_str().expect("UTF-8");
        self.run(&["get", &self.port, BUCKET, directory]);
    }

    /// What lies under a prefix.
    pub fn objects(&self, prefix: &str) -> Objects {
        let place = S3Place {
            bucket: BUCKET.to_owned(),
            prefix: prefix.to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: Some(self.endpoint()),
        };
        let credentials = Credentials::new("test", "test", None, None, "a test");
        Objects::in_bucket(&place, SharedCredentialsProvider::new(credentials))
            .expect("settings that can be used")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(
            Command::new(script("moto"))
                .args(["wipe", &self.port])
                .status(),
        );
    }
}
