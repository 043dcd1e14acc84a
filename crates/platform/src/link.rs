//! One end of a stream socket between two processes of a VN: frames in, frames out, never blocking.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use boundary::{Broken, Decoder, Message, encode};
use bytes::{Buf, BytesMut};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};

/// Bytes read by one system call. A frame with a batch of 100 transactions has 20 kB to 100 kB.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// Output waiting for one reader above which its owner takes no more work from above. Twice the
/// largest batch, so that a full batch never waits for half of itself.
const BACKLOG_BYTES_MAX: usize = 16 << 20;

/// Descriptors that may wait for their frame: workers started in one breath.
const DESCRIPTORS_MAX: usize = 64;

/// What reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Everything that was there has been read.
    Drained,
    /// There may be more.
    More,
    /// The other side has gone.
    Ended,
}

/// A framed, non-blocking stream socket.
pub(crate) struct Link {
    socket: OwnedFd,
    decoder: Decoder,
    out: BytesMut,
    descriptors: VecDeque<OwnedFd>,
    /// There may be something to read.
    ready: bool,
    /// The next read waits until there is something.
    waits: bool,
    ended: bool,
}

impl Link {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            decoder: Decoder::default(),
            out: BytesMut::new(),
            descriptors: VecDeque::new(),
            ready: true,
            waits: false,
            ended: false,
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Says whether there is something to read.
    pub(crate) fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// For whoever has nothing else to do: the next read is also the wait for it, which spares a
    /// system call.
    pub(crate) fn wait_in_read(&mut self) {
        self.waits = true;
    }

    /// Reads once. Descriptors that someone attached are not accepted.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Reading {
        let flags = match std::mem::take(&mut self.waits) {
            true => RecvFlags::empty(),
            false => RecvFlags::DONTWAIT,
        };
        let got = rustix::net::recv(&self.socket, &mut *buffer, flags).map(|(bytes, _)| bytes);
        self.received(got, buffer)
    }

    /// Reads once, and keeps descriptors that came along for [`Link::descriptor`].
    pub(crate) fn read_with_descriptors(&mut self, buffer: &mut [u8]) -> Reading {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = rustix::net::recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            flags,
        )
        .map(|message| message.bytes);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                self.descriptors.extend(received.take(DESCRIPTORS_MAX));
            }
        }
        self.received(got, buffer)
    }

    fn received(&mut self, got: Result<usize, Errno>, buffer: &[u8]) -> Reading {
        match got {
            Ok(0) => {
                self.ended = true;
                Reading::Ended
            }
            Ok(bytes) => {
                self.decoder.buffer().extend_from_slice(&buffer[..bytes]);
                if bytes == buffer.len() {
                    Reading::More
                } else {
                    Reading::Drained
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => Reading::Drained,
            Err(_) => {
                self.ended = true;
                Reading::Ended
            }
        }
    }

    /// The next whole message.
    pub(crate) fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Broken> {
        self.decoder.next()
    }

    /// The descriptor that came along with the message just taken.
    pub(crate) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Adds a message to the output; [`Link::write`] sends it.
    pub(crate) fn push<M: Message>(&mut self, message: &M) {
        if !self.ended {
            encode(message, &mut self.out);
        }
    }

    /// Writes as much as the socket takes now.
    pub(crate) fn write(&mut self) {
        while !self.out.is_empty() && !self.ended {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, &self.out, flags) {
                Ok(bytes) => self.out.advance(bytes),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.ended = true,
            }
        }
        if self.ended || (self.out.is_empty() && self.out.capacity() > BACKLOG_BYTES_MAX) {
            self.out = BytesMut::new(); // a rare large message does not hold its memory for ever
        }
    }

    /// Writes everything, waiting for the other side where it must.
    pub(crate) fn write_out(&mut self) {
        loop {
            self.write();
            if !self.is_waiting() {
                return;
            }
            let room = PollFd::new(&self.socket, PollFlags::OUT);
            // An interruption only tries again sooner.
            let _ = rustix::event::poll(&mut [room], None);
        }
    }

    /// Uses the socket no more, and lets the other side know.
    pub(crate) fn give_up(&mut self) {
        // It may be gone already.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        self.ended = true;
        self.out = BytesMut::new();
    }

    /// Output waits for the other side to read.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.out.is_empty()
    }

    /// So much output waits that no more work should be taken on.
    pub(crate) fn is_congested(&self) -> bool {
        self.out.len() > BACKLOG_BYTES_MAX
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }
}

/// Two connected stream sockets, closed on exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use boundary::{HostToManager, Received, host_to_manager::Message as FromHost};

    fn received(bytes: usize) -> HostToManager {
        let received = Received {
            connection: 2,
            data: vec![7; bytes].into(),
        };
        HostToManager {
            now: 1,
            message: Some(FromHost::Received(received)),
        }
    }

    #[test]
    fn a_frame_larger_than_the_socket_takes_arrives_whole() {
        let (a, b) = pair().expect("sockets");
        let (mut a, mut b) = (Link::new(a), Link::new(b));
        a.push(&received(5 << 20));
        let mut buffer = vec![0; READ_BYTES];
        let message = loop {
            a.write();
            assert_ne!(b.read(&mut buffer), Reading::Ended);
            if let Some(message) = b.next::<HostToManager>().expect("well-formed") {
                break message;
            }
        };
        assert_eq!(message, received(5 << 20));
        assert!(!a.is_waiting());
    }

    #[test]
    fn a_link_whose_other_side_has_gone_holds_no_output() {
        let (a, b) = pair().expect("sockets");
        let mut a = Link::new(a);
        drop(b);
        a.push(&received(100));
        a.write();
        assert!(a.is_ended() && !a.is_waiting());
    }

    #[test]
    fn a_descriptor_sent_to_a_reader_that_expects_none_is_not_taken() {
        let (a, b) = pair().expect("sockets");
        let (sent, _kept) = pair().expect("sockets");
        let mut b = Link::new(b);
        crate::launcher::send_with_descriptor(a.as_fd(), b"x", sent.as_fd()).expect("room");
        let mut buffer = vec![0; 16];
        assert_eq!(b.read(&mut buffer), Reading::Drained);
        assert!(b.descriptor().is_none());
    }
}
