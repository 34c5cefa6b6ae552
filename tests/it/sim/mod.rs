//! The seeded simulator: one seed is one schedule over a simulated log, store and clock, driving the real rating and posting code.

mod adapter;
mod backlog;
mod checks;
mod clock;
mod clock_jumps;
mod db;
mod engine;
mod epochs;
mod faults;
mod heartbeats;
mod log;
mod losses;
mod lost_checkpoints;
mod mishaps;
mod notes;
mod queues;
mod quiet;
mod recovery;
mod rivals;
mod rollback;
mod run;
mod seals;
mod seeds;
mod taking_up;
mod workload;
mod world;
