//! Connections: TLS ends here, and each plaintext belongs to somebody.

use std::collections::{BTreeMap, BTreeSet};

use boundary::manager_to_host;
use bytes::BytesMut;
use channel::{Acceptor, Channel, Connector, Identity, NodeCertificate, Trust};
use crypto::{Certificate, Entropy, SigningKey};
use types::limits::{CONNECTIONS_MAX, PEER_MESSAGE_BYTES_MAX};
use types::{Millis, NodeId};

use crate::Output;
use crate::node::{Setup, send_host};

const DAY_MS: u64 = 86_400_000;

/// What may wait in one channel within one turn: one longest peer message and some.
const UNDRAINED_BYTES_MAX: usize = PEER_MESSAGE_BYTES_MAX + (16 << 20);

/// One connection.
pub struct Session {
    pub channel: Channel,
    pub who: Who,
    /// Where the host says it comes from; for logs.
    pub remote: String,
    /// Decrypted and not consumed.
    pub plain: BytesMut,
}

/// Who speaks on a connection, as far as is known.
pub enum Who {
    /// Accepted; the handshake is not over.
    ExpectClient {
        surface: boundary::Surface,
        protocol: String,
    },
    /// Dialled to carry messages to a node.
    ExpectNode { to: NodeId },
    /// Dialled to ask for admission.
    ExpectNetwork,
    /// Dialled because the network has no quorum, see `cold`.
    ExpectCold,
    /// What answered there.
    Cold,
    /// A listed node.
    Node { node: NodeId },
    /// A node that is not listed (yet), with the nonce that it was given.
    Stranger {
        key: crypto::PublicKey,
        nonce: Option<[u8; 32]>,
    },
    /// A node of the network that this one wants to join through.
    Sponsor,
    /// Dialled to call a system outside.
    ExpectOutside { call: crate::outside::CallId },
    /// The system outside that was called.
    Outside { call: crate::outside::CallId },
    /// An actor's application: bytes belong to the worker of a protocol.
    Application {
        place: usize,
        caller: boundary::CallerIdentity,
        outstanding: usize,
        paused: bool,
    },
    /// An actor, or an auditor, on the administrative channel.
    Administrator {
        asker: crate::administration::Asker,
        /// Its certificates, leaf first.
        chain: Vec<Certificate>,
        http: Box<crate::administration::Connection>,
    },
}

impl Session {
    /// The handshake has not told yet who it is.
    pub fn is_unknown(&self) -> bool {
        matches!(
            self.who,
            Who::ExpectClient { .. }
                | Who::ExpectNode { .. }
                | Who::ExpectNetwork
                | Who::ExpectCold
                | Who::ExpectOutside { .. }
        )
    }
}

/// All connections of this node.
pub struct Sessions {
    all: BTreeMap<u64, Session>,
    dirty: BTreeSet<u64>,
    last_accepted: u64,
    next_dialled: u64,
    node_acceptor: Acceptor,
    node_connector: Connector,
    /// There once the network's key has issued this VN's certificate.
    client_acceptor: Option<(Acceptor, Certificate)>,
    /// The same for clients that may come without a certificate.
    open_acceptor: Option<Acceptor>,
}

impl Sessions {
    pub fn new(key: &SigningKey, entropy: &mut Entropy, setup: &Setup, now: Millis) -> Self {
        let statement = NodeCertificate {
            network: setup.network,
            restarts: 0,
            common_name: &setup.address,
            names: &[],
            evidence: &[],
            endorsements: &[],
            not_before: Millis(now.0.saturating_sub(DAY_MS)),
            not_after: now.plus(365 * DAY_MS),
            serial: entropy.bytes(),
        };
        let certificate = channel::self_signed_certificate(&statement, key)
            .expect("it says nothing that can be too long");
        let identity = Identity::new(key, &[certificate]).expect("certified a line above");
        Self {
            all: BTreeMap::new(),
            dirty: BTreeSet::new(),
            last_accepted: 0,
            next_dialled: 1,
            node_acceptor: Acceptor::new(&identity, &[channel::NODE]),
            node_connector: Connector::new(&identity, Trust::Any, &[channel::NODE]),
            client_acceptor: None,
            open_acceptor: None,
        }
    }

    /// From now on clients are served with this certificate, issued by the network.
    pub fn serve(&mut self, key: &SigningKey, chain: &[Certificate], protocols: &[String]) {
        let network = chain
            .last()
            .expect("the issuer is part of the chain")
            .clone();
        let mut names = vec![channel::ADMINISTRATIVE.to_vec()];
        names.extend(protocols.iter().map(|name| channel::protocol_name(name)));
        names.push(channel::HTTP1.to_vec());
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let identity = Identity::new(key, chain).expect("the network certified this key");
        self.open_acceptor = Some(Acceptor::without_certificates(&identity, &names));
        self.client_acceptor = Some((Acceptor::new(&identity, &names), network));
    }

