//! The `headroom` binary.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A decision takes and gives back some sixty pieces of memory, for 64 requests at a time: more than glibc keeps at hand.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    headroom::cli::main()
}
