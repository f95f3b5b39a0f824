//! The program under test, for the programs that start it.

use std::path::PathBuf;

use crate::Failure;

/// The binary `headroom` beside the one that runs.
///
/// # Errors
///
/// When it was not built.
pub(crate) fn headroom() -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name("headroom");
    if path.exists() { Ok(path) } else { Err("build the binary `headroom` first".into()) }
}
