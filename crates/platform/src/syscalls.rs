//! The few system calls that have no safe wrapper.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Ends the process at once: no destructors, no exit handlers.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes no pointers and does not return.
    unsafe { libc::_exit(status) }
}

/// Gives pages that the allocator holds and nobody uses back to the kernel.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim looks at free memory of the allocator only and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// All threads share one heap. Heaps of their own would shrink by looking into a file.
pub(crate) fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: integer arguments only; called while there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Takes over a descriptor that the parent process left at this number.
///
/// # Errors
/// If there is no such descriptor.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag of a descriptor table entry and takes no pointers.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the command line says that it was left for this process; each number
    // is taken once, before anything else is opened.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: callers do this where no owner of such a descriptor exists: just after exec.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Leaves these namespaces of the parent.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: FILES, the one flag that endangers other threads' descriptors, is never passed.
    assert!(!flags.contains(rustix::thread::UnshareFlags::FILES));
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Memory that was made writable can never become executable. Linux 6.3.
pub(crate) fn deny_write_execute() -> io::Result<()> {
    // SAFETY: prctl with integer arguments only.
    let done = unsafe { libc::prctl(libc::PR_SET_MDWE, libc::PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets every group and user id of the process and drops supplementary groups.
pub(crate) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: integer arguments; a null list of length zero. libc applies them to all threads.
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

/// What a child process is given: its image and the descriptors that it finds at 3, 4, ...
pub(crate) struct Child<'a> {
    pub(crate) image: BorrowedFd<'a>,
    pub(crate) name: &'a CStr,
    /// What it is told besides.
    pub(crate) argument: Option<&'a CStr>,
    /// Standard input and output.
    pub(crate) null: BorrowedFd<'a>,
    /// Standard error.
    pub(crate) report: BorrowedFd<'a>,
    pub(crate) sockets: &'a [BorrowedFd<'a>],
}

/// Forks and executes `child.image`. The caller has one thread.
pub(crate) fn spawn(child: &Child<'_>) -> io::Result<rustix::process::Pid> {
    let wanted: Vec<RawFd> = [child.null, child.null, child.report]
        .iter()
        .chain(child.sockets)
        .map(AsRawFd::as_raw_fd)
        .collect();
    let image = child.image.as_raw_fd();
    // Moved above every number that is wanted first, so that no dup2 overwrites a source.
    let above = RawFd::try_from(wanted.len()).expect("a handful of descriptors");
    let mut moved = vec![-1; wanted.len()];
    let argument = child.argument.map_or(std::ptr::null(), CStr::as_ptr);
    let arguments = [child.name.as_ptr(), argument, std::ptr::null()];
    let environment: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: this process has one thread, and the child calls only async-signal-safe functions on
    // memory that was prepared before the fork: fcntl, dup2, prctl, fexecve, _exit.
    unsafe {
        match libc::fork() {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                for (to, from) in moved.iter_mut().zip(&wanted) {
                    *to = libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, above);
                }
                let image = libc::fcntl(image, libc::F_DUPFD_CLOEXEC, above);
                for (number, from) in (0..above).zip(&moved) {
                    if libc::dup2(*from, number) < 0 {
                        libc::_exit(126);
                    }
                }
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::fexecve(image, arguments.as_ptr(), environment.as_ptr());
                libc::_exit(127)
            }
            pid => Ok(rustix::process::Pid::from_raw(pid).expect("fork gives a positive number")),
        }
    }
}
