//! One enclave process: started, waited for until it is locked down, and seen to its end.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::image::Image;
use crate::syscalls::{self, Child};
use crate::words;

/// How long an image may take until it is locked down. It takes 10 ms; a loaded machine more.
const LOCK_DOWN_SECONDS: i64 = 30;

/// Most bytes kept of what a process says about itself.
const WORDS_BYTES_MAX: usize = 4096;

/// A running enclave.
pub(super) struct Enclave {
    name: String,
    pid: Pid,
    process: OwnedFd,
    report: OwnedFd,
    said: Vec<u8>,
}

/// Starts an image, which finds `sockets` at descriptors 3, 4, ..., and `argument` after its name.
pub(super) fn start(
    name: &str,
    argument: Option<&str>,
    image: &Image,
    sockets: &[BorrowedFd<'_>],
) -> io::Result<Enclave> {
    let argument = argument.map(CString::new).transpose();
    let argument = argument.map_err(io::Error::other)?;
    let (report, words) = rustix::pipe::pipe_with(
        rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
    )?;
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let pid = syscalls::spawn(&Child {
        image: image.descriptor(),
        name: &CString::new(name).map_err(io::Error::other)?,
        argument: argument.as_deref(),
        null: null.as_fd(),
        report: words.as_fd(),
        sockets,
    })?;
    // Nobody else waits for children, so the number still means this child.
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Enclave {
        name: name.to_owned(),
        pid,
        process,
        report,
        said: Vec::new(),
    })
}

impl Enclave {
    /// Waits for the report of the lock-down and gives what it names as missing.
    ///
    /// # Errors
    /// How the process ended instead.
    pub(super) fn locked_down(&mut self) -> Result<Vec<String>, String> {
        loop {
            if let Some(end) = self.said.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&self.said[..end]).into_owned();
                return match words::parse_locked(&line) {
                    Some(missing) => {
                        self.said.drain(..=end);
                        Ok(missing)
                    }
                    None => Err(self.kill()),
                };
            }
            let mut polled = [
                PollFd::new(&self.report, PollFlags::IN),
                PollFd::new(&self.process, PollFlags::IN),
            ];
            let limit = Timespec {
                tv_sec: LOCK_DOWN_SECONDS,
                tv_nsec: 0,
            };
            match rustix::event::poll(&mut polled, Some(&limit)) {
                Ok(0) => return Err(format!("not locked down in time; {}", self.kill())),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.to_string()),
            }
            let ended = !polled[1].revents().is_empty();
            self.listen();
            if ended && !self.said.contains(&b'\n') {
                return Err(self.ended());
            }
        }
    }

    /// Readable when the process has ended.
    pub(super) fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Ends the process; gives the reason as [`Enclave::ended`] does.
    pub(super) fn kill(&mut self) -> String {
        // It may have ended by itself a moment ago.
        let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
        self.ended()
    }

    /// Waits for the end of the process and says what is known about it.
    pub(super) fn ended(&mut self) -> String {
        let status = loop {
            match rustix::process::waitid(WaitId::PidFd(self.process()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => break status,
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return format!("{} cannot be waited for: {errno}", self.name),
            }
        };
        self.listen();
        let how = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (_, Some(libc::SIGSYS)) => "killed for a system call that the sandbox refuses".into(),
            (_, Some(signal)) => format!("killed by signal {signal}"),
            _ => "ended".into(),
        };
        let said = String::from_utf8_lossy(&self.said);
        match said
            .lines()
            .last()
            .map(|line| line.trim_start_matches(words::ENDED).trim())
        {
            Some(last) if !last.is_empty() => {
                let last: String = last.chars().filter(|c| !c.is_control()).collect();
                format!("{} ended ({how}): {last}", self.name)
            }
            _ => format!("{} ended ({how})", self.name),
        }
    }

    fn listen(&mut self) {
        let mut buffer = [0; WORDS_BYTES_MAX];
        while let Ok(bytes) = rustix::io::read(&self.report, &mut buffer) {
            if bytes == 0 {
                return;
            }
            self.said.extend_from_slice(&buffer[..bytes]);
            let excess = self.said.len().saturating_sub(WORDS_BYTES_MAX);
            self.said.drain(..excess);
        }
    }
}

impl Drop for Enclave {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
    }
}
