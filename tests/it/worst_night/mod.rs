//! Accidents and outages, and what on-call is told meanwhile. One file per theme.

mod leaving;
mod readiness;
