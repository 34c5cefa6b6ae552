//! The data directory of a running `up`: closed to other users, without a port for its store, and not
//! to be mistaken for other tables.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Place, chat};

fn open_to_others(path: &Path) -> Vec<String> {
    let found = std::fs::symlink_metadata(path).unwrap();
    let mode = found.permissions().mode() & 0o777;
    let mut open = Vec::new();
    if mode & 0o077 != 0 {
        open.push(format!("{mode:o} {}", path.display()));
    }
    if found.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            open.extend(open_to_others(&entry.unwrap().path()));
        }
    }
    open
}

#[test]
fn nothing_in_the_data_directory_is_open_to_other_users() {
    let place = Place::new();
    let up = place.up(&[]);
    place.send(&[chat("r-1", "ann")]);
    place.wait();
    assert!(place.path("data/store/store.sock").exists());
    assert_eq!(open_to_others(&place.path("data")), Vec::<String>::new());
    up.stop();
    assert_eq!(open_to_others(&place.path("data")), Vec::<String>::new());
}

#[test]
fn a_command_with_another_store_than_the_running_up_is_refused() {
    let place = Place::new();
    let up = place.up(&[]);
    place.write(
        "other.toml",
        "[store]\nengine = 'dynamodb'\nendpoint = 'http://127.0.0.1:1'\n",
    );
    let said = place
        .tidemark(&["statement", "user", "ann", "--config", "other.toml"])
        .failed(2);
    for part in [
        "store.engine",
        "\"embedded\"",
        "\"dynamodb\"",
        "same configuration",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    up.stop();
}
