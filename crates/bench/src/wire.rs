//! A connection that carries HTTP: attested to a validating node.

use std::os::fd::{AsFd, BorrowedFd};

use bytes::Bytes;
use client::{Connection, Entrance};
use http1::{Client, ClientResponse, Options};

use crate::Problem;

/// One connection, never waiting for answers unless asked to.
pub(crate) struct Wire {
    connection: Connection,
    http: Client,
}

impl Wire {
    pub(crate) fn open(entrance: &Entrance, address: &str) -> Result<Self, Problem> {
        let connection = Connection::open(entrance, &[address.to_owned()])?;
        connection.set_nonblocking(true)?;
        Ok(Self {
            connection,
            http: Client::new(Options::application()),
        })
    }

    /// Sends encoded requests, which are `count` in number.
    pub(crate) fn send(&mut self, requests: &[u8], count: usize) -> Result<(), Problem> {
        for _ in 0..count {
            // What matters here is only that it was not HEAD.
            self.http.sent("POST");
        }
        Ok(self.connection.write(requests)?)
    }

    /// Takes in what is there now; false if nothing was.
    pub(crate) fn take_in(&mut self) -> Result<bool, Problem> {
        match self.connection.read()? {
            Some(bytes) => {
                self.http.receive(&bytes);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// The next answer of those taken in.
    pub(crate) fn next(&mut self) -> Result<Option<ClientResponse>, Problem> {
        self.http
            .next()
            .map_err(|error| Problem::Failed(format!("{}: {error}", self.connection.address())))
    }

    /// Sends one request and waits for its answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<ClientResponse, Problem> {
        self.send(request, 1)?;
        self.connection.set_nonblocking(false)?;
        let answer = loop {
            if let Some(answer) = self.next()? {
                break answer;
            }
            self.take_in()?;
        };
        self.connection.set_nonblocking(true)?;
        Ok(answer)
    }

    /// After an upgrade: the bare connection and what came behind the answer.
    pub(crate) fn into_parts(self) -> (Connection, Bytes) {
        (self.connection, self.http.into_rest())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
