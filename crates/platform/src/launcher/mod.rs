//! The launcher: measures images, starts them, and signs evidence about the manager.
//!
//! It is a small process of its own, apart from the host and as another user. What it vouches for:
//! this image (SHA-384 of a sealed copy in memory, so that what is measured is what runs) was
//! started by me, with these sandbox features missing. Source: Coco 2017, "TEE manifest"; the
//! honest limits of a software TEE are in docs/threat-model.md: root is believed.
//!
//! Deliberately absent: restarts. When the manager ends the validating node ends; a worker is
//! started again when the manager asks for it.

mod evidence;
mod image;
mod options;
mod serve;
mod start;

use std::io;
use std::os::fd::BorrowedFd;

pub use evidence::PlatformIdentity;
pub use image::{Image, Measurement};
pub use options::{HELP, Options};
pub use serve::{Ending, run};

/// Sends `bytes` (not empty) with a descriptor attached to the first of them.
pub(crate) fn send_with_descriptor(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: BorrowedFd<'_>,
) -> io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let descriptors = [descriptor];
    let mut sent = 0;
    while sent < bytes.len() {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if sent == 0 {
            let attached = control.push(SendAncillaryMessage::ScmRights(&descriptors));
            assert!(attached, "the buffer was made for one descriptor");
        }
        let part = [io::IoSlice::new(&bytes[sent..])];
        match rustix::net::sendmsg(socket, &part, &mut control, SendFlags::NOSIGNAL) {
            Ok(more) => sent += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
