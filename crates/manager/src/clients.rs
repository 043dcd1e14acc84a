//! Clients: whose connection it is decides what it may reach. Application bytes pass to the worker
//! unread.

use boundary::{
    CallerIdentity, StreamClose, StreamConsumed, StreamData, Surface, manager_to_host,
    manager_to_worker,
};
use bytes::Bytes;
use types::limits::{APPLICATION_REQUEST_BYTES_MAX, CONNECTIONS_MAX};

use crate::Output;
use crate::administration::{Asker, Connection};
use crate::node::{Node, log, send_host};
use crate::peers::gather;
use crate::sessions::Who;
use crate::workers::send_worker;

/// Bytes of one stream that a worker may have unread before the host is asked to pause: a request
/// of the largest size must fit.
const WINDOW_BYTES: usize = APPLICATION_REQUEST_BYTES_MAX + (1 << 20);

/// What a worker is told in the place of an actor.
const NOBODY: [u8; 32] = [0; 32];

/// Connections without a certificate at once: the others are for actors.
const NOBODIES_MAX: usize = CONNECTIONS_MAX / 4;

impl Node {
    /// The host accepted a connection.
    pub fn opened(&mut self, opened: &boundary::Opened, out: &mut Vec<Output>) {
        // Odd numbers are ours: what this node dialled is connected, and its bytes are on the way.
        if !opened.connection.is_multiple_of(2) && self.sessions.get(opened.connection).is_some() {
            return;
        }
        let open = self.serves_nobody(&opened.protocol);
        if let Err(reason) = self.sessions.accept(opened, open) {
            log(
                out,
                4,
                "sessions",
                &format!("refused {}: {reason}", opened.remote),
            );
            send_host(
                out,
                manager_to_host::Message::Close(boundary::Close {
                    connection: opened.connection,
                }),
            );
        }
    }

    /// Ciphertext.
    pub fn received(&mut self, connection: u64, data: &[u8], out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get(connection) else {
            return;
        };
        let mut plain = Vec::new();
        let result = session.channel.received(data, &mut plain);
        self.sessions.touch(connection);
        if let Err(broken) = result {
            let session = self.sessions.get(connection).expect("looked up above");
            // Between nodes and towards the network it is an alarm; from the outside it is daily life.
            let level = if matches!(
                session.who,
                Who::ExpectClient { .. } | Who::Application { .. }
            ) {
                4
            } else {
                2
            };
            let remote = session.remote.clone();
            let called = match session.who {
                Who::ExpectOutside { call } | Who::Outside { call } => Some(call),
                _ => None,
            };
            log(out, level, "channel", &format!("{remote}: {broken}"));
            if let Some(call) = called {
                self.call_broken(call, Some(&broken), out);
            }
            return self.drop_connection(connection, "the channel is broken", out);
        }
        let session = self.sessions.get(connection).expect("looked up above");
        let closed = session.channel.is_closed_by_peer();
        if session.is_unknown() && session.channel.ready().is_some() {
            match session.who {
                Who::ExpectOutside { call } => self.call_ready(connection, call),
                _ => self.authenticate(connection, out),
            }
        }
        self.plaintext(connection, plain, out);
        if closed {
            if let Some(Who::Outside { call }) = self.sessions.get(connection).map(|s| &s.who) {
                let call = *call;
                self.call_ended(call, out);
            }
            self.drop_connection(connection, "closed by the peer", out);
        }
    }

    fn plaintext(&mut self, connection: u64, plain: Vec<u8>, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get(connection) else {
            return;
        };
        if plain.is_empty() {
            return;
        }
        match &mut session.who {
            Who::Application {
                place,
                outstanding,
                paused,
                ..
            } => {
                *outstanding += plain.len();
                if *outstanding > WINDOW_BYTES && !*paused {
                    *paused = true;
                    send_host(
                        out,
                        manager_to_host::Message::Pace(boundary::Pace {
                            connection,
                            paused: true,
                        }),
                    );
                }
                if let Some(worker) = self.protocols[*place].live() {
                    let data = StreamData {
                        stream: connection,
                        data: plain.into(),
                    };
                    send_worker(
                        out,
                        self.clock,
                        worker,
                        manager_to_worker::Message::Data(data),
                    );
                }
            }
            Who::Administrator { .. } => self.administrative(connection, &plain, out),
            Who::Node { .. } | Who::Stranger { .. } | Who::Sponsor | Who::Cold => {
                gather(&mut session.plain, plain);
                self.peer_bytes(connection, out);
            }
            Who::Outside { call } => {
                let call = *call;
                self.call_bytes(call, plain, out);
            }
            Who::ExpectClient { .. }
            | Who::ExpectNode { .. }
            | Who::ExpectNetwork
            | Who::ExpectCold
            | Who::ExpectOutside { .. } => {
                self.drop_connection(connection, "it speaks before it is known", out);
            }
        }
    }

