//! What a process is given by its parent and its operator: descriptors, signals, a user.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes over a descriptor that the parent left at this number.
///
/// # Errors
/// If there is none.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag of a descriptor table entry and takes no pointers.
    if number < 3 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is open, and the command line says that it was left for this process; this is
    // called once, before anything else is opened.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Calls `stop` in a thread of its own at each SIGTERM and SIGINT, which no longer end the process.
/// To be called before any other thread is started.
///
/// # Errors
/// If no thread can be started.
pub fn on_stop(mut stop: impl FnMut() + Send + 'static) -> io::Result<()> {
    // A file that may not grow is an error like another, with a reason, and no signal.
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // SAFETY: a signal set is plain data that sigemptyset initialises; pthread_sigmask and sigwait
    // get pointers to live locals.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            loop {
                let mut signal = 0;
                // SAFETY: as above.
                if unsafe { libc::sigwait(&raw const set, &raw mut signal) } == 0 {
                    stop();
                }
            }
        })?;
    Ok(())
}

/// Becomes another user and group, with no other groups. For root only.
///
/// # Errors
/// If the kernel refuses.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: integer arguments and a null list of length zero.
    let done = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setresgid(gid, gid, gid) == 0
            && libc::setresuid(uid, uid, uid) == 0
    };
    if done {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
