//! The pipeline: RATE and POST.
