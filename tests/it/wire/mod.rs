//! Records on the wire.
