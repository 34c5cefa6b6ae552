mod edge;
mod log;
