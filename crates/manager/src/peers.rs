//! Links to the other nodes: each node dials the ones that it has something to tell, and listens on
//! what they dial. A lost message is the consensus engine's to repeat.

use bytes::BytesMut;
use consensus::{Engine, Message};
use crypto::PublicKey;
use types::limits::PEER_MESSAGE_BYTES_MAX;
use types::{Millis, NodeId};

use crate::Output;
use crate::node::{Node, log};
use crate::sessions::Who;
use crate::wire::{PeerMessage, SPONSOR_MESSAGE_BYTES_MAX, STRANGER_MESSAGE_BYTES_MAX};

/// What waits for a link that is being made; consensus repeats what does not fit.
const WAITING_BYTES_MAX: usize = 4 << 20;
const REDIAL_MS: u64 = 100;
const HANDSHAKE_MS: u64 = 3_000;

/// The way to another node.
pub enum Link {
    Down {
        until: Millis,
    },
    Dialling {
        connection: u64,
        waiting: Vec<u8>,
        until: Millis,
    },
    Up {
        connection: u64,
    },
}

impl Node {
    /// Where a node is reached: from the ledger, or from whom admitted this one.
    pub fn address_of(&self, node: NodeId) -> Option<String> {
        if let Some(listed) = self.state.node(node) {
            return listed.is_heard().then(|| listed.address.clone());
        }
        let known = self.known.values().find(|k| k.node == node);
        known.map(|k| k.address.clone())
    }

    /// Which node speaks with this key, if it is one to listen to.
    pub fn node_of(&self, key: &PublicKey) -> Option<NodeId> {
        match self.state.node_by_key(key) {
            Some(node) => node.is_heard().then_some(node.id),
            None => self.known.get(key).map(|k| k.node),
        }
    }

    pub fn send_peer(&mut self, to: NodeId, message: &PeerMessage, out: &mut Vec<Output>) {
        let now = self.now;
        let mut frame = Vec::new();
        match self.links.get_mut(&to) {
            Some(Link::Up { connection }) => {
                message.encode(&mut frame);
                let connection = *connection;
                if !self.sessions.send(connection, &frame) {
                    self.drop_connection(connection, "it takes no more", out);
                }
                return;
            }
            Some(Link::Dialling {
                waiting,
                until,
                connection,
            }) => {
                message.encode(&mut frame);
                if waiting.len() + frame.len() <= WAITING_BYTES_MAX {
                    waiting.append(&mut frame);
                }
                if now >= *until {
                    let connection = *connection;
                    self.drop_connection(connection, "the handshake takes too long", out);
                }
                return;
            }
            Some(Link::Down { until }) if now < *until => return,
            Some(Link::Down { .. }) | None => {}
        }
        let Some(address) = self.address_of(to) else {
            return;
        };
        let connection = self.sessions.dial(&address, Who::ExpectNode { to }, out);
        if let Some(keys) = self.keys_for_link(to) {
            keys.encode(&mut frame);
        }
        message.encode(&mut frame);
        self.links.insert(
            to,
            Link::Dialling {
                connection,
                waiting: frame,
                until: now.plus(HANDSHAKE_MS),
            },
        );
    }

    /// The handshake on a dialled link is over: is it the node that was meant?
    pub fn link_ready(
        &mut self,
        connection: u64,
        to: NodeId,
        key: &PublicKey,
        out: &mut Vec<Output>,
    ) {
        if self.node_of(key) != Some(to) {
            log(
                out,
                1,
                "peers",
                &format!("what answers at the address of node {to} is not node {to}: refused"),
            );
            return self.drop_connection(connection, "another node answered", out);
        }
        if let Some(session) = self.sessions.get(connection) {
            session.who = Who::Node { node: to };
        }
        if let Some(Link::Dialling { waiting, .. }) = self.links.insert(to, Link::Up { connection })
        {
            self.sessions.send(connection, &waiting);
        }
    }

    /// A connection is of no use any more.
    pub fn drop_connection(&mut self, connection: u64, reason: &str, out: &mut Vec<Output>) {
        if let Some(session) = self.sessions.close(connection, out) {
            log(
                out,
                4,
                "sessions",
                &format!("closed {}: {reason}", session.remote),
            );
            self.forget_connection(connection, &session.who, out);
        }
    }

    /// The other side, or the host, ended a connection.
    pub fn closed(&mut self, connection: u64, out: &mut Vec<Output>) {
        if let Some(session) = self.sessions.remove(connection) {
            self.forget_connection(connection, &session.who, out);
        }
    }

    fn forget_connection(&mut self, connection: u64, who: &Who, out: &mut Vec<Output>) {
        let redial = Link::Down {
            until: self.now.plus(REDIAL_MS),
        };
        self.cold_closed(connection);
        match who {
            Who::Application { place, .. } => self.stream_closed(*place, connection, out),
            Who::ExpectNode { to } => {
                self.links.insert(*to, redial);
            }
            Who::Node { node } => {
                if matches!(self.links.get(node), Some(Link::Up { connection: up }) if *up == connection)
                {
                    self.links.insert(*node, redial);
                }
            }
            Who::ExpectNetwork | Who::Sponsor => self.sponsor_lost(connection),
            Who::Administrator { .. } => self.forget_waiting(connection),
            Who::ExpectOutside { call } | Who::Outside { call } => {
                self.call_broken(*call, None, out);
            }
            Who::ExpectClient { .. } | Who::Stranger { .. } | Who::ExpectCold | Who::Cold => {}
        }
    }

