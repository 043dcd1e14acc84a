//! What a command ends with: a sentence that says what to do, and an exit code that a script may read.

use std::fmt;
use std::process::ExitCode;

/// Exit codes; `coco --help` and docs/command.md list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Something failed while running.
    Failed = 1,
    /// The command line, a configuration or an input file is wrong.
    Input = 2,
    /// The network or a node refused: wrong network, unknown actor, evidence not accepted.
    Refused = 3,
    /// This machine lacks something: a port, a built image, a kernel feature, a permission.
    Machine = 4,
    /// A verification found something that is wrong.
    Wrong = 5,
    /// A ledger ends in the middle of an entry, or a snapshot stood for some; what is there is right.
    Incomplete = 6,
}

/// Shown by `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed while running
  2  wrong command line, configuration or input file
  3  refused by the network or by a node
  4  this machine lacks something: a port, an image, a kernel feature, a permission
  5  a verification found something wrong
  6  a ledger is incomplete: a cut last entry, or entries that a snapshot stood for";

/// A failure: what was being done, why it failed, what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    pub(crate) fn input(text: impl Into<String>) -> Self {
        Self::new(Code::Input, text)
    }

    pub(crate) fn machine(text: impl Into<String>) -> Self {
        Self::new(Code::Machine, text)
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(Code::Failed, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        ExitCode::from(failure.code as u8)
    }
}

impl From<client::Problem> for Failure {
    fn from(problem: client::Problem) -> Self {
        let code = match &problem {
            client::Problem::Identity(_) => Code::Input,
            client::Problem::Unreachable { .. } | client::Problem::Broken { .. } => Code::Failed,
            _ => Code::Refused,
        };
        Self::new(code, problem.to_string())
    }
}

/// Adds what was being done to an error of the operating system.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::NotFound => Code::Input,
                std::io::ErrorKind::PermissionDenied => Code::Machine,
                _ => Code::Failed,
            };
            Failure::new(code, format!("{}: {error}", what()))
        })
    }
}
