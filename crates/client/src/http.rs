//! HTTP/1.1 on an attested connection: one request after the other, or many in flight.

use bytes::BytesMut;
use http1::{Client, ClientResponse, Options, encode_request};

use crate::{Connection, Entrance, Problem};

/// Whether a request may be sent again when its connection broke before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Sending it twice is the same as once.
    Idempotent,
    /// The outcome of a broken connection is unknown, and the caller must find out.
    Never,
}

/// A client that stays connected and goes on to the next node when one is lost.
pub struct Http {
    entrance: Entrance,
    addresses: Vec<String>,
    /// Place in `addresses` to try first.
    first: usize,
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    http: Client,
    out: BytesMut,
}

impl Http {
    /// Connects to the first of `addresses` that is there and is believed.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn open(entrance: Entrance, addresses: Vec<String>) -> Result<Self, Problem> {
        let mut http = Self {
            entrance,
            addresses,
            first: 0,
            open: None,
        };
        http.connected()?;
        Ok(http)
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// [`Problem`]: no node could answer. With [`Retry::Never`] a broken connection leaves the
    /// outcome unknown.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        retry: Retry,
    ) -> Result<ClientResponse, Problem> {
        let mut attempts = match retry {
            Retry::Idempotent => self.addresses.len() + 1,
            Retry::Never => 1,
        };
        loop {
            attempts -= 1;
            let answer = self
                .send(method, target, headers, body)
                .and_then(|()| self.flush())
                .and_then(|()| self.receive());
            match answer {
                Err(problem) if attempts > 0 && problem.is_of_one_node() => {}
                other => return other,
            }
        }
    }

    /// Adds a request to those in flight; [`Http::flush`] sends it. Connects if need be.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), Problem> {
        let open = self.connected()?;
        let host = open.connection.address().to_owned();
        encode_request(method, target, &host, headers, body, &mut open.out);
        open.http.sent(method);
        Ok(())
    }

    /// Sends what [`Http::send`] gathered.
    ///
    /// # Errors
    /// [`Problem`]: the outcome of everything in flight is unknown.
    pub fn flush(&mut self) -> Result<(), Problem> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let out = open.out.split();
        match open.connection.write(&out) {
            Ok(()) => Ok(()),
            Err(problem) => self.lost(problem),
        }
    }

    /// Waits for the next response, in the order of requests.
    ///
    /// # Errors
    /// [`Problem`]: the outcome of everything in flight is unknown.
    pub fn receive(&mut self) -> Result<ClientResponse, Problem> {
        loop {
            if let Some(response) = self.try_receive()? {
                return Ok(response);
            }
        }
    }

    /// The next response if it is there. In blocking mode it waits for some bytes; in non-blocking
    /// mode (see [`Http::connection`]) it never waits.
    ///
    /// # Errors
    /// [`Problem`]: the outcome of everything in flight is unknown.
    pub fn try_receive(&mut self) -> Result<Option<ClientResponse>, Problem> {
        let Some(open) = &mut self.open else {
            let address = self.addresses.get(self.first).cloned().unwrap_or_default();
            return Err(Problem::Broken {
                address,
                reason: "nothing was sent".into(),
            });
        };
        match open.next() {
            Ok(Some(response)) => {
                if !response.keep_alive {
                    self.open = None;
                }
                Ok(Some(response))
            }
            Ok(None) => Ok(None),
            Err(problem) => self.lost(problem),
        }
    }

    /// Requests in flight.
    pub fn outstanding(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.http.outstanding())
    }

    /// The connection in use.
    pub fn connection(&self) -> Option<&Connection> {
        self.open.as_ref().map(|open| &open.connection)
    }

    fn connected(&mut self) -> Result<&mut Open, Problem> {
        if self.open.is_none() {
            let mut order = self.addresses.clone();
            let places = order.len().max(1);
            order.rotate_left(self.first % places);
            let connection = Connection::open(&self.entrance, &order)?;
            let found = self
                .addresses
                .iter()
                .position(|address| address == connection.address());
            self.first = found.unwrap_or(0);
            let http = Client::new(Options::application());
            self.open = Some(Open {
                connection,
                http,
                out: BytesMut::new(),
            });
        }
        Ok(self.open.as_mut().expect("connected above"))
    }

    /// Forgets the connection; the next one tries the next address first.
    fn lost<T>(&mut self, problem: Problem) -> Result<T, Problem> {
        self.open = None;
        self.first = (self.first + 1) % self.addresses.len().max(1);
        Err(problem)
    }
}

impl Open {
    fn next(&mut self) -> Result<Option<ClientResponse>, Problem> {
        let misbehaved = |connection: &Connection, error: http1::Misbehaved| Problem::Misbehaved {
            address: connection.address().to_owned(),
            reason: error.to_string(),
        };
        let there = self
            .http
            .next()
            .map_err(|error| misbehaved(&self.connection, error))?;
        if there.is_some() {
            return Ok(there);
        }
        if let Some(bytes) = self.connection.read()? {
            self.http.receive(&bytes);
        }
        self.http
            .next()
            .map_err(|error| misbehaved(&self.connection, error))
    }
}
