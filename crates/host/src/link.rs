//! The host's end of its socket to the manager. The host always reads from it.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use boundary::{
    Broken, Decoder, HostToManager, ManagerToHost, encode, host_to_manager::Message as ToManager,
};
use bytes::{Buf, BytesMut};
use mio::net::UnixStream;
use rustix::net::SendFlags;

/// Bytes read by one system call.
const READ_BYTES: usize = 256 << 10;

/// Most reads in one turn, so that connections get theirs: 4 MiB.
const READS_PER_TURN_MAX: usize = 16;

/// Output above which the host reads nothing more from the network: a manager that lags behind
/// makes clients wait, not this process grow.
const BACKLOG_BYTES_MAX: usize = 16 << 20;

pub(crate) struct ManagerLink {
    socket: UnixStream,
    decoder: Decoder,
    out: Outbox,
    buffer: Vec<u8>,
    /// There may be something to read.
    pub(crate) ready: bool,
    /// The manager will write no more: what it wrote is read to its end.
    closing: bool,
    ended: bool,
}

impl ManagerLink {
    /// # Errors
    /// The kernel's, when there is no descriptor left.
    pub(crate) fn new(socket: UnixStream) -> io::Result<Self> {
        let out = Outbox {
            socket: Arc::new(socket.as_fd().try_clone_to_owned()?),
            bytes: Arc::default(),
        };
        Ok(Self {
            socket,
            decoder: Decoder::default(),
            out,
            buffer: vec![0; READ_BYTES],
            ready: true,
            closing: false,
            ended: false,
        })
    }

    /// For another thread that has something to tell.
    pub(crate) fn outbox(&self) -> Outbox {
        self.out.clone()
    }

    pub(crate) fn socket(&mut self) -> &mut UnixStream {
        &mut self.socket
    }

    /// Takes note of what the event queue says.
    pub(crate) fn note(&mut self, event: &mio::event::Event) {
        self.ready |= event.is_readable();
        self.closing |= event.is_read_closed() || event.is_error();
    }

    /// Reads what is there, within a turn's share, into `messages`.
    pub(crate) fn read(&mut self, messages: &mut Vec<ManagerToHost>) -> Result<(), Broken> {
        for _ in 0..READS_PER_TURN_MAX {
            if !self.ready || self.ended {
                break;
            }
            match self.socket.read(&mut self.buffer) {
                Ok(0) => self.ended = true,
                Ok(bytes) => {
                    // Less than asked for was all there was: what comes later is a new event, and
                    // an end that came before this read has been noted (epoll(7), edge-triggered).
                    self.ready = bytes == self.buffer.len() || self.closing;
                    let received = &self.buffer[..bytes];
                    self.decoder.buffer().extend_from_slice(received);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.ended = true,
            }
            while let Some(message) = self.decoder.next()? {
                messages.push(message);
            }
        }
        Ok(())
    }

    /// Queues a message, with the time.
    pub(crate) fn tell(&mut self, message: ToManager) {
        self.out.queue(message);
    }

    /// Writes as much as the socket takes; the rest goes when it is writable again.
    pub(crate) fn write(&mut self) {
        if !self.ended {
            self.out.write();
        }
    }

    /// Output waits until the manager has read more.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.out.bytes().is_empty()
    }

    pub(crate) fn is_congested(&self) -> bool {
        self.out.bytes().len() > BACKLOG_BYTES_MAX
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }
}

/// What goes to the manager, in the order in which it is queued. The lock is held for as long as it takes to copy
/// bytes: the socket does not block.
#[derive(Clone)]
pub(crate) struct Outbox {
    socket: Arc<OwnedFd>,
    bytes: Arc<Mutex<BytesMut>>,
}

impl Outbox {
    /// Queues a message and writes at once, without a turn of the event loop. False: the socket takes no more now,
    /// and the event loop must be woken to write the rest.
    pub(crate) fn tell_now(&self, message: ToManager) -> bool {
        self.queue(message);
        self.write()
    }

    fn queue(&self, message: ToManager) {
        let message = HostToManager {
            now: now_ms(),
            message: Some(message),
        };
        encode(&message, &mut self.bytes());
    }

    /// Writes as much as the socket takes, and says whether that is all.
    fn write(&self) -> bool {
        let mut bytes = self.bytes();
        while !bytes.is_empty() {
            match rustix::net::send(&*self.socket, &bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes.advance(sent),
                Err(rustix::io::Errno::AGAIN) => return false,
                Err(rustix::io::Errno::INTR) => {}
                // What it said before it ended is still to be read; that read shows the end.
                Err(_) => bytes.clear(),
            }
        }
        true
    }

    /// Bytes are whole messages whatever happens to who holds them.
    fn bytes(&self) -> MutexGuard<'_, BytesMut> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
