//! Accidents of a whole installation, the documented ways back from each (docs/backup.md), and what
//! on-call is told meanwhile. One file per theme.

mod clocks;
mod lag;
mod leaving;
mod logs;
mod missing;
mod readiness;
mod rejections;
mod restored_tables;
mod store_hangs;
mod store_proxy;
