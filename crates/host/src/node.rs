//! The event loop: one thread between the network, the disk thread and the manager.
//!
//! Each turn takes what has happened, tells the manager, carries out what the manager says, and
//! writes everything with few system calls. Nothing in a turn blocks: names are resolved and the
//! agent is asked in threads of their own. When the manager lags behind, the network is not read.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use boundary::{
    AskShare, Committed, Entries, Log, ManagerToHost, ShareGiven, Stop, StorageFailed, Tick,
    TupleSigned, host_to_manager::Message as ToManager, manager_to_host::Message as FromManager,
};
use bytes::Bytes;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::agent::{self, Agent};
use crate::config::Config;
use crate::disk::{self, Disk};
use crate::link::ManagerLink;
use crate::metrics::{self, Metrics};
use crate::network::{LISTENERS, Network, READ_BYTES, in_use};
use crate::signals;
use crate::snapshots::{self, Snapshots};
use crate::starting;
use crate::webhook::Webhook;

const MANAGER: Token = Token(0);
const WAKER: Token = Token(1);
const _: () = assert!(WAKER.0 < LISTENERS);

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
    Entries(Entries),
    LedgerFailed(StorageFailed),
    /// Another thread's message to the manager is not written to its end.
    Unwritten,
    Snapshots(snapshots::Done),
    Tuple(TupleSigned),
    Share(ShareGiven),
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

struct Node {
    poll: Poll,
    manager: ManagerLink,
    /// The event queue is asked to tell when the manager's socket takes more.
    wants_room: bool,
    happened: Receiver<Happened>,
    notify: Notify,
    network: Network,
    disk: Disk,
    /// What the manager said last is committed, if the disk has not been told: it hears it with its
    /// next job, or with the next tick, since telling it wakes a thread that may have nothing else to do.
    committed: Option<Committed>,
    snapshots: Snapshots,
    agent: Option<Agent>,
    webhook: Option<Webhook>,
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

        let start = starting::message(config)?;
        let metrics = Arc::new(Metrics::default());
        let registry = poll.registry().try_clone();
        let registry = registry.map_err(|error| format!("no event queue: {error}"))?;
        let network = Network::listen(config, registry, metrics.clone())?;
        if let Some(address) = config.listen.metrics {
            let listener = std::net::TcpListener::bind(address).map_err(in_use(address))?;
            metrics::serve(listener, metrics.clone()).map_err(|error| error.to_string())?;
        }
        let agent = config.agent.socket.as_deref().map(Agent::at);
        let webhook = config.webhook.socket.as_deref().map(Webhook::at);
        let webhook = webhook.transpose()?;
        starting::settle(config)?;
        // Whoever left the manager's socket supervises this process: without it, end in good order.
        // Said after the change of user, which would undo it.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .map_err(|errno| format!("cannot follow the parent process: {errno}"))?;
        starting::raise_descriptor_limit();

        let (files, snapshot_files, start) = starting::open_storage(config, start)?;
        metrics.disk_is(files.space());
        let manager = UnixStream::from(manager);
        manager
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        let manager = ManagerLink::new(mio::net::UnixStream::from_std(manager));
        let mut manager = manager.map_err(|error| format!("the manager's socket: {error}"))?;
        let (answers, outbox) = (notify.clone(), manager.outbox());
        let disk = Disk::start(files, metrics.clone(), move |done| match done {
            // Clients wait for this, and so it does not wait for a turn of the event loop.
            disk::Done::Persisted(persisted) => {
                if !outbox.tell_now(ToManager::Persisted(persisted)) {
                    answers.send(Happened::Unwritten);
                }
            }
            disk::Done::Entries(entries) => answers.send(Happened::Entries(entries)),
            disk::Done::Failed(failed) => answers.send(Happened::LedgerFailed(failed)),
        })
        .map_err(|error| format!("no threads for the disk: {error}"))?;
        let answers = notify.clone();
        let snapshots = Snapshots::start(snapshot_files, metrics.clone(), move |done| {
            answers.send(Happened::Snapshots(done));
        })
        .map_err(|error| format!("no thread for snapshots: {error}"))?;