    /// The handshake is over: who is it?
    fn authenticate(&mut self, connection: u64, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get(connection) else {
            return;
        };
        let peer = session.channel.ready().expect("the caller looked");
        let chain = peer.chain.clone();
        let alpn = peer.alpn.clone().unwrap_or_default();
        let Some(key) = chain.first().map(|leaf| *leaf.key()) else {
            return self.nobody(connection, &alpn, out);
        };
        match &session.who {
            Who::ExpectNode { to } => {
                let to = *to;
                self.link_ready(connection, to, &key, out);
            }
            Who::ExpectCold => {
                session.who = Who::Cold;
                self.cold_dialled(connection);
            }
            Who::ExpectNetwork => {
                session.who = Who::Sponsor;
                self.greet(connection);
            }
            Who::ExpectClient {
                surface: Surface::Node,
                ..
            } => {
                let who = match self.node_of(&key) {
                    Some(node) => Who::Node { node },
                    None => Who::Stranger { key, nonce: None },
                };
                if let Some(session) = self.sessions.get(connection) {
                    session.who = who;
                }
            }
            Who::ExpectClient { protocol, surface } => {
                let (protocol, surface) = (protocol.clone(), *surface);
                let remote = session.remote.clone();
                match self.state.actor_of(&chain, self.clock.max(self.order.time)) {
                    Ok(caller) => self.client(connection, caller, chain, &alpn, &protocol, out),
                    Err(_) if self.is_auditor(&chain) && is_administrative(surface, &alpn) => {
                        let subject = chain[0].subject().to_owned();
                        self.administrator_came(connection, Asker::Auditor { subject }, chain);
                    }
                    Err(refused) => {
                        log(out, 2, "gate", &format!("{remote} is refused: {refused}"));
                        self.drop_connection(connection, "not an actor of this network", out);
                    }
                }
            }
            _ => {}
        }
    }

    fn client(
        &mut self,
        connection: u64,
        caller: governance::Caller,
        chain: Vec<crypto::Certificate>,
        alpn: &[u8],
        port: &str,
        out: &mut Vec<Output>,
    ) {
        let Some(session) = self.sessions.get(connection) else {
            return;
        };
        let surface = match &session.who {
            Who::ExpectClient { surface, .. } => *surface,
            _ => Surface::Unspecified,
        };
        if is_administrative(surface, alpn) {
            return self.administrator_came(connection, Asker::Actor(caller), chain);
        }
        let by_name = self
            .protocols
            .iter()
            .position(|p| channel::protocol_name(&p.name) == alpn);
        let by_port = || self.protocols.iter().position(|p| p.name == port);
        let Some(place) = by_name.or_else(by_port) else {
            return self.drop_connection(
                connection,
                "no protocol of this network was asked for",
                out,
            );
        };
        let identity = CallerIdentity {
            actor: Bytes::copy_from_slice(&caller.actor.0),
            name: caller.name.clone(),
            member: caller.member,
            auditor: caller.auditor,
        };
        self.application(connection, place, identity, out);
    }

    fn administrator_came(
        &mut self,
        connection: u64,
        asker: Asker,
        chain: Vec<crypto::Certificate>,
    ) {
        if let Some(session) = self.sessions.get(connection) {
            session.who = Who::Administrator {
                asker,
                chain,
                http: Box::new(Connection::default()),
            };
        }
    }

    /// Whether the constitution lets clients without a certificate reach the protocol's worker, which then
    /// asks them who they are.
    fn serves_nobody(&self, protocol: &str) -> bool {
        let constitution = self.state.constitution();
        let mut protocols = constitution.iter().flat_map(|c| &c.protocols);
        protocols
            .find(|listed| listed.name == protocol)
            .is_some_and(governance::Protocol::serves_without_certificate)
    }

