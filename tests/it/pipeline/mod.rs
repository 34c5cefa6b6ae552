//! Parts of the pipeline by themselves; as a whole it is tested by the simulator and as a process.

mod explaining;
mod many_awards;
mod memory;
mod pieces;
mod rebuilding;
mod recover;