        poll.registry()
            .register(manager.socket(), MANAGER, Interest::READABLE)
            .map_err(|error| format!("the manager's descriptor is no socket: {error}"))?;
        let mut this = Self {
            poll,
            manager,
            wants_room: false,
            happened,
            notify,
            network,
            disk,
            committed: None,
            snapshots,
            agent,
            webhook,
            metrics,
            tick: Duration::from_millis(config.tick_ms),
            next_tick: Instant::now(),
            stop_by: None,
            exit: None,
        };
        tracing::info!(
            node = %config.listen.node, admin = %config.listen.admin,
            ledger_last = start.ledger_last, tail_first = start.tail_first,
            tail_last = start.tail_last, snapshots = start.snapshots.len(), "host started"
        );
        this.manager.tell(ToManager::Start(start));
        Ok(this)
    }

    fn serve(mut self) -> Result<Ending, String> {
        let mut events = Events::with_capacity(1024);
        let mut messages = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.manager.write();
            self.network.write(&mut self.manager);
            self.ask_for_room()?;
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
            self.network.accept(&mut self.manager);
            self.network.read(&mut buffer, &mut self.manager);
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

    /// Asks to be told when the manager's socket takes more, only while something waits for that: a
    /// Unix socket tells it after every read of the other side, and each time would wake this thread.
    fn ask_for_room(&mut self) -> Result<(), String> {
        let wanted = self.manager.is_waiting();
        if wanted == self.wants_room {
            return Ok(());
        }
        let interest = match wanted {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        self.wants_room = wanted;
        let socket = self.manager.socket();
        (self.poll.registry().reregister(socket, MANAGER, interest))
            .map_err(|error| format!("the event queue failed: {error}"))
    }

    fn timeout(&self) -> Duration {
        let may_read = self.network.may_read() && !self.manager.is_congested();
        if may_read || self.manager.ready {
            return Duration::ZERO;
        }
        self.next_tick.saturating_duration_since(Instant::now())
    }

    fn note(&mut self, event: &mio::event::Event) {
        match event.token() {
            MANAGER => self.manager.note(event),
            WAKER => {}
            Token(_) => self.network.note(event, &mut self.manager),
        }
    }

    // ------------------------------------------------------------ what other threads tell

    fn see_happened(&mut self) {
        while let Ok(happened) = self.happened.try_recv() {
            match happened {
                // The loop writes before it waits.
                Happened::Unwritten => {}
                Happened::Entries(entries) => self.manager.tell(ToManager::Entries(entries)),
                Happened::LedgerFailed(failed) => {
                    tracing::error!("the ledger failed: {}", failed.reason);
                    self.stop_within(failed.reason.clone());
                    self.manager.tell(ToManager::StorageFailed(failed));
                }
                Happened::Snapshots(snapshots::Done::Stored(stored)) => {
                    self.manager.tell(ToManager::SnapshotStored(stored));
                }
                Happened::Snapshots(snapshots::Done::Read(read)) => {
                    self.manager.tell(ToManager::SnapshotRead(read));
                }
                Happened::Tuple(tuple) => {
                    if !tuple.failure.is_empty() {
                        tracing::warn!("no signature for this node's tuple: {}", tuple.failure);
                    }
                    self.manager.tell(ToManager::TupleSigned(tuple));
                }
                Happened::Share(given) => {
                    // The manager says what is wrong, once.
                    self.manager.tell(ToManager::ShareGiven(given));
                }
                Happened::Resolved {
                    connection,
                    addresses,
                } => {
                    self.network
                        .connect(connection, addresses, &mut self.manager);
                }
                Happened::StopWanted => {
                    tracing::info!("stopping");
                    self.stop_within("asked to stop".into());
                    self.manager.tell(ToManager::Stop(Stop {}));
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
            Some(FromManager::Send(send)) => {
                self.network
                    .send(send.connection, send.data, &mut self.manager);
            }
            Some(FromManager::Close(close)) => self.network.close_gently(close.connection),
            Some(FromManager::Dial(dial)) => self.dial(dial.connection, dial.address),
            Some(FromManager::Append(append)) => self.ask_disk(disk::Job::Append(append)),
            Some(FromManager::Truncate(truncate)) => self.ask_disk(disk::Job::Truncate(truncate)),
            Some(FromManager::Committed(upto)) => self.committed = Some(upto),
            Some(FromManager::ReadEntries(read)) => self.ask_disk(disk::Job::Read(read)),
            Some(FromManager::SignTuple(sign)) => self.sign(sign.payload),
            Some(FromManager::AskShare(ask)) => self.ask_share(ask),
            Some(FromManager::Log(log)) => write_log(&log),
            Some(FromManager::Status(status)) => {
                if let Some(webhook) = &mut self.webhook {
                    webhook.tell(status.events);
                }
                self.metrics.keep(status);
            }
            Some(FromManager::Pace(pace)) => self.network.pace(pace.connection, pace.paused),
            Some(FromManager::StoreSnapshot(store)) => {
                self.snapshots.ask(snapshots::Job::Store(store));
            }
            Some(FromManager::ReadSnapshot(read)) => {
                self.snapshots.ask(snapshots::Job::Read(read));
            }
            Some(FromManager::RemoveSnapshot(remove)) => {
                self.snapshots.ask(snapshots::Job::Remove(remove));
            }
            Some(FromManager::Exit(exit)) => {
                let code = u8::try_from(exit.code).unwrap_or(FAILED);
                self.exit = Some(Ending {
                    code,
                    reason: exit.reason,
                });
            }
            None => {}
        }
    }

    fn ask_disk(&mut self, job: disk::Job) {
        self.tell_committed();
        self.disk.ask(job);
    }

    fn tell_committed(&mut self) {
        if let Some(upto) = self.committed.take() {
            self.disk.ask(disk::Job::Committed(upto));
        }
    }

    fn sign(&self, payload: Bytes) {
        let (socket, notify) = (self.agent.clone(), self.notify.clone());
        in_thread("agent", move || {
            notify.send(Happened::Tuple(agent::sign(socket.as_ref(), &payload)));
        });
    }

    fn ask_share(&self, asked: AskShare) {
        let (socket, notify) = (self.agent.clone(), self.notify.clone());
        in_thread("agent", move || {
            notify.send(Happened::Share(agent::share(socket.as_ref(), &asked)));
        });
    }

    fn dial(&mut self, number: u64, address: String) {
        if let Ok(address) = address.parse::<SocketAddr>() {
            return self
                .network
                .connect(number, Ok(vec![address]), &mut self.manager);
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

    // ------------------------------------------------------------ time

    fn keep_time(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + self.tick;
        self.tell_committed();
        self.manager.tell(ToManager::Tick(Tick {}));
        self.network.expire(now, &mut self.manager);
    }

    /// What was sent last leaves, what was appended is written.
    fn end(mut self, ending: Ending) -> Ending {
        let by = Instant::now() + LAST_WORDS_PATIENCE;
        let mut events = Events::with_capacity(1024);
        loop {
            self.network.write_all(&mut self.manager);
            let left = by.saturating_duration_since(Instant::now());
            if self.network.waiting_bytes() == 0 || left.is_zero() {
                break;
            }
            // An interruption only tries again sooner.
            let _ = self
                .poll
                .poll(&mut events, Some(left.min(Duration::from_millis(20))));
        }
        self.tell_committed();
        self.disk.finish();
        self.snapshots.finish();
        ending
    }
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