    /// A client without a certificate: it reaches the protocol of its port, and nothing else.
    fn nobody(&mut self, connection: u64, alpn: &[u8], out: &mut Vec<Output>) {
        let Some(Who::ExpectClient {
            surface: Surface::Application,
            protocol,
        }) = self.sessions.get(connection).map(|session| &session.who)
        else {
            return self.drop_connection(connection, "it has no certificate", out);
        };
        let protocol = protocol.clone();
        let named = channel::protocol_name(&protocol) == alpn;
        let place = self.protocols.iter().position(|p| p.name == protocol);
        let like_us = |who: &Who| matches!(who, Who::Application { caller, .. } if caller.actor[..] == NOBODY);
        let count = self
            .sessions
            .iter()
            .filter(|(_, s)| like_us(&s.who))
            .count();
        match place {
            Some(place)
                if self.serves_nobody(&protocol)
                    && (named || alpn.is_empty() || alpn == channel::HTTP1)
                    && count < NOBODIES_MAX =>
            {
                let identity = CallerIdentity {
                    actor: Bytes::from_static(&NOBODY),
                    ..CallerIdentity::default()
                };
                self.application(connection, place, identity, out);
            }
            _ => self.drop_connection(connection, "it has no certificate", out),
        }
    }

    /// From now on the connection belongs to the protocol's worker.
    fn application(
        &mut self,
        connection: u64,
        place: usize,
        identity: CallerIdentity,
        out: &mut Vec<Output>,
    ) {
        let Some(worker) = self.protocols[place].live() else {
            return self.drop_connection(connection, "the protocol's worker is not ready yet", out);
        };
        let session = self.sessions.get(connection).expect("looked up above");
        let open = boundary::StreamOpen {
            stream: connection,
            caller: Some(identity.clone()),
            remote: session.remote.clone(),
        };
        session.who = Who::Application {
            place,
            caller: identity,
            outstanding: 0,
            paused: false,
        };
        send_worker(
            out,
            self.clock,
            worker,
            manager_to_worker::Message::Open(open),
        );
    }

    /// A worker's answer to a client.
    pub fn stream_data(&mut self, place: usize, stream: u64, data: &[u8], out: &mut Vec<Output>) {
        if self.owns(place, stream) && !self.sessions.send(stream, data) {
            self.drop_connection(stream, "the client reads too slowly", out);
        }
    }

    /// A worker is done with a client.
    pub fn stream_ended(&mut self, place: usize, close: &StreamClose, out: &mut Vec<Output>) {
        if self.owns(place, close.stream)
            && let Some(session) = self.sessions.close(close.stream, out)
        {
            log(
                out,
                5,
                "sessions",
                &format!("closed {}: {}", session.remote, close.reason),
            );
        }
    }

    pub fn consumed(&mut self, place: usize, consumed: &StreamConsumed, out: &mut Vec<Output>) {
        if !self.owns(place, consumed.stream) {
            return;
        }
        let Some(session) = self.sessions.get(consumed.stream) else {
            return;
        };
        if let Who::Application {
            outstanding,
            paused,
            ..
        } = &mut session.who
        {
            *outstanding =
                outstanding.saturating_sub(usize::try_from(consumed.bytes).unwrap_or(usize::MAX));
            if *paused && *outstanding <= WINDOW_BYTES / 2 {
                *paused = false;
                let connection = consumed.stream;
                send_host(
                    out,
                    manager_to_host::Message::Pace(boundary::Pace {
                        connection,
                        paused: false,
                    }),
                );
            }
        }
    }

    /// A client's connection ended.
    pub fn stream_closed(&mut self, place: usize, stream: u64, out: &mut Vec<Output>) {
        if let Some(worker) = self.protocols[place].live() {
            let close = StreamClose {
                stream,
                reason: String::new(),
            };
            send_worker(
                out,
                self.clock,
                worker,
                manager_to_worker::Message::Close(close),
            );
        }
    }

    /// A worker may only touch streams of its own protocol.
    fn owns(&mut self, place: usize, stream: u64) -> bool {
        self.sessions
            .get(stream)
            .is_some_and(|s| matches!(s.who, Who::Application { place: at, .. } if at == place))
    }
}

/// Whether a client asked for the administrative channel, by name or by port.
fn is_administrative(surface: Surface, alpn: &[u8]) -> bool {
    alpn == channel::ADMINISTRATIVE
        || (surface == Surface::Administrative && (alpn.is_empty() || alpn == channel::HTTP1))
}
