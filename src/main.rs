//! The `headroom` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    headroom::cli::main()
}
