//! libFuzzer's entry: the target is named by the environment, one process fuzzes one.
#![no_main]
#![allow(unsafe_code)] // libFuzzer calls a C function: the macro exports it and checks its slice

use std::path::Path;
use std::sync::OnceLock;

use fuzz::{TARGETS, Target, target};

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

/// What `fuzz/run` asks for; ends the process when that is not fuzzing.
fn choose() {
    let name = std::env::var("COCO_FUZZ_TARGET").unwrap_or_default();
    match name.as_str() {
        "list" => {
            for target in TARGETS {
                println!("{} {}", target.name, target.bytes_max);
            }
            std::process::exit(0);
        }
        "seed" => {
            let corpus = std::env::var("COCO_FUZZ_CORPUS").expect("`fuzz/run` names the corpus");
            for target in TARGETS {
                let directory = Path::new(&corpus).join(target.name);
                std::fs::create_dir_all(&directory).expect("the corpus can be written");
                for (number, seed) in (target.seeds)().iter().enumerate() {
                    let file = directory.join(format!("seed-{number}"));
                    std::fs::write(file, seed).expect("the corpus can be written");
                }
            }
            std::process::exit(0);
        }
        _ => {}
    }
    let Some(target) = target(&name) else {
        eprintln!("no target {name:?}; `fuzz/run --list` names them");
        std::process::exit(2);
    };
    CHOSEN.get_or_init(|| target);
}

libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
    (CHOSEN.get().expect("chosen at the start").run)(data);
});
