//! The network's side of the event loop: listeners and connections, and what the manager is told
//! about them. When the manager lags behind, nothing is accepted or read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use boundary::{
    Closed, DialFailed, Opened, Received, Surface, host_to_manager::Message as ToManager,
};
use bytes::Bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use types::limits::CONNECTIONS_MAX;

use crate::config::Config;
use crate::connections::{CLOSE_PATIENCE, Connection, DIAL_PATIENCE, Phase, Reading};
use crate::link::ManagerLink;
use crate::metrics::Metrics;

/// First token of the listeners; below it are the event loop's own.
pub(crate) const LISTENERS: usize = 2;
/// Tokens of connections are their numbers from here on. One protocol has one listener.
const CONNECTIONS: u64 = 1 << 10;

/// Bytes read from one connection in one turn; one `Received`.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// Bytes that may wait for all connections together before slow ones are closed.
const WAITING_BYTES_MAX: usize = 1 << 30;

struct Listener {
    socket: TcpListener,
    surface: Surface,
    protocol: String,
    ready: bool,
}

/// All sockets but the manager's.
pub(crate) struct Network {
    registry: Registry,
    metrics: Arc<Metrics>,
    listeners: Vec<Listener>,
    connections: BTreeMap<u64, Connection>,
    /// Connections that may have something to read.
    readable: BTreeSet<u64>,
    /// Connections with output that was not tried yet.
    unwritten: BTreeSet<u64>,
    next_connection: u64,
    waiting_bytes: usize,
}

impl Network {
    /// Binds every port of the configuration.
    pub(crate) fn listen(
        config: &Config,
        registry: Registry,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let listeners = listen(config, &registry)?;
        Ok(Self {
            registry,
            metrics,
            listeners,
            connections: BTreeMap::new(),
            readable: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            next_connection: 2,
            waiting_bytes: 0,
        })
    }

