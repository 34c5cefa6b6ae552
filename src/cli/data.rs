//! The data directory: who owns it, and where its owner can be reached.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::private::make_private;

/// A data directory: `lock`, `up.json` while `up` runs, `key`, `log/`, `store/` and `closing/`.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// Sole ownership of a data directory, until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Owned {
    _lock: File,
    running: PathBuf,
}

/// Where the `up` that owns a data directory can be reached: `up.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Its HTTP service.
    pub listen: SocketAddr,
    /// Whether it serves an embedded store on the Unix socket in its directory.
    pub serves_store: bool,
}

impl Running {
    /// An address of its HTTP service.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }
}

impl DataDir {
    /// A directory, which need not exist yet.
    pub fn new(path: &Path) -> DataDir {
        DataDir(path.to_owned())
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The embedded log's directory.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The embedded store's directory.
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// The directory of closed months, unless the configuration names another.
    pub fn closing(&self) -> PathBuf {
        self.0.join("closing")
    }

    /// The file with the API key of this machine's commands.
    pub fn key(&self) -> PathBuf {
        self.0.join("key")
    }

    /// Whether anything was ever put there.
    pub fn exists(&self) -> bool {
        self.0.join("lock").exists()
    }

    /// Owns the directory, made if need be and closed to other users; `None` if somebody else does.
    pub fn try_own(&self) -> io::Result<Option<Owned>> {
        make_private(&self.0)?;
        let path = self.0.join("lock");
        let mut options = OpenOptions::new();
        let lock = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Owned {
                _lock: lock,
                running: self.running_path(),
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether a process owns the directory. Changes nothing, not even where there is none.
    pub fn is_owned(&self) -> bool {
        let lock = File::open(self.0.join("lock"));
        // Shared, so that two who look do not see each other; whoever wants to own it meanwhile
        // tries again.
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The `up` that owns the directory now.
    pub fn up(&self) -> Option<Running> {
        self.running().filter(|_| self.is_owned())
    }

    /// What the owner says of itself. May be left over from one that was killed: only while
    /// somebody owns the directory does it mean anything.
    pub fn running(&self) -> Option<Running> {
        let text = fs::read(self.running_path()).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn running_path(&self) -> PathBuf {
        self.0.join("up.json")
    }
}

impl Owned {
    /// Tells others where to reach this process.
    pub fn announce(&self, running: &Running) -> io::Result<()> {
        let part = self.running.with_extension("json.part");
        let mut file = File::create(&part)?;
        file.write_all(&serde_json::to_vec_pretty(running)?)?;
        file.sync_all()?;
        fs::rename(part, &self.running)
    }

    /// Takes back what [`Owned::announce`] said (or what somebody who was killed left behind).
    pub fn withdraw(&self) {
        // Not being there is as good.
        drop(fs::remove_file(&self.running));
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.withdraw();
    }
}
