//! The files of closed months.

mod check;
mod known;
