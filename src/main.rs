//! The `roadstead` binary: parses the command line and leaves the rest to the library.

/// Memory that a burst took goes back to the system while the process is idle, and a small request costs less than with the C library's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    roadstead::cli::main()
}
