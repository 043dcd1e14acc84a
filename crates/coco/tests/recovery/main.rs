//! The ledger of a lost network, opened by M actors with files alone; and an auditor who reads the epochs
//! that a vote granted, and neither neighbour.

#[path = "../ledger/world.rs"]
mod world;

mod keyed;

mod audit;
mod order;
mod recover;

use std::path::Path;
use std::process::Command;

/// Exit code, standard output and standard error of `coco ...`.
fn coco(arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_coco"))
        .args(arguments)
        .output()
        .expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = done.status.code().expect("it ended by itself");
    (code, text(done.stdout), text(done.stderr))
}

/// The same, which must succeed.
fn done(arguments: &[&str]) -> String {
    let (code, out, error) = coco(arguments);
    assert_eq!(code, 0, "{arguments:?}: {out}{error}");
    out
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the test's paths are text")
}
