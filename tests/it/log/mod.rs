//! The log layer: formats, topics, and the embedded log.

mod embedded;
mod posting;
mod record;
mod rejected;
mod topics;
