//! The data directory is for its user alone: it holds a key, and everybody's numbers.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::Mode;

/// What tidemark itself puts into a data directory.
const OWN_ENTRIES: [&str; 7] = [
    "lock", "key", "key.part", "up.json", "log", "store", "closing",
];
/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Makes the directory if it is not there, and closes it and what tidemark keeps in it to other
/// users. From then on, this process creates files that only its user can read.
///
/// A directory that holds other things as well is left as it is (`--data .` must not lock a home
/// directory); what tidemark keeps there is closed all the same.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut is_ours = true;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if OWN_ENTRIES.iter().any(|own| entry.file_name() == *own) {
            close(&entry.path());
        } else {
            is_ours = false;
        }
    }
    if is_ours {
        close(dir);
    }
    Ok(())
}

/// Takes all permissions of others away, from what is in a directory first. Where that fails, the
/// rest is closed all the same.
fn close(path: &Path) {
    if let Err(error) = try_close(path) {
        tracing::warn!(
            event = "data.open_to_others",
            path = %path.display(),
            %error,
            "cannot make this file private; other users of this machine may read it"
        );
    }
}

fn try_close(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let mode = found.permissions().mode();
    if found.is_symlink() || mode & OTHERS == 0 {
        return Ok(());
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            close(&entry?.path());
        }
    }
    fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        let found = fs::metadata(path).expect("it is there");
        found.permissions().mode() & 0o777
    }

    fn open_file(path: &Path) {
        fs::write(path, "x").expect("it can be written");
        fs::set_permissions(path, Permissions::from_mode(0o644)).expect("it is ours");
    }

    fn open_dir(path: &Path) {
        fs::create_dir(path).expect("it can be made");
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
    }

    #[test]
    fn a_new_directory_and_one_of_an_older_version_are_closed_to_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let new = dir.path().join("a/data");
        make_private(&new).expect("it can be made");
        assert_eq!(mode(&new), 0o700);

        let old = dir.path().join("old");
        open_dir(&old);
        open_dir(&old.join("log"));
        open_file(&old.join("log/segment"));
        open_file(&old.join("key"));
        make_private(&old).expect("it is ours");
        for (path, expected) in [
            (old.clone(), 0o700),
            (old.join("log"), 0o700),
            (old.join("log/segment"), 0o600),
            (old.join("key"), 0o600),
        ] {
            assert_eq!(mode(&path), expected, "{}", path.display());
        }
    }

    #[test]
    fn a_directory_that_holds_other_things_keeps_its_mode_and_theirs() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().join("home");
        open_dir(&home);
        open_file(&home.join("letter"));
        open_file(&home.join("key"));
        make_private(&home).expect("it is ours");
        assert_eq!(mode(&home), 0o755);
        assert_eq!(mode(&home.join("letter")), 0o644);
        assert_eq!(mode(&home.join("key")), 0o600);
    }
}
