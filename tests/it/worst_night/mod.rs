//! Accidents of a whole installation, and the documented ways back from each (docs/backup.md).

mod copies;
mod restored_tables;
