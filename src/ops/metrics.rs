//! Metrics: one typed struct whose doc comments are the help texts.
