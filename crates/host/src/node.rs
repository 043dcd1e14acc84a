//! The event loop: one thread between the network, the disk thread and the manager.
//!
//! Each turn takes what has happened, tells the manager, carries out what the manager says, and
//! writes everything with few system calls. Nothing in a turn blocks: names are resolved and the
//! agent is asked in threads of their own. When the manager lags behind, the network is not read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use boundary::{
    Closed, DialFailed, HostToManager, Log, ManagerToHost, Opened, ProtocolSettings, Received,
    Start, Stop, Surface, Tick, TupleSigned, host_to_manager::Message as ToManager,
    manager_to_host::Message as FromManager,
};
use bytes::Bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use types::limits::CONNECTIONS_MAX;

use crate::agent::{self, Agent};
use crate::config::{self, Config};
use crate::connections::{CLOSE_PATIENCE, Connection, DIAL_PATIENCE, Phase, Reading};
use crate::disk::{Disk, Done, Job};
use crate::ledger_files::LedgerFiles;
use crate::link::ManagerLink;
use crate::metrics::{self, Metrics};
use crate::signals;

const MANAGER: Token = Token(0);
const WAKER: Token = Token(1);
const LISTENERS: usize = 2;
/// Tokens of connections are their numbers from here on. One protocol has one listener.
const CONNECTIONS: u64 = 1 << 10;

/// Where the ledger is, within the host's directory.
const LEDGER: &str = "ledger";

/// Bytes read from one connection in one turn; one `Received`.
const READ_BYTES: usize = 256 << 10;

/// Bytes that may wait for all connections together before slow ones are closed.
const WAITING_BYTES_MAX: usize = 1 << 30;

/// How long the manager may take to end after it was asked to, or after its storage failed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long what was sent last may take to leave.
const LAST_WORDS_PATIENCE: Duration = Duration::from_millis(500);

/// How a validating node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Exit status: 0 in good order, else the manager's code, or 70 if it ended without a word.
    pub code: u8,
    pub reason: String,
}

/// Exit status when the manager ended without a word or the host itself failed.
const FAILED: u8 = 70;

/// What other threads tell the event loop.
enum Happened {
    Disk(Done),
    Tuple(TupleSigned),
    Resolved {
        connection: u64,
        addresses: Result<Vec<SocketAddr>, String>,
    },
    StopWanted,
}

/// A sender that wakes the event loop.
#[derive(Clone)]
struct Notify {
    sender: Sender<Happened>,
    waker: Arc<Waker>,
}

impl Notify {
    fn send(&self, happened: Happened) {
        // The loop may have ended; then nobody needs to know.
        if self.sender.send(happened).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// Runs the host until the manager ends.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: &Config, manager: OwnedFd) -> Result<Ending, String> {
    Node::start(config, manager)?.serve()
}

struct Listener {
    socket: TcpListener,
    surface: Surface,
    protocol: String,
    ready: bool,
}

struct Node {
    poll: Poll,
    manager: ManagerLink,
    happened: Receiver<Happened>,
    notify: Notify,
    listeners: Vec<Listener>,
    connections: BTreeMap<u64, Connection>,
    /// Connections that may have something to read.
    readable: BTreeSet<u64>,
    /// Connections with output that was not tried yet.
    unwritten: BTreeSet<u64>,
    next_connection: u64,
    waiting_bytes: usize,
    disk: Disk,
    agent: Option<Agent>,
    metrics: Arc<Metrics>,
    tick: Duration,
    next_tick: Instant,
    stop_by: Option<(Instant, String)>,
    exit: Option<Ending>,
}

impl Node {
    fn start(config: &Config, manager: OwnedFd) -> Result<Self, String> {
        let poll = Poll::new().map_err(|error| format!("no event queue: {error}"))?;
        let waker =
            Waker::new(poll.registry(), WAKER).map_err(|error| format!("no waker: {error}"))?;
        let (sender, happened) = channel();
        let notify = Notify {
            sender,
            waker: Arc::new(waker),
        };
        let on_stop = notify.clone();
        signals::on_stop(move || on_stop.send(Happened::StopWanted))
            .map_err(|error| format!("no thread for signals: {error}"))?;

        let start = start_message(config)?;
        let listeners = listen(config, &poll)?;
        let metrics = Arc::new(Metrics::default());
        if let Some(address) = config.listen.metrics {
            let listener = std::net::TcpListener::bind(address).map_err(in_use(address))?;
            metrics::serve(listener, metrics.clone()).map_err(|error| error.to_string())?;
        }
        let agent = config.agent.socket.as_deref().map(Agent::at);
        settle(config)?;
        // Whoever left the manager's socket supervises this process: without it, end in good order.
        // Said after the change of user, which would undo it.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .map_err(|errno| format!("cannot follow the parent process: {errno}"))?;
        raise_descriptor_limit();

        let files = LedgerFiles::open(Path::new(LEDGER)).map_err(|e| e.to_string())?;
        let ledger_last = files.last();
        let answers = notify.clone();
        let disk = Disk::start(files, metrics.clone(), move |done| {
            answers.send(Happened::Disk(done));
        })
        .map_err(|error| format!("no disk thread: {error}"))?;

        let manager = UnixStream::from(manager);
        manager
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        let mut manager = ManagerLink::new(mio::net::UnixStream::from_std(manager));
        poll.registry()
            .register(
                manager.socket(),
                MANAGER,
                Interest::READABLE | Interest::WRITABLE,
            )
            .map_err(|error| format!("the manager's descriptor is no socket: {error}"))?;
        let mut this = Self {
            poll,
            manager,
            happened,
            notify,
            listeners,
            connections: BTreeMap::new(),
            readable: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            next_connection: 2,
            waiting_bytes: 0,
            disk,
            agent,
            metrics,
            tick: Duration::from_millis(config.tick_ms),
            next_tick: Instant::now(),
            stop_by: None,
            exit: None,
        };
        tracing::info!(
            node = %config.listen.node, admin = %config.listen.admin, ledger_last, "host started"
        );
        this.tell(ToManager::Start(Start {
            ledger_last,
            ..start
        }));
        Ok(this)
    }

