//! The files of closed months.

pub mod check;
mod evm;
mod known;
