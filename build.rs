//! Puts the built dashboard into the binary: the files of `web/dist/site`, or none where `make web` has not run.

#![allow(clippy::print_stdout, reason = "this is how a build script talks to cargo")]
#![allow(clippy::disallowed_methods, reason = "this is how cargo talks to a build script")]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// The folder is there in every checkout: cargo would run this at each build if it were not.
const WATCHED: &str = "web/dist";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={WATCHED}");
    println!("cargo::rerun-if-changed=build.rs");
    let site = folder("CARGO_MANIFEST_DIR")?.join(WATCHED).join("site");
    let mut files = Vec::new();
    collect(&site, &mut files)?;
    files.sort();
    let mut list = String::from("[\n");
    for file in &files {
        let path = text(file.strip_prefix(&site).map_err(io::Error::other)?)?;
        let file = text(file)?;
        let _written = writeln!(list, "    ({path:?}, include_bytes!({file:?}).as_slice()),");
    }
    list.push_str("]\n");
    fs::write(folder("OUT_DIR")?.join("dashboard.rs"), list)
}

fn folder(variable: &str) -> io::Result<PathBuf> {
    env::var(variable).map(PathBuf::from).map_err(io::Error::other)
}

fn text(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other("a path is not utf-8"))
}

/// Adds all files below `folder`; a folder that is not there has none.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
