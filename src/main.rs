//! The `roadstead` binary: parses the command line and leaves the rest to the library.

fn main() -> std::process::ExitCode {
    roadstead::cli::main()
}
