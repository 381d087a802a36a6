//! The `roadstead` binary: parses the command line and leaves the rest to the library.

/// A request makes and drops some hundred small objects: with the system's allocator a tenth of the hub's CPU went there, and what
/// stalled clients had held stayed with the process for ever.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    roadstead::cli::main()
}