    /// Some connection has something to be read.
    pub(crate) fn may_read(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Output that waits, of all connections.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Takes note of what happened to a socket.
    pub(crate) fn note(&mut self, event: &mio::event::Event, manager: &mut ManagerLink) {
        let Token(token) = event.token();
        match (token as u64).checked_sub(CONNECTIONS) {
            None => self.listeners[token - LISTENERS].ready = true,
            Some(number) => {
                self.finish_dial(number, event, manager);
                if event.is_readable() || event.is_error() {
                    self.readable.insert(number);
                }
                if (event.is_read_closed() || event.is_error())
                    && let Some(connection) = self.connections.get_mut(&number)
                {
                    connection.closing = true;
                }
                if event.is_writable() {
                    self.unwritten.insert(number);
                }
            }
        }
    }

    /// Stops or resumes reading from a connection.
    pub(crate) fn pace(&mut self, number: u64, paused: bool) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.paused = paused;
            self.readable.insert(number);
        }
    }

    /// Queues output for a connection; one that does not read is closed.
    pub(crate) fn send(&mut self, number: u64, data: Bytes, manager: &mut ManagerLink) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        if matches!(connection.phase, Phase::Closing { .. }) {
            return;
        }
        let bytes = data.len();
        if self.waiting_bytes + bytes > WAITING_BYTES_MAX || !connection.push(data) {
            self.metrics.connections_overflowed.fetch_add(1, Relaxed);
            tracing::warn!(connection = number, "closed: the other side does not read");
            self.drop_connection(number);
            manager.tell(ToManager::Closed(Closed { connection: number }));
            return;
        }
        self.waiting_bytes += bytes;
        self.unwritten.insert(number);
    }

    /// Closes a connection once what was sent has left.
    pub(crate) fn close_gently(&mut self, number: u64) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.phase = Phase::Closing {
                until: Instant::now() + CLOSE_PATIENCE,
            };
            self.unwritten.insert(number);
        }
    }

    /// Dials the first of these addresses.
    pub(crate) fn connect(
        &mut self,
        number: u64,
        addresses: Result<Vec<SocketAddr>, String>,
        manager: &mut ManagerLink,
    ) {
        let until = Instant::now() + DIAL_PATIENCE;
        let connected = addresses.and_then(|addresses| {
            if self.connections.len() >= CONNECTIONS_MAX || self.connections.contains_key(&number) {
                return Err(format!("{CONNECTIONS_MAX} connections are open"));
            }
            let address = addresses.first().ok_or("the name has no address")?;
            TcpStream::connect(*address).map_err(|error| format!("{address}: {error}"))
        });
        let added = connected.and_then(|stream| {
            self.add(
                number,
                Connection::new(stream, Surface::Node, Phase::Dialling { until }),
            )
        });
        match added {
            Ok(()) => {
                self.metrics.connections_dialled.fetch_add(1, Relaxed);
            }
            Err(reason) => {
                manager.tell(ToManager::DialFailed(DialFailed {
                    connection: number,
                    reason,
                }));
            }
        }
    }

    fn add(&mut self, number: u64, mut connection: Connection) -> Result<(), String> {
        let token = CONNECTIONS
            .checked_add(number)
            .and_then(|token| usize::try_from(token).ok());
        let token = Token(token.ok_or("not a connection's number")?);
        self.registry
            .register(
                &mut connection.stream,
                token,
                Interest::READABLE | Interest::WRITABLE,
            )
            .map_err(|error| error.to_string())?;
        self.connections.insert(number, connection);
        self.metrics
            .connections
            .store(self.connections.len() as u64, Relaxed);
        Ok(())
    }

    fn finish_dial(&mut self, number: u64, event: &mio::event::Event, manager: &mut ManagerLink) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        if !matches!(connection.phase, Phase::Dialling { .. }) {
            return;
        }
        let failure = match (
            connection.stream.take_error(),
            connection.stream.peer_addr(),
        ) {
            (Ok(Some(error)) | Err(error), _) => error.to_string(),
            (Ok(None), Ok(remote)) if event.is_writable() => {
                connection.phase = Phase::Open;
                self.readable.insert(number);
                // A socket that is connected takes this option.
                let _ = connection.stream.set_nodelay(true);
                return manager.tell(ToManager::Opened(Opened {
                    connection: number,
                    surface: Surface::Node.into(),
                    protocol: String::new(),
                    remote: remote.to_string(),
                }));
            }
            _ => return, // not there yet
        };
        self.drop_connection(number);
        manager.tell(ToManager::DialFailed(DialFailed {
            connection: number,
            reason: failure,
        }));
    }

    /// Accepts whoever waits.
    pub(crate) fn accept(&mut self, manager: &mut ManagerLink) {
        for at in 0..self.listeners.len() {
            while self.listeners[at].ready && !manager.is_congested() {
                match self.listeners[at].socket.accept() {
                    Ok((stream, remote)) => self.accepted(at, stream, remote, manager),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.listeners[at].ready = false;
                    }
                    // Out of descriptors, or a client that has gone again: tried at the next turn.
                    Err(error) => {
                        tracing::debug!("accept: {error}");
                        break;
                    }
                }
            }
        }
    }

    fn accepted(
        &mut self,
        listener: usize,
        stream: TcpStream,
        remote: SocketAddr,
        manager: &mut ManagerLink,
    ) {
        if self.connections.len() >= CONNECTIONS_MAX {
            self.metrics.connections_refused.fetch_add(1, Relaxed);
            return;
        }
        // A socket that is connected takes this option.
        let _ = stream.set_nodelay(true);
        let number = self.next_connection;
        self.next_connection += 2;
        let surface = self.listeners[listener].surface;
        if let Err(reason) = self.add(number, Connection::new(stream, surface, Phase::Open)) {
            tracing::warn!(%remote, "connection dropped: {reason}");
            return;
        }
        self.metrics.connections_accepted.fetch_add(1, Relaxed);
        let protocol = self.listeners[listener].protocol.clone();
        manager.tell(ToManager::Opened(Opened {
            connection: number,
            surface: surface.into(),
            protocol,
            remote: remote.to_string(),
        }));
    }

    /// One read from each connection that may have something, while the manager keeps up.
    pub(crate) fn read(&mut self, buffer: &mut [u8], manager: &mut ManagerLink) {
        for number in std::mem::take(&mut self.readable) {
            if manager.is_congested() {
                self.readable.insert(number);
                continue;
            }
            let Some(connection) = self.connections.get_mut(&number) else {
                continue;
            };
            // What was skipped is looked at when the connection is there, or may be read again.
            if connection.paused || matches!(connection.phase, Phase::Dialling { .. }) {
                continue;
            }
            match (connection.read(buffer), connection.phase) {
                (Reading::Bytes(bytes), phase) => {
                    self.metrics.received_bytes.fetch_add(bytes as u64, Relaxed);
                    // Less than asked for was all there was: what comes later is a new event, and
                    // an end that came before this read has been noted (epoll(7), edge-triggered).
                    if bytes == buffer.len() || connection.closing {
                        self.readable.insert(number);
                    }
                    if phase == Phase::Open {
                        let data = Bytes::copy_from_slice(&buffer[..bytes]);
                        manager.tell(ToManager::Received(Received {
                            connection: number,
                            data,
                        }));
                    }
                }
                (Reading::Nothing, _) => {}
                (Reading::Ended, Phase::Open) => {
                    self.close_gently(number);
                    manager.tell(ToManager::Closed(Closed { connection: number }));
                }
                (Reading::Ended, _) => {}
            }
        }
    }

    /// Writes as much as the sockets take.
    pub(crate) fn write(&mut self, manager: &mut ManagerLink) {
        for number in std::mem::take(&mut self.unwritten) {
            let Some(connection) = self.connections.get_mut(&number) else {
                continue;
            };
            if matches!(connection.phase, Phase::Dialling { .. }) {
                continue;
            }
            let written = connection.write();
            let (empty, phase) = (connection.waiting_bytes() == 0, connection.phase);
            if let Ok(bytes) = &written {
                self.waiting_bytes -= bytes;
                self.metrics.sent_bytes.fetch_add(*bytes as u64, Relaxed);
            }
            match phase {
                Phase::Closing { .. } if empty || written.is_err() => self.drop_connection(number),
                Phase::Open if written.is_err() => {
                    self.drop_connection(number);
                    manager.tell(ToManager::Closed(Closed { connection: number }));
                }
                _ => {}
            }
        }
        // Closed messages of this pass leave with the next turn, which is at once.
        manager.write();
    }

    fn drop_connection(&mut self, number: u64) {
        if let Some(mut connection) = self.connections.remove(&number) {
            self.waiting_bytes -= connection.waiting_bytes();
            // It is closed in any case.
            let _ = self.registry.deregister(&mut connection.stream);
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
            self.metrics
                .connections
                .store(self.connections.len() as u64, Relaxed);
        }
    }

    /// Drops connections that had their time.
    pub(crate) fn expire(&mut self, now: Instant, manager: &mut ManagerLink) {
        let late: Vec<(u64, Phase)> = self
            .connections
            .iter()
            .filter(|(_, connection)| match connection.phase {
                Phase::Dialling { until } | Phase::Closing { until } => now > until,
                Phase::Open => false,
            })
            .map(|(number, connection)| (*number, connection.phase))
            .collect();
        for (connection, phase) in late {
            self.drop_connection(connection);
            if matches!(phase, Phase::Dialling { .. }) {
                let reason = format!("no answer within {} s", DIAL_PATIENCE.as_secs());
                manager.tell(ToManager::DialFailed(DialFailed { connection, reason }));
            }
        }
    }

    /// Tries to write to every connection that has output.
    pub(crate) fn write_all(&mut self, manager: &mut ManagerLink) {
        let waiting = self
            .connections
            .iter()
            .filter(|(_, one)| one.waiting_bytes() > 0);
        self.unwritten = waiting.map(|(number, _)| *number).collect();
        self.write(manager);
    }
}

fn listen(config: &Config, registry: &Registry) -> Result<Vec<Listener>, String> {
    let node = (config.listen.node, Surface::Node, String::new());
    let admin = (config.listen.admin, Surface::Administrative, String::new());
    let applications = config
        .protocols
        .iter()
        .map(|(protocol, one)| (one.listen, Surface::Application, protocol.clone()));
    let mut listeners = Vec::new();
    for (address, surface, protocol) in [node, admin].into_iter().chain(applications) {
        let mut socket = TcpListener::bind(address).map_err(in_use(address))?;
        let token = Token(LISTENERS + listeners.len());
        registry
            .register(&mut socket, token, Interest::READABLE)
            .map_err(|error| error.to_string())?;
        listeners.push(Listener {
            socket,
            surface,
            protocol,
            ready: true,
        });
    }
    Ok(listeners)
}

/// What to do about a port that cannot be had.
pub(crate) fn in_use(address: SocketAddr) -> impl Fn(io::Error) -> String {
    move |error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{address} is in use; stop what listens there or configure another port")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}
