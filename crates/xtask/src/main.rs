//! Chores of the project. `cargo sandbox` is an alias of `cargo run -p xtask -- sandbox`.
//!
//! An enclave image is measured as a file, so images are release builds of their own binaries; this
//! builds them together with the command that starts them, and gives the place to the command.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo run -p xtask -- TASK
  images              builds the release binaries: coco, coco-host, coco-launcher, coco-manager, coco-worker-*
  sandbox [ARGS...]   the same, then runs `coco sandbox ARGS...`";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let task = arguments.next().unwrap_or_default();
    let done = match task.to_str() {
        Some("images") => build(),
        Some("sandbox") => build().and_then(|()| {
            let error = Command::new(target().join("release/coco"))
                .arg("sandbox")
                .args(arguments)
                .exec();
            Err(format!("start target/release/coco: {error}"))
        }),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The whole workspace, so that images are the same as after `cargo build --release --workspace`:
    // which features their dependencies have depends on what is built together.
    command.args(["build", "--release", "--workspace", "--bins"]);
    let status = command
        .status()
        .map_err(|error| format!("start cargo: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("the build failed; its messages are above".to_owned())
    }
}

/// The target directory that this program was built into.
fn target() -> std::path::PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors()
        .nth(2)
        .map_or_else(|| "target".into(), std::path::Path::to_path_buf)
}
