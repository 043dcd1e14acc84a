//! A connection that carries HTTP: attested to a validating node, or plain to a gateway or a peer.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use bytes::Bytes;
use client::{Connection, Entrance};
use http1::{Client, ClientResponse, Options};

use crate::Problem;

/// Bytes that one read of a plain connection takes.
const READ_BYTES: usize = 64 << 10;

/// How an endpoint is entered.
#[derive(Debug, Clone)]
pub enum Door {
    /// Mutually authenticated TLS that ends in a validating node's enclave.
    Attested(Entrance),
    /// Plain HTTP: a gateway on this machine, or somebody else's node.
    Plain,
}

/// Where something is, and how it is entered.
#[derive(Debug, Clone)]
pub struct Way {
    pub door: Door,
    /// `host:port`
    pub address: String,
}

/// One connection, never waiting for answers unless asked to, and never for room.
pub(crate) struct Wire {
    line: Line,
    http: Client,
}

enum Line {
    Attested(Box<Connection>),
    Plain(Plain),
}

/// A plain TCP connection.
struct Plain {
    stream: TcpStream,
    address: String,
    received: Vec<u8>,
    /// What the socket has not taken yet, from `written` on.
    out: Vec<u8>,
    written: usize,
}

impl Wire {
    pub(crate) fn open(way: &Way) -> Result<Self, Problem> {
        let line = match &way.door {
            Door::Attested(entrance) => {
                let mut connection =
                    Connection::open(entrance, std::slice::from_ref(&way.address))?;
                connection.set_nonblocking(true)?;
                connection.set_deferring(true);
                Line::Attested(Box::new(connection))
            }
            Door::Plain => Line::Plain(Plain::open(&way.address)?),
        };
        Ok(Self {
            line,
            http: Client::new(Options::application()),
        })
    }

    /// Sends encoded requests, which are `count` in number, or keeps what there is no room for.
    pub(crate) fn send(&mut self, requests: &[u8], count: usize) -> Result<(), Problem> {
        for _ in 0..count {
            // What matters here is only that it was not HEAD.
            self.http.sent("POST");
        }
        match &mut self.line {
            Line::Attested(connection) => Ok(connection.write(requests)?),
            Line::Plain(plain) => plain.write(requests),
        }
    }

    /// Whether something that was sent has not gone out, because the other side does not read.
    pub(crate) fn is_behind(&self) -> bool {
        match &self.line {
            Line::Attested(connection) => connection.is_behind(),
            Line::Plain(plain) => plain.written < plain.out.len(),
        }
    }

    /// Sends what was kept, as far as there is room.
    pub(crate) fn catch_up(&mut self) -> Result<(), Problem> {
        match &mut self.line {
            Line::Attested(connection) => Ok(connection.catch_up()?),
            Line::Plain(plain) => plain.flush(),
        }
    }

    /// Takes in what is there now; false if nothing was.
    pub(crate) fn take_in(&mut self) -> Result<bool, Problem> {
        match &mut self.line {
            Line::Attested(connection) => match connection.read()? {
                Some(bytes) => {
                    self.http.receive(&bytes);
                    Ok(true)
                }
                None => Ok(false),
            },
            Line::Plain(plain) => {
                let count = plain.read()?;
                self.http.receive(&plain.received[..count]);
                Ok(count > 0)
            }
        }
    }

    /// The next answer of those taken in.
    pub(crate) fn next(&mut self) -> Result<Option<ClientResponse>, Problem> {
        match self.http.next() {
            Ok(answer) => Ok(answer),
            Err(error) => Err(Problem::Failed(format!("{}: {error}", self.address()))),
        }
    }

    /// Sends one request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<ClientResponse, Problem> {
        self.send(request, 1)?;
        self.set_waiting(true)?;
        let answer = loop {
            self.catch_up()?;
            if let Some(answer) = self.next()? {
                break answer;
            }
            self.take_in()?;
        };
        self.set_waiting(false)?;
        Ok(answer)
    }

    fn set_waiting(&mut self, waiting: bool) -> Result<(), Problem> {
        match &mut self.line {
            Line::Attested(connection) => {
                connection.set_deferring(!waiting);
                Ok(connection.set_nonblocking(!waiting)?)
            }
            Line::Plain(plain) => plain
                .stream
                .set_nonblocking(!waiting)
                .map_err(|error| plain.broken(&error)),
        }
    }

    fn address(&self) -> &str {
        match &self.line {
            Line::Attested(connection) => connection.address(),
            Line::Plain(plain) => &plain.address,
        }
    }

    /// After an upgrade: the attested connection, waiting for room, and what came behind the answer.
    pub(crate) fn into_parts(self) -> Result<(Connection, Bytes), Problem> {
        match self.line {
            Line::Attested(mut connection) => {
                connection.set_deferring(false);
                Ok((*connection, self.http.into_rest()))
            }
            Line::Plain(plain) => Err(Problem::Failed(format!(
                "{}: heads are received on attested connections only",
                plain.address
            ))),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.line {
            Line::Attested(connection) => connection.as_fd(),
            Line::Plain(plain) => plain.stream.as_fd(),
        }
    }
}

impl Plain {
    fn open(address: &str) -> Result<Self, Problem> {
        let told = |error: &dyn std::fmt::Display| {
            Problem::Failed(format!("connect to {address}: {error}"))
        };
        let stream = TcpStream::connect(address).map_err(|error| told(&error))?;
        stream.set_nodelay(true).map_err(|error| told(&error))?;
        stream.set_nonblocking(true).map_err(|error| told(&error))?;
        Ok(Self {
            stream,
            address: address.to_owned(),
            received: vec![0; READ_BYTES],
            out: Vec::new(),
            written: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.out.extend_from_slice(bytes);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Problem> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(taken) => self.written += taken,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.broken(&error)),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    fn read(&mut self) -> Result<usize, Problem> {
        loop {
            match self.stream.read(&mut self.received) {
                Ok(0) => {
                    let text = format!("{} has ended the connection", self.address);
                    return Err(Problem::Failed(text));
                }
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn broken(&self, error: &std::io::Error) -> Problem {
        Problem::Failed(format!("{}: {error}", self.address))
    }
}