    /// Plaintext from a node, a stranger or a sponsor.
    pub fn peer_bytes(&mut self, connection: u64, out: &mut Vec<Output>) {
        loop {
            let Some(session) = self.sessions.get(connection) else {
                return;
            };
            let bytes_max = match session.who {
                Who::Node { .. } | Who::Cold => PEER_MESSAGE_BYTES_MAX,
                Who::Sponsor => SPONSOR_MESSAGE_BYTES_MAX,
                _ => STRANGER_MESSAGE_BYTES_MAX,
            };
            let message = match PeerMessage::cut(&mut session.plain, bytes_max) {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(broken) => return self.drop_connection(connection, &broken.to_string(), out),
            };
            self.figures.came(&message);
            if let PeerMessage::Cold(says) = message {
                let key = session.channel.ready().map(|peer| *peer.chain[0].key());
                let Some(key) = key else { return };
                self.cold_says(connection, &key, *says, out);
                continue;
            }
            match &session.who {
                // Admitted, and did not hear of it: it asks again, with evidence.
                Who::Node { .. } if matches!(message, PeerMessage::Hello(_)) => {
                    let key = *session.channel.ready().expect("it is authenticated").chain[0].key();
                    self.stranger(connection, &key, None, message, out);
                }
                Who::Node { node } => {
                    let node = *node;
                    self.peer_message(connection, node, message, out);
                }
                Who::Stranger { key, nonce } => {
                    let (key, nonce) = (*key, *nonce);
                    let joining = matches!(message, PeerMessage::Hello(_) | PeerMessage::Join(_));
                    match self.node_of(&key) {
                        // Its admission was committed since the handshake.
                        Some(node) if !joining => {
                            session_becomes(self, connection, node);
                            self.peer_message(connection, node, message, out);
                        }
                        _ => self.stranger(connection, &key, nonce, message, out),
                    }
                }
                Who::Sponsor => {
                    let key = session.channel.ready().map(|peer| *peer.chain[0].key());
                    let Some(key) = key else { return };
                    self.sponsored(connection, &key, message, out);
                }
                _ => return,
            }
        }
    }

    fn peer_message(
        &mut self,
        connection: u64,
        from: NodeId,
        message: PeerMessage,
        out: &mut Vec<Output>,
    ) {
        let asks = from;
        match message {
            PeerMessage::Consensus(bytes) => {
                let (now, clock) = (self.now, self.clock);
                self.with_engine(|engine, effects| {
                    engine.clock_is(clock);
                    engine.receive(now, from, Message(bytes), effects)
                });
                self.settle(out);
            }
            PeerMessage::Units { protocol, inject } => {
                self.units_arrived(from, protocol, &inject, out)
            }
            PeerMessage::UnitsRefused { protocol, refused } => {
                self.units_refused(protocol, refused, out)
            }
            PeerMessage::SnapshotAsk { index, sequence } => {
                self.serve_snapshot(from, index, sequence, out)
            }
            PeerMessage::SnapshotPiece {
                index,
                sequence,
                last,
                data,
            } => self.piece_came(from, (index, sequence), last, &data, out),
            PeerMessage::SnapshotAbsent { index } => self.piece_absent(from, index, out),
            PeerMessage::EntriesAsk { first, last } => self.serve_entries(from, first, last, out),
            PeerMessage::Entries { first, entries } => self.entries_came(first, entries, out),
            PeerMessage::Poll { poll, message } => self.poll_arrived(from, poll, &message, out),
            PeerMessage::EpochKeys(keys) => self.keys_came(&keys, out),
            PeerMessage::KeysAsk => self.keys_asked(from, out),
            PeerMessage::KeyMessage(signed) => self.key_message_came(from, &signed, out),
            PeerMessage::KeyAsk(ask) => self.release_asked(from, &ask, out),
            PeerMessage::Partials(partials) => self.partials_arrived(from, &partials, out),
            PeerMessage::PartialsAsk { epoch } => self.partials_asked(from, epoch, out),
            PeerMessage::AuditAsk { grant, from, to } => {
                self.audit_ask_arrived(asks, (grant, from, to), out);
            }
            PeerMessage::KeysReport(report) => self.keys_reported(from, report, out),
            PeerMessage::PollRefused {
                digest,
                status,
                reason,
            } => self.poll_refused(&digest, status, &reason, out),
            _ => self.drop_connection(
                connection,
                "a message that does not belong between members",
                out,
            ),
        }
    }
}

fn session_becomes(node: &mut Node, connection: u64, id: NodeId) {
    if let Some(session) = node.sessions.get(connection) {
        session.who = Who::Node { node: id };
    }
}

/// Appends what was decrypted, without a copy where nothing is waiting.
pub fn gather(plain: &mut BytesMut, more: Vec<u8>) {
    if plain.is_empty() {
        *plain = BytesMut::from(bytes::Bytes::from(more));
    } else {
        plain.extend_from_slice(&more);
    }
}
