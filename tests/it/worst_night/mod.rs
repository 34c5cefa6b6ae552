//! Accidents and outages, what on-call is told meanwhile, and the documented ways back (docs/backup.md).
//! One file per theme.

mod clocks;
mod copies;
mod lag;
mod leaving;
mod logs;
mod lost_topic;
mod missing;
mod readiness;
mod rejections;
mod restored_cluster;
mod restored_tables;
mod store_hangs;
mod store_proxy;
