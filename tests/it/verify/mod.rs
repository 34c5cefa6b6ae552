//! `tidemark verify`.

mod rows;
