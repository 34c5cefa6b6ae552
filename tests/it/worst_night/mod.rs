//! Accidents and outages, what on-call is told meanwhile, and the documented ways back (docs/backup.md).
//! One file per theme.

mod agree;
mod both_lost;
mod clock_jump;
mod clocks;
mod copies;
mod deleted_checkpoints;
mod deleted_table;
mod full_disk;
mod lag;
mod leaving;
mod logs;
mod lost_topic;
mod missing;
mod on_call;
mod readiness;
mod rejections;
mod restored_cluster;
mod restored_tables;
mod running_posters;
mod store_hangs;
mod store_proxy;
mod taken_over;
mod usage_rows_off;
mod without_log;
