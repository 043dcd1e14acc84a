//! `coco ledger` on files: what is right, what is wrong and where, and what comes back from a backup.

mod world;

mod backup;
mod corruption;
mod verify;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Exit code, standard output and standard error of `coco ledger ...`.
fn coco(arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_coco"))
        .arg("ledger")
        .args(arguments)
        .output()
        .expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = done.status.code().expect("it ended by itself");
    (code, text(done.stdout), text(done.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the test's paths are text")
}

/// `coco ledger verify --json` under the constitution of the network.
fn verify(directory: &Path, constitution: &Path) -> (i32, Value) {
    let (directory, constitution) = (text(directory), text(constitution));
    let arguments = [
        "verify",
        directory,
        "--json",
        "--constitution",
        constitution,
    ];
    let (code, out, error) = coco(&arguments);
    let verdict = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code}: {out}{error}"));
    (code, verdict)
}

/// Copies files and directories.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory of the test");
    for file in std::fs::read_dir(from).expect("as above") {
        let (path, to) = {
            let file = file.expect("as above");
            (file.path(), to.join(file.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("as above");
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .expect("a directory of the test")
        .map(|file| {
            file.expect("as above")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}