    fn serve(mut self) -> Result<Ending, String> {
        let mut events = Events::with_capacity(1024);
        let mut messages = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.manager.write();
            self.write_connections();
            let timeout = self.timeout();
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(format!("the event queue failed: {error}"));
                }
                _ => {}
            }
            for event in &events {
                self.note(event);
            }
            self.see_happened();
            let read = self.manager.read(&mut messages);
            for message in messages.drain(..) {
                self.carry_out(message);
            }
            if let Some(ending) = self.exit.take() {
                return Ok(self.end(ending));
            }
            read.map_err(|broken| format!("from the manager: {broken}"))?;
            if self.manager.is_ended() {
                let reason = "the manager ended without a word; the launcher's log says more";
                return Ok(self.end(Ending {
                    code: FAILED,
                    reason: reason.into(),
                }));
            }
            self.accept();
            self.read_connections(&mut buffer);
            self.keep_time();
            if let Some((by, reason)) = &self.stop_by
                && Instant::now() > *by
            {
                let reason = format!("{reason}; the manager did not end in time");
                return Ok(self.end(Ending {
                    code: FAILED,
                    reason,
                }));
            }
        }
    }

    fn timeout(&self) -> Duration {
        let may_read = !self.readable.is_empty() && !self.manager.is_congested();
        if may_read || self.manager.ready {
            return Duration::ZERO;
        }
        self.next_tick.saturating_duration_since(Instant::now())
    }

    fn tell(&mut self, message: ToManager) {
        self.manager.push(&HostToManager {
            now: now_ms(),
            message: Some(message),
        });
    }

    fn note(&mut self, event: &mio::event::Event) {
        match event.token() {
            MANAGER => self.manager.ready |= event.is_readable(),
            WAKER => {}
            Token(token) => match (token as u64).checked_sub(CONNECTIONS) {
                None => self.listeners[token - LISTENERS].ready = true,
                Some(number) => {
                    self.finish_dial(number, event);
                    if event.is_readable() || event.is_error() {
                        self.readable.insert(number);
                    }
                    if event.is_writable() {
                        self.unwritten.insert(number);
                    }
                }
            },
        }
    }

    // ------------------------------------------------------------ what other threads tell

    fn see_happened(&mut self) {
        while let Ok(happened) = self.happened.try_recv() {
            match happened {
                Happened::Disk(Done::Persisted(persisted)) => {
                    self.tell(ToManager::Persisted(persisted));
                }
                Happened::Disk(Done::Entries(entries)) => self.tell(ToManager::Entries(entries)),
                Happened::Disk(Done::Failed(failed)) => {
                    tracing::error!("the ledger failed: {}", failed.reason);
                    self.stop_within(failed.reason.clone());
                    self.tell(ToManager::StorageFailed(failed));
                }
                Happened::Tuple(tuple) => {
                    if !tuple.failure.is_empty() {
                        tracing::warn!("no signature for this node's tuple: {}", tuple.failure);
                    }
                    self.tell(ToManager::TupleSigned(tuple));
                }
                Happened::Resolved {
                    connection,
                    addresses,
                } => {
                    self.connect(connection, addresses);
                }
                Happened::StopWanted => {
                    tracing::info!("stopping");
                    self.stop_within("asked to stop".into());
                    self.tell(ToManager::Stop(Stop {}));
                }
            }
        }
    }

    fn stop_within(&mut self, reason: String) {
        self.stop_by
            .get_or_insert((Instant::now() + STOP_PATIENCE, reason));
    }

    // ------------------------------------------------------------ what the manager says

    fn carry_out(&mut self, message: ManagerToHost) {
        match message.message {
            Some(FromManager::Send(send)) => self.send(send.connection, send.data),
            Some(FromManager::Close(close)) => self.close_gently(close.connection),
            Some(FromManager::Dial(dial)) => self.dial(dial.connection, dial.address),
            Some(FromManager::Append(append)) => self.disk.ask(Job::Append(append)),
            Some(FromManager::Truncate(truncate)) => self.disk.ask(Job::Truncate(truncate)),
            Some(FromManager::Committed(upto)) => self.disk.ask(Job::Committed(upto)),
            Some(FromManager::ReadEntries(read)) => self.disk.ask(Job::Read(read)),
            Some(FromManager::SignTuple(sign)) => self.sign(sign.payload),
            Some(FromManager::Log(log)) => write_log(&log),
            Some(FromManager::Status(status)) => self.metrics.keep(status),
            Some(FromManager::Pace(pace)) => {
                if let Some(connection) = self.connections.get_mut(&pace.connection) {
                    connection.paused = pace.paused;
                    self.readable.insert(pace.connection);
                }
            }
            Some(FromManager::Exit(exit)) => {
                let code = u8::try_from(exit.code).unwrap_or(FAILED);
                self.exit = Some(Ending {
                    code,
                    reason: exit.reason,
                });
            }
            Some(
                FromManager::StoreSnapshot(_)
                | FromManager::ReadSnapshot(_)
                | FromManager::RemoveSnapshot(_),
            )
            | None => {}
        }
    }

    fn send(&mut self, number: u64, data: Bytes) {
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
            self.tell(ToManager::Closed(Closed { connection: number }));
            return;
        }
        self.waiting_bytes += bytes;
        self.unwritten.insert(number);
    }

    fn close_gently(&mut self, number: u64) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.phase = Phase::Closing {
                until: Instant::now() + CLOSE_PATIENCE,
            };
            self.unwritten.insert(number);
        }
    }

    fn sign(&self, payload: Bytes) {
        let (socket, notify) = (self.agent.clone(), self.notify.clone());
        in_thread("agent", move || {
            notify.send(Happened::Tuple(agent::sign(socket.as_ref(), &payload)));
        });
    }

    // ------------------------------------------------------------ connections

    fn dial(&mut self, number: u64, address: String) {
        if let Ok(address) = address.parse::<SocketAddr>() {
            return self.connect(number, Ok(vec![address]));
        }
        let notify = self.notify.clone();
        in_thread("names", move || {
            let addresses = address.to_socket_addrs().map(Iterator::collect);
            let addresses = addresses.map_err(|error| format!("{address}: {error}"));
            notify.send(Happened::Resolved {
                connection: number,
                addresses,
            });
        });
    }

    fn connect(&mut self, number: u64, addresses: Result<Vec<SocketAddr>, String>) {
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
                self.tell(ToManager::DialFailed(DialFailed {
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
        self.poll
            .registry()
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

    fn finish_dial(&mut self, number: u64, event: &mio::event::Event) {
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
                return self.tell(ToManager::Opened(Opened {
                    connection: number,
                    surface: Surface::Node.into(),
                    protocol: String::new(),
                    remote: remote.to_string(),
                }));
            }
            _ => return, // not there yet
        };
        self.drop_connection(number);
        self.tell(ToManager::DialFailed(DialFailed {
            connection: number,
            reason: failure,
        }));
    }

    fn accept(&mut self) {
        for at in 0..self.listeners.len() {
            while self.listeners[at].ready && !self.manager.is_congested() {
                match self.listeners[at].socket.accept() {
                    Ok((stream, remote)) => self.accepted(at, stream, remote),
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

    fn accepted(&mut self, listener: usize, stream: TcpStream, remote: SocketAddr) {
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
        self.tell(ToManager::Opened(Opened {
            connection: number,
            surface: surface.into(),
            protocol,
            remote: remote.to_string(),
        }));
    }

    /// One read from each connection that may have something, while the manager keeps up.
    fn read_connections(&mut self, buffer: &mut [u8]) {
        for number in std::mem::take(&mut self.readable) {
            if self.manager.is_congested() {
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
                    self.readable.insert(number);
                    if phase == Phase::Open {
                        let data = Bytes::copy_from_slice(&buffer[..bytes]);
                        self.tell(ToManager::Received(Received {
                            connection: number,
                            data,
                        }));
                    }
                }
                (Reading::Nothing, _) => {}
                (Reading::Ended, Phase::Open) => {
                    self.close_gently(number);
                    self.tell(ToManager::Closed(Closed { connection: number }));
                }
                (Reading::Ended, _) => {}
            }
        }
    }

    fn write_connections(&mut self) {
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
                    self.tell(ToManager::Closed(Closed { connection: number }));
                }
                _ => {}
            }
        }
        // Closed messages of this pass leave with the next turn, which is at once.
        self.manager.write();
    }

    fn drop_connection(&mut self, number: u64) {
        if let Some(mut connection) = self.connections.remove(&number) {
            self.waiting_bytes -= connection.waiting_bytes();
            // It is closed in any case.
            let _ = self.poll.registry().deregister(&mut connection.stream);
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
            self.metrics
                .connections
                .store(self.connections.len() as u64, Relaxed);
        }
    }

    // ------------------------------------------------------------ time

    fn keep_time(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + self.tick;
        self.tell(ToManager::Tick(Tick {}));
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
                self.tell(ToManager::DialFailed(DialFailed { connection, reason }));
            }
        }
    }

    /// What was sent last leaves, what was appended is written.
    fn end(mut self, ending: Ending) -> Ending {
        let by = Instant::now() + LAST_WORDS_PATIENCE;
        let mut events = Events::with_capacity(1024);
        loop {
            let waiting = self
                .connections
                .iter()
                .filter(|(_, one)| one.waiting_bytes() > 0);
            self.unwritten = waiting.map(|(number, _)| *number).collect();
            self.write_connections();
            let left = by.saturating_duration_since(Instant::now());
            if self.waiting_bytes == 0 || left.is_zero() {
                break;
            }
            // An interruption only tries again sooner.
            let _ = self
                .poll
                .poll(&mut events, Some(left.min(Duration::from_millis(20))));
        }
        self.disk.finish();
        ending
    }
}

