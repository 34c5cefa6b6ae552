//! The command line: what each command does with the modules below.

pub mod args;
mod client;
mod data;
mod emit;
mod generate;
mod lines;
mod output;
mod send;
