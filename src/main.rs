//! The command line tool.

/// Rating allocates a few short lists per account and chunk; this allocator is measurably faster at
/// it than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tidemark::cli::main()
}
