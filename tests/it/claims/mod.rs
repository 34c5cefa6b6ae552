//! The files of closed months.

mod check;
mod evm;
mod known;