    pub fn network_certificate(&self) -> Option<&Certificate> {
        self.client_acceptor.as_ref().map(|(_, network)| network)
    }

    /// Takes a connection that the host accepted; `Err` says why not. `open`: its application serves clients
    /// without a certificate.
    pub fn accept(&mut self, opened: &boundary::Opened, open: bool) -> Result<(), &'static str> {
        if !opened.connection.is_multiple_of(2) || opened.connection <= self.last_accepted {
            return Err("the host reused a connection number");
        }
        self.last_accepted = opened.connection;
        if self.all.len() >= CONNECTIONS_MAX {
            return Err("too many connections");
        }
        let acceptor = match opened.surface() {
            boundary::Surface::Node => &self.node_acceptor,
            boundary::Surface::Application if open => self
                .open_acceptor
                .as_ref()
                .ok_or("not serving yet: the node is still joining its network")?,
            boundary::Surface::Application | boundary::Surface::Administrative => {
                &self
                    .client_acceptor
                    .as_ref()
                    .ok_or("not serving yet: the node is still joining its network")?
                    .0
            }
            boundary::Surface::Unspecified => return Err("a connection to no surface"),
        };
        let who = Who::ExpectClient {
            surface: opened.surface(),
            protocol: opened.protocol.clone(),
        };
        let mut channel = Channel::accept(acceptor);
        channel.set_undrained_bytes_max(UNDRAINED_BYTES_MAX);
        let session = Session {
            channel,
            who,
            remote: opened.remote.clone(),
            plain: BytesMut::new(),
        };
        self.all.insert(opened.connection, session);
        Ok(())
    }

    /// Asks the host to connect to another node.
    pub fn dial(&mut self, address: &str, who: Who, out: &mut Vec<Output>) -> u64 {
        // Identity comes from keys; the name in the handshake says nothing.
        let channel = Channel::connect(&self.node_connector, "node.invalid").expect("a DNS name");
        self.dial_with(channel, address, who, out)
    }

    /// Asks the host to connect to a system outside. `None`: its name is none.
    pub fn dial_outside(
        &mut self,
        connector: &Connector,
        address: &str,
        host: &str,
        who: Who,
        out: &mut Vec<Output>,
    ) -> Option<u64> {
        let channel = Channel::connect(connector, host).ok()?;
        Some(self.dial_with(channel, address, who, out))
    }

    fn dial_with(
        &mut self,
        mut channel: Channel,
        address: &str,
        who: Who,
        out: &mut Vec<Output>,
    ) -> u64 {
        let connection = self.next_dialled;
        self.next_dialled += 2;
        channel.set_undrained_bytes_max(UNDRAINED_BYTES_MAX);
        self.all.insert(
            connection,
            Session {
                channel,
                who,
                remote: address.to_owned(),
                plain: BytesMut::new(),
            },
        );
        send_host(
            out,
            manager_to_host::Message::Dial(boundary::Dial {
                connection,
                address: address.to_owned(),
            }),
        );
        self.dirty.insert(connection);
        connection
    }

    pub fn get(&mut self, connection: u64) -> Option<&mut Session> {
        self.all.get_mut(&connection)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &Session)> {
        self.all
            .iter()
            .map(|(connection, session)| (*connection, session))
    }

    pub fn count(&self) -> u64 {
        self.all.len() as u64 // usize is at most 64 bits
    }

    /// What the channel has to say leaves at the next flush.
    pub fn touch(&mut self, connection: u64) {
        self.dirty.insert(connection);
    }

    /// Encrypts for the connection; it leaves at the next flush. False: the connection is gone.
    pub fn send(&mut self, connection: u64, plaintext: &[u8]) -> bool {
        let Some(session) = self.all.get_mut(&connection) else {
            return false;
        };
        self.dirty.insert(connection);
        session.channel.send(plaintext).is_ok()
    }

    pub fn remove(&mut self, connection: u64) -> Option<Session> {
        self.dirty.remove(&connection);
        self.all.remove(&connection)
    }

    /// Closes a connection politely: what was sent before still leaves.
    pub fn close(&mut self, connection: u64, out: &mut Vec<Output>) -> Option<Session> {
        let mut session = self.remove(connection)?;
        session.channel.close();
        let data = session.channel.drain();
        if !data.is_empty() {
            send_host(
                out,
                manager_to_host::Message::Send(boundary::Send { connection, data }),
            );
        }
        send_host(
            out,
            manager_to_host::Message::Close(boundary::Close { connection }),
        );
        Some(session)
    }

    /// Hands the host the ciphertext that has gathered, one message per connection.
    pub fn drain(&mut self, out: &mut Vec<Output>) {
        for connection in std::mem::take(&mut self.dirty) {
            if let Some(session) = self.all.get_mut(&connection) {
                let data = session.channel.drain();
                if !data.is_empty() {
                    send_host(
                        out,
                        manager_to_host::Message::Send(boundary::Send { connection, data }),
                    );
                }
            }
        }
    }
}
