mod domain;
mod wire;
