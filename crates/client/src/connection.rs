//! A tunnel over a blocking TCP socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use types::Millis;

use crate::{Entrance, Node, Problem, Tunnel};

/// How long connecting and the handshake may take at one address.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that one read takes.
const READ_BYTES: usize = 64 << 10;

/// One connection to one node, checked.
pub struct Connection {
    stream: TcpStream,
    tunnel: Tunnel,
    ciphertext: Vec<u8>,
    plaintext: Vec<u8>,
    /// Records that the socket has not taken yet, from `written` on.
    out: Vec<u8>,
    written: usize,
    defers: bool,
}

impl Connection {
    /// Connects to the first of `addresses` that is there and is believed.
    ///
    /// # Errors
    /// [`Problem`]: that of the only address, or all reasons together.
    pub fn open(entrance: &Entrance, addresses: &[String]) -> Result<Self, Problem> {
        let mut problems = Vec::new();
        for address in addresses {
            match Self::open_one(entrance, address) {
                Ok(connection) => return Ok(connection),
                Err(problem) if problem.is_of_one_node() => problems.push(problem),
                Err(problem) => return Err(problem),
            }
        }
        // A node that is there and is refused tells more than one that is not.
        let said = problems
            .iter()
            .find(|p| !matches!(p, Problem::Unreachable { .. } | Problem::Broken { .. }));
        match said {
            Some(problem) => Err(problem.clone()),
            None => Err(Problem::Unreachable {
                reasons: reasons(&problems),
            }),
        }
    }

    fn open_one(entrance: &Entrance, address: &str) -> Result<Self, Problem> {
        let broken = |error: std::io::Error| Problem::Broken {
            address: address.to_owned(),
            reason: error.to_string(),
        };
        let stream = dial(address).map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
        let tunnel = entrance.tunnel(address)?;
        let mut connection = Self {
            stream,
            tunnel,
            ciphertext: vec![0; READ_BYTES],
            plaintext: Vec::new(),
            out: Vec::new(),
            written: 0,
            defers: false,
        };
        connection.flush()?;
        while connection.tunnel.ready().is_none() {
            connection.fill()?;
        }
        connection.stream.set_read_timeout(None).map_err(broken)?;
        Ok(connection)
    }

    /// Sends plaintext.
    ///
    /// # Errors
    /// [`Problem::Broken`].
    pub fn write(&mut self, plaintext: &[u8]) -> Result<(), Problem> {
        let sent = self.tunnel.send(plaintext);
        sent.map_err(|error| self.broken(error.to_string()))?;
        self.flush()
    }

    /// Waits for bytes and gives them. In non-blocking mode `Ok(None)` means that nothing is there.
    ///
    /// # Errors
    /// [`Problem`]; also when the node ends the connection.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        while self.plaintext.is_empty() {
            if !self.fill()? {
                return Ok(None);
            }
        }
        Ok(Some(std::mem::take(&mut self.plaintext)))
    }

    /// Reads once; false if nothing was there (non-blocking mode only).
    fn fill(&mut self) -> Result<bool, Problem> {
        let bytes = match self.stream.read(&mut self.ciphertext) {
            Ok(0) => return Err(self.tunnel.ended()),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error)
                if error.kind() == ErrorKind::WouldBlock && self.tunnel.ready().is_some() =>
            {
                return Ok(false);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Err(self.tunnel.ended());
            }
            Err(error) => return Err(self.broken(error.to_string())),
        };
        let read = self
            .tunnel
            .received(&self.ciphertext[..bytes], now(), &mut self.plaintext);
        let flushed = self.flush();
        read.and(flushed)?;
        if self.tunnel.is_closed_by_node() && self.plaintext.is_empty() {
            return Err(self.tunnel.ended());
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), Problem> {
        let fresh = self.tunnel.drain();
        if self.is_behind() {
            self.out.extend_from_slice(&fresh);
            let out = std::mem::take(&mut self.out);
            let taken = self.push(&out[self.written..]);
            self.out = out;
            self.written += taken?;
        } else {
            let taken = self.push(&fresh)?;
            self.out.clear();
            self.out.extend_from_slice(&fresh[taken..]);
            self.written = 0;
        }
        Ok(())
    }

    /// Writes; says how many bytes the socket took, which are all unless writes are deferred.
    fn push(&mut self, bytes: &[u8]) -> Result<usize, Problem> {
        let mut at = 0;
        while at < bytes.len() {
            match self.stream.write(&bytes[at..]) {
                Ok(taken) => at += taken,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.defers => break,
                // Half a record cannot be taken back: wait for room, in non-blocking mode too.
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room()?,
                Err(error) => return Err(self.broken(error.to_string())),
            }
        }
        Ok(at)
    }

    fn wait_for_room(&self) -> Result<(), Problem> {
        let mut polled = [rustix::event::PollFd::new(
            &self.stream,
            rustix::event::PollFlags::OUT,
        )];
        match rustix::event::poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(self.broken(errno.to_string())),
        }
    }

    fn broken(&self, reason: String) -> Problem {
        Problem::Broken {
            address: self.tunnel.address().to_owned(),
            reason,
        }
    }

    /// Whether [`Connection::read`] waits.
    ///
    /// # Errors
    /// [`Problem::Broken`].
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<(), Problem> {
        self.stream
            .set_nonblocking(nonblocking)
            .map_err(|error| self.broken(error.to_string()))
    }

    /// In non-blocking mode: [`Connection::write`] keeps what the socket does not take, instead of
    /// waiting for room. Who asks for it looks at [`Connection::is_behind`] before writing more, and
    /// calls [`Connection::catch_up`] when the socket is writable.
    pub fn set_deferring(&mut self, defers: bool) {
        self.defers = defers;
    }

    /// Whether something that was written has not gone out.
    pub fn is_behind(&self) -> bool {
        self.written < self.out.len()
    }

    /// Sends what was kept, as far as there is room.
    ///
    /// # Errors
    /// [`Problem::Broken`].
    pub fn catch_up(&mut self) -> Result<(), Problem> {
        self.flush()
    }

    /// The checked node.
    pub fn node(&self) -> &Node {
        self.tunnel
            .ready()
            .expect("a connection exists once its node was checked")
    }

    /// `host:port` of the node.
    pub fn address(&self) -> &str {
        self.tunnel.address()
    }
}

impl AsFd for Connection {
    /// For polling several connections; only [`Connection`] may read or write it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn dial(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
    for socket in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&socket, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The clock of this machine: certificates are held against it.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn reasons(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| match problem {
            Problem::Broken { address, reason } => format!("{address}: {reason}"),
            other => other.to_string(),
        })
        .collect();
    if texts.is_empty() {
        "no address was given".into()
    } else {
        texts.join("; ")
    }
}
