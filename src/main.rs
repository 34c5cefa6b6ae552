//! The command line tool.

fn main() -> std::process::ExitCode {
    tidemark::cli::main()
}