fn start_message(config: &Config) -> Result<Start, String> {
    let read = |path| config::read(path).map_err(|error| error.to_string());
    let mut protocols = Vec::new();
    for (protocol, one) in &config.protocols {
        if let Some(path) = &one.settings {
            let (protocol, settings) = (protocol.clone(), read(path)?.into());
            protocols.push(ProtocolSettings { protocol, settings });
        }
    }
    Ok(Start {
        owner: config.owner.clone(),
        address: config.address.clone(),
        constitution: read(&config.constitution)?.into(),
        create: config.create,
        peers: config.peers.clone(),
        owner_chain: config::read_chain(&config.owner_chain)
            .map_err(|e| e.to_string())?
            .into(),
        ledger_last: 0,
        protocols,
        tick_ms: config.tick_ms,
        tail_first: 0,
        tail_last: 0,
        snapshots: Vec::new(),
    })
}

fn listen(config: &Config, poll: &Poll) -> Result<Vec<Listener>, String> {
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
        poll.registry()
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

fn in_use(address: SocketAddr) -> impl Fn(io::Error) -> String {
    move |error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{address} is in use; stop what listens there or configure another port")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

/// Makes the directory and goes there, so that its parents need not be open to the host's user; root
/// hands it over and becomes that user.
fn settle(config: &Config) -> Result<(), String> {
    let shown = config.directory.display();
    std::fs::create_dir_all(&config.directory)
        .and_then(|()| std::env::set_current_dir(&config.directory))
        .map_err(|error| format!("{shown}: {error}"))?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if config.uid == 0 || config.gid == 0 {
        return Err("uid and gid in the configuration must not be root's".into());
    }
    give(config).map_err(|error| format!("hand over {shown}: {error}"))?;
    signals::become_user(config.uid, config.gid)
        .map_err(|error| format!("cannot become user {}: {error}", config.uid))
}

/// The present directory and the ledger in it; nothing else that someone may keep there.
fn give(config: &Config) -> io::Result<()> {
    let give = |path: &Path| std::os::unix::fs::lchown(path, Some(config.uid), Some(config.gid));
    give(Path::new("."))?;
    let ledger = Path::new(LEDGER);
    if ledger.is_dir() {
        give(ledger)?;
        for file in std::fs::read_dir(ledger)? {
            give(&file?.path())?;
        }
    }
    Ok(())
}

/// A descriptor for each connection that may be open; what the system allows is enough to start.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

fn in_thread(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(work) {
        // The manager asks again when it hears nothing.
        tracing::error!("no thread for {name}: {error}");
    }
}

fn write_log(log: &Log) {
    let (target, text) = (&log.target, &log.text);
    match log.level {
        0 | 1 => tracing::error!(target: "manager", "{target}: {text}"),
        2 => tracing::warn!(target: "manager", "{target}: {text}"),
        3 => tracing::info!(target: "manager", "{target}: {text}"),
        4 => tracing::debug!(target: "manager", "{target}: {text}"),
        _ => tracing::trace!(target: "manager", "{target}: {text}"),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
