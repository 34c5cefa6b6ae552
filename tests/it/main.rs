//! The integration tests, as one binary (linking is slow).

mod oracle;
mod sim;
