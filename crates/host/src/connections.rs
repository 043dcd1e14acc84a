//! TCP connections: bytes in, bounded bytes out, never blocking.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use boundary::Surface;
use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use types::limits::{APPLICATION_REQUEST_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};

/// How long a dialled connection may take to be there.
pub(crate) const DIAL_PATIENCE: Duration = Duration::from_secs(5);

/// How long a closed connection may take to deliver what was sent before.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Most parts of output that one system call takes.
const PARTS_MAX: usize = 64;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Dialling {
        until: Instant,
    },
    Open,
    /// Nothing more is read, and nothing more accepted to be sent.
    Closing {
        until: Instant,
    },
}

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Bytes(usize),
    Nothing,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) phase: Phase,
    /// The manager wants nothing more from it for now.
    pub(crate) paused: bool,
    /// The other side will write no more: what it wrote is read to its end.
    pub(crate) closing: bool,
    surface: Surface,
    out: VecDeque<Bytes>,
    out_bytes: usize,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, surface: Surface, phase: Phase) -> Self {
        Self {
            stream,
            phase,
            paused: false,
            closing: false,
            surface,
            out: VecDeque::new(),
            out_bytes: 0,
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Reading {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => Reading::Ended,
                Ok(bytes) => Reading::Bytes(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Reading::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => Reading::Ended,
            };
        }
    }

    /// Queues output. `false`: the other side does not read, and more would not be kept for it.
    #[must_use]
    pub(crate) fn push(&mut self, data: Bytes) -> bool {
        // Room for two of the largest messages of the surface: one that is being read by the other
        // side, one that waits.
        let limit = match self.surface {
            Surface::Node => 2 * PEER_MESSAGE_BYTES_MAX,
            _ => 2 * APPLICATION_REQUEST_BYTES_MAX,
        };
        if self.out_bytes + data.len() > limit {
            return false;
        }
        if !data.is_empty() {
            self.out_bytes += data.len();
            self.out.push_back(data);
        }
        true
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.out_bytes
    }

    /// Writes as much as the socket takes and gives the number of bytes.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn write(&mut self) -> io::Result<usize> {
        let mut total = 0;
        while !self.out.is_empty() {
            let mut parts = [IoSlice::new(&[]); PARTS_MAX];
            let mut count = 0;
            for (part, data) in parts.iter_mut().zip(&self.out) {
                *part = IoSlice::new(data);
                count += 1;
            }
            match self.stream.write_vectored(&parts[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    total += bytes;
                    self.sent(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn sent(&mut self, mut bytes: usize) {
        self.out_bytes -= bytes;
        while let Some(front) = self.out.front_mut().filter(|_| bytes > 0) {
            if front.len() > bytes {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            self.out.pop_front();
        }
    }
}
