//! One process of a validating node: started with a socket, listened to, seen to its end.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use crate::failure::{Doing, Failure};

/// Longest last words that are kept.
const WORDS_BYTES_MAX: usize = 2000;

/// A child process. Ends with this value.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    said: Arc<Mutex<String>>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`, leaves `socket` open to it and tells it the number after `option`.
    pub(super) fn start(
        name: &'static str,
        mut command: std::process::Command,
        option: &str,
        socket: OwnedFd,
    ) -> Result<Self, Failure> {
        // Nothing else is started between this and the closing of `socket` below.
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty())
            .map_err(|errno| Failure::failed(format!("leave a socket to {name}: {errno}")))?;
        command.arg(option).arg(socket.as_raw_fd().to_string());
        let mut command = Command::from(command);
        // Ctrl-C is for this process; it tells the others in the right order.
        command.process_group(0).kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().doing(|| format!("start {name}"))?;
        let said = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(listen(stderr, said.clone()));
        }
        Ok(Self {
            name,
            child,
            said,
            status: None,
        })
    }

    /// Waits for the end.
    pub(super) async fn ended(&mut self) {
        if let Ok(status) = self.child.wait().await {
            self.status = Some(status);
        }
    }

    /// Waits for the end and brings it about if it takes too long.
    pub(super) async fn end_within(&mut self, patience: Duration) {
        if self.status.is_none() && tokio::time::timeout(patience, self.ended()).await.is_err() {
            self.kill();
            self.ended().await;
        }
    }

    pub(super) fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let number = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = number {
            // It may have ended a moment ago; it was not waited for, so the number is still its own.
            let _ = kill_process(pid, signal);
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.status.is_some()
    }

    pub(super) fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    pub(super) fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// How it ended and what it said last.
    pub(super) fn last_words(&self) -> String {
        let how = self
            .status
            .map_or_else(|| "still running".to_owned(), |status| status.to_string());
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        format!(
            "{} ({how}): {}",
            self.name,
            if said.is_empty() {
                "it said nothing"
            } else {
                &said
            }
        )
    }
}

/// Passes on what the process logs, and keeps the last line.
async fn listen(stderr: ChildStderr, said: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let text = String::from_utf8_lossy(&line);
        eprintln!("{text}");
        if !text.trim().is_empty() {
            let kept: String = text
                .chars()
                .filter(|c| !c.is_control())
                .take(WORDS_BYTES_MAX)
                .collect();
            *said.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        }
    }
}
