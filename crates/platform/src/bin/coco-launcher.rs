//! `coco-launcher`: see `--help` and [`platform::launcher`].

use std::process::ExitCode;

use platform::launcher::{Ending, HELP, Options, run};

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => match run(&options) {
            Ending::Done(reason) => {
                eprintln!("coco-launcher: {reason}");
                ExitCode::SUCCESS
            }
            Ending::Failed(reason) => {
                eprintln!("coco-launcher: {reason}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("coco-launcher: {problem}");
            ExitCode::from(2)
        }
    }
}
