//! Links the enclave images statically where the C library can be: then the measurement covers all
//! of the code that runs, and not the path of a library on some disk.
//!
//! rustc links a glibc target dynamically and names its libraries after switching the linker to
//! dynamic ones, so `-static-pie` alone is undone. Linker scripts of the same names, found first,
//! lead each of them to its archive. Only the binaries of this crate are affected; build scripts
//! and procedural macros stay dynamic. Where an archive is missing the images stay dynamic, and a
//! warning says so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A library that rustc names, and the archives that stand for it.
const LIBRARIES: [(&str, &[&str]); 3] = [
    ("gcc_s", &["libgcc_eh.a", "libgcc.a", "libc.a"]),
    ("c", &["libc.a"]),
    ("m", &["libm.a"]),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |key: &str, value: &str| env::var(key).is_ok_and(|found| found == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    if env::var("HOST") != env::var("TARGET") {
        println!("cargo::warning=cross build: the enclave images are linked dynamically");
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    match write_scripts(&out) {
        Ok(()) => {
            println!("cargo::rustc-link-arg-bins=-static-pie");
            println!("cargo::rustc-link-arg-bins=-L{}", out.display());
        }
        Err(missing) => println!(
            "cargo::warning={missing} is not installed: the enclave images are linked dynamically"
        ),
    }
}

fn write_scripts(out: &Path) -> Result<(), String> {
    for (library, archives) in LIBRARIES {
        let paths: Result<Vec<String>, String> = archives.iter().map(|name| find(name)).collect();
        let script = format!("GROUP({})\n", paths?.join(" "));
        let path = out.join(format!("lib{library}.so"));
        fs::write(&path, script).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    // The start file of a static position-independent program.
    find("rcrt1.o").map(drop)
}

/// Where the C compiler finds a file of its own.
fn find(name: &str) -> Result<String, String> {
    let output = Command::new("cc")
        .arg(format!("-print-file-name={name}"))
        .output();
    let found = output
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let path = found
        .map(|path| path.trim().to_owned())
        .filter(|path| Path::new(path).is_absolute());
    path.ok_or_else(|| name.to_owned())
}
