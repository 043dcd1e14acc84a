//! `coco-host`: see `--help` and [`host`].

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use host::config::{Config, EXAMPLE, Format};

const HELP: &str = "\
coco-host: sockets, disk and clock of one validating node; untrusted

usage: coco-host --config FILE --manager-fd N
       coco-host --example        prints a configuration with every key explained
       coco-host --config FILE --check

  --config FILE    configuration (TOML)
  --manager-fd N   inherited descriptor (3 or above) of a connected stream socket whose other end
                   coco-launcher was given as --host-fd

SIGTERM and SIGINT stop the validating node in good order. Standard error carries the log. Exit
status: 0 stopped in good order; 2 the command line or the configuration cannot be used; 70 the
manager ended without a word or the host failed; else the manager's own code. The last line of the
log has the reason.
";

struct Arguments {
    config: PathBuf,
    manager_fd: Option<i32>,
    check: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => return unusable(&problem),
    };
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(problem) => return unusable(&problem.to_string()),
    };
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    let Some(manager_fd) = arguments.manager_fd else {
        return unusable("--manager-fd is missing; `coco node start` starts host and launcher");
    };
    let manager = match host::signals::inherited(manager_fd) {
        Ok(manager) => manager,
        Err(error) => return unusable(&format!("--manager-fd {manager_fd}: {error}")),
    };
    if let Err(problem) = start_log(&config) {
        return unusable(&problem);
    }
    match host::run(&config, manager) {
        Ok(ending) if ending.code == 0 => {
            tracing::info!("stopped: {}", ending.reason);
            ExitCode::SUCCESS
        }
        Ok(ending) => {
            tracing::error!(code = ending.code, "ended: {}", ending.reason);
            ExitCode::from(ending.code)
        }
        Err(reason) => {
            tracing::error!("ended: {reason}");
            ExitCode::from(70)
        }
    }
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut arguments = arguments;
    let (mut config, mut manager_fd, mut check) = (None, None, false);
    while let Some(option) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or(format!("{option} needs a value after it"))
        };
        match option.as_str() {
            "--config" => config = Some(value()?.into()),
            "--manager-fd" => {
                let number = value()?
                    .parse()
                    .map_err(|_| "--manager-fd takes a number")?;
                manager_fd = Some(number);
            }
            "--check" => check = true,
            "--example" => return show(EXAMPLE),
            "--help" | "-h" => return show(HELP),
            _ => return Err(format!("unknown option {option}; --help lists them")),
        }
    }
    let config = config.ok_or("--config is missing; --example prints one to start from")?;
    Ok(Some(Arguments {
        config,
        manager_fd,
        check,
    }))
}

fn show(text: &str) -> Result<Option<Arguments>, String> {
    // A reader that has seen enough closes the pipe.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(None)
}

fn unusable(problem: &str) -> ExitCode {
    eprintln!("coco-host: {problem}");
    ExitCode::from(2)
}

fn start_log(config: &Config) -> Result<(), String> {
    let level = &config.log.level;
    let filter = tracing_subscriber::EnvFilter::try_new(level)
        .map_err(|error| format!("log.level {level:?}: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter);
    match config.log.format {
        Format::Text => log.with_ansi(false).init(),
        Format::Json => log.json().init(),
    }
    Ok(())
}
