//! Gives the package it builds a number for its own sources (`FRAMEWRIGHT_SOURCES`): what one build has kept on the disk is no business of
//! another that may compute differently, though both have the same version. Used by the packages that decide what is computed.

use std::path::{Path, PathBuf};
use std::{fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=src");
    // Cargo runs it in the directory of the package.
    let root = PathBuf::from("src");
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    // FNV-1a, 64 bits: told apart are honest changes.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        let name = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned();
        let text = fs::read(&file)?;
        let lengths = [name.len() as u64, text.len() as u64].map(u64::to_le_bytes);
        for byte in lengths.as_flattened().iter().chain(name.as_bytes()).chain(&text) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    println!("cargo::rustc-env=FRAMEWRIGHT_SOURCES={hash:016x}");
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
