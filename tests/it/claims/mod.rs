//! The files of closed months.

pub mod check;
pub mod evm;
mod known;
