//! Records on the wire.

mod accepted;
mod laws;
mod refused;
