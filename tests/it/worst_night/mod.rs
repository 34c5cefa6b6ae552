//! Accidents and outages, and what on-call is told meanwhile. One file per theme.

mod clocks;
mod lag;
mod leaving;
mod logs;
mod missing;
mod readiness;
mod rejections;
mod store_hangs;
mod store_proxy;
