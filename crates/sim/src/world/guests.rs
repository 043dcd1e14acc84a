//! Whoever speaks to nodes as a test says: over real TLS, with any key, and with any message of the wire.

use boundary::{Opened, Surface, host_to_manager};
use bytes::{Bytes, BytesMut};
use channel::{Acceptor, Channel, Connector, Identity, NodeCertificate, Trust};
use crypto::{Context, Entropy, SigningKey};
use governance::{Ballot, Change, Choice, NodeTuple, Proposed, SignedMessage, Window};
use manager::wire::{Credentials, Hello, Join, Joined, PeerMessage, SessionKey};
use tee::software::Statement;
use tee::{Purpose, report_data};
use types::Millis;

use super::World;
use super::wires::Party;
use crate::network::{MANAGER, START, address};

/// One connection of somebody's.
pub struct Guest {
    wire: u64,
    /// It speaks as nodes do.
    peer: bool,
    /// It dialled, and was not dialled.
    dialled: bool,
    channel: Channel,
    /// What is to be sent once the handshake is over.
    outbox: Vec<u8>,
    plain: BytesMut,
}

/// A node that is none of ours: it has a key that a member signed for, evidence from a platform that the
/// constitution accepts, and says what it likes.
pub struct Rogue {
    pub place: usize,
    pub key: SigningKey,
    connector: Connector,
}

impl World {
    /// Somebody connects to a node.
    pub fn visit(&mut self, place: usize, surface: Surface, connector: &Connector) -> u64 {
        let id = self.guests.len() as u64; // usize is at most 64 bits
        let wire = self.connect(Party::Guest { id }, place, surface, "");
        let mut channel = Channel::connect(connector, "node.invalid").expect("a DNS name");
        let hello = channel.drain();
        let guest = Guest {
            wire,
            peer: surface == Surface::Node,
            dialled: true,
            channel,
            outbox: Vec::new(),
            plain: BytesMut::new(),
        };
        self.guests.insert(id, guest);
        self.transmit(wire, false, hello);
        id
    }

    pub fn guest_says(&mut self, id: u64, bytes: &[u8]) {
        let guest = self.guests.get_mut(&id).expect("it was made by `visit`");
        guest.outbox.extend_from_slice(bytes);
        self.guest_sends(id);
    }

    fn guest_sends(&mut self, id: u64) {
        let guest = self.guests.get_mut(&id).expect("it was made by `visit`");
        if guest.channel.ready().is_some() && !guest.outbox.is_empty() {
            let said = std::mem::take(&mut guest.outbox);
            // A node may have closed the connection.
            let _ = guest.channel.send(&said);
        }
        let (wire, dialled) = (guest.wire, guest.dialled);
        let data = guest.channel.drain();
        if !data.is_empty() {
            self.transmit(wire, !dialled, data);
        }
    }

    pub(super) fn guest_hears(&mut self, id: u64, data: &Bytes) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        let mut plain = Vec::new();
        let _ = guest.channel.received(data, &mut plain);
        guest.plain.extend_from_slice(&plain);
        self.guest_sends(id);
    }

    pub(super) fn guest_left(&mut self, id: u64) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.outbox.clear();
        }
    }

    /// A node dials a place where a guest listens.
    pub(super) fn dial_guest(&mut self, place: usize, connection: u64, to: usize) -> bool {
        let Some(acceptor) = self.listeners.get(&to) else {
            return false;
        };
        let channel = Channel::accept(acceptor);
        let id = self.guests.len() as u64; // usize is at most 64 bits
        let incarnation = self.nodes[place].incarnation;
        let dialler = Party::Node {
            place,
            incarnation,
            connection,
        };
        let wire = self.new_wire(dialler, Party::Guest { id });
        let guest = Guest {
            wire,
            peer: true,
            dialled: false,
            channel,
            outbox: Vec::new(),
            plain: BytesMut::new(),
        };
        self.guests.insert(id, guest);
        self.nodes[place].wires.insert(connection, (wire, true));
        let opened = Opened {
            connection,
            surface: Surface::Node.into(),
            protocol: String::new(),
            remote: address(to),
        };
        self.tell(place, host_to_manager::Message::Opened(opened));
        true
    }

    /// Keys, or parts of them, that came to whoever is no node of ours.
    pub fn leaked(&mut self, within_ms: u64) -> Option<PeerMessage> {
        let end = self.now.plus(within_ms);
        loop {
            for guest in self.guests.values_mut().filter(|g| g.peer) {
                while let Some(message) =
                    PeerMessage::cut(&mut guest.plain, 16 << 20).expect("a node speaks well")
                {
                    if matches!(
                        message,
                        PeerMessage::EpochKeys(_) | PeerMessage::Partials(_)
                    ) {
                        return Some(message);
                    }
                }
            }
            if self.now >= end {
                return None;
            }
            self.pass(20).expect("nothing goes wrong meanwhile");
        }
    }

    /// The next keys that came.
    pub fn given(&mut self, within_ms: u64) -> Option<Vec<SessionKey>> {
        let end = self.now.plus(within_ms);
        while self.now <= end {
            if let Some(PeerMessage::EpochKeys(keys)) = self.leaked(20) {
                return Some(keys);
            }
        }
        None
    }

    /// The next message that a node said to this guest.
    pub fn heard(&mut self, id: u64, within_ms: u64) -> Option<PeerMessage> {
        let end = self.now.plus(within_ms);
        loop {
            let plain = &mut self.guests.get_mut(&id)?.plain;
            if let Some(message) = PeerMessage::cut(plain, 16 << 20).expect("a node speaks well") {
                return Some(message);
            }
            if self.now >= end {
                return None;
            }
            self.pass(20).expect("nothing goes wrong meanwhile");
        }
    }

    /// Everything that nodes said to guests that speak as nodes do, and that nobody has heard yet.
    pub fn all_heard(&mut self) -> Vec<PeerMessage> {
        let mut messages = Vec::new();
        for guest in self.guests.values_mut().filter(|g| g.peer) {
            while let Some(message) =
                PeerMessage::cut(&mut guest.plain, 16 << 20).expect("a node speaks well")
            {
                messages.push(message);
            }
        }
        messages
    }

    /// A member proposes a change on the administrative channel; its own vote is enough if the constitution
    /// says so.
    pub fn propose(&mut self, place: usize, member: usize, change: Change) {
        let member = &self.consortium.members[member];
        let proposed = Proposed {
            network: self.consortium.constitution.network_id(),
            constitution: 1,
            proposer: member.name.clone(),
            window: Window {
                from: START,
                until: self.now.plus(60_000),
            },
            nonce: self.random.bytes()[..16]
                .try_into()
                .expect("half of 32 bytes"),
            title: "a change".into(),
            changes: vec![change],
        };
        let chain = std::slice::from_ref(&member.certificate);
        let ballot = Ballot {
            network: proposed.network,
            proposal: proposed.id(),
            voter: proposed.proposer.clone(),
            choice: Choice::For,
            window: proposed.window,
            number: 1,
        };
        let identity = Identity::new(&member.key, chain).expect("the member's own certificate");
        let connector = Connector::new(&identity, Trust::Any, &[channel::ADMINISTRATIVE]);
        let mut requests = BytesMut::new();
        for (path, signed) in [
            ("/v1/proposals", proposed.sign(&member.key)),
            ("/v1/ballots", ballot.sign(&member.key)),
        ] {
            let body = SignedMessage::new(signed, chain).to_cbor();
            let accept = [("accept", "*/*")];
            http1::encode_request("POST", path, "node", &accept, &body, &mut requests);
        }
        let id = self.visit(place, Surface::Administrative, &connector);
        self.guest_says(id, &requests);
    }

    /// What the node at a place has on its disk.
    pub fn entries(&self, place: usize) -> Vec<Bytes> {
        self.nodes[place].disk.entries().values().cloned().collect()
    }
}

impl Rogue {
    pub fn new(world: &mut World, place: usize) -> Self {
        let entropy = &mut Entropy::new(&world.random.bytes());
        let key = SigningKey::generate(entropy);
        let statement = NodeCertificate {
            network: world.consortium.constitution.network_id(),
            restarts: 0,
            common_name: "rogue",
            names: &[],
            evidence: &[],
            endorsements: &[],
            not_before: Millis(START.0 - 1_000),
            not_after: START.plus(365 * 86_400_000),
            serial: entropy.bytes(),
        };
        let certificate =
            channel::self_signed_certificate(&statement, &key).expect("it says little");
        let identity = Identity::new(&key, &[certificate]).expect("certified a line above");
        let connector = Connector::new(&identity, Trust::Any, &[channel::NODE]);
        let acceptor = Acceptor::new(&identity, &[channel::NODE]);
        world.listeners.insert(place, acceptor);
        Self {
            place,
            key,
            connector,
        }
    }

    /// Dials a node; gives the number of the connection.
    pub fn dials(&self, world: &mut World, place: usize) -> u64 {
        world.visit(place, Surface::Node, &self.connector)
    }

    pub fn says(&self, world: &mut World, id: u64, message: &PeerMessage) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        world.guest_says(id, &frame);
    }

    /// Evidence over what this key has to answer, made at `time` by the host's clock.
    pub fn evidence(
        &self,
        world: &World,
        purpose: Purpose,
        challenge: &[u8],
        time: Millis,
    ) -> Vec<u8> {
        let network = world.consortium.constitution.network_id();
        let fingerprint = self.key.public().fingerprint();
        let statement = Statement {
            measurement: MANAGER,
            report_data: report_data(&network, purpose, &fingerprint, challenge),
            launch_data: Vec::new(),
            instance: [7; 16],
            svn: 1,
            time,
            missing: Vec::new(),
            shared_user: false,
        };
        let consortium = &world.consortium;
        tee::software::sign(&consortium.platform, &consortium.platform_chain, &statement)
    }

    /// Is admitted by the node at `place`, which leads.
    pub fn joins(&self, world: &mut World, place: usize) -> Joined {
        for _ in 0..20 {
            if let Some(joined) = self.tries(world, place) {
                return joined;
            }
            world.pass(200).expect("nothing goes wrong meanwhile");
        }
        panic!("it is not admitted");
    }

    fn tries(&self, world: &mut World, place: usize) -> Option<Joined> {
        let id = self.dials(world, place);
        let network = world.consortium.constitution.network_id();
        let hello = Hello {
            network,
            nonce: [1; 32],
        };
        self.says(world, id, &PeerMessage::Hello(hello));
        let Some(PeerMessage::Welcome(welcome)) = world.heard(id, 2_000) else {
            panic!("the node does not greet")
        };
        let member = &world.consortium.members[self.place];
        let tuple = NodeTuple {
            network,
            owner: member.name.clone(),
            address: address(self.place),
            key: *self.key.public(),
            constitution: world.consortium.constitution.digest(),
        };
        let join = Join {
            credentials: Credentials {
                tuple: crypto::sign1(&member.key, Context::NodeTuple, &tuple.to_cbor()),
                owner_chain: vec![member.certificate.der().to_vec().into()],
                evidence: self.evidence(world, Purpose::Join, &welcome.nonce, world.now),
                endorsements: Vec::new(),
            },
            keys: true,
        };
        self.says(world, id, &PeerMessage::Join(join));
        match world.heard(id, 2_000) {
            Some(PeerMessage::Joined(joined)) => Some(joined),
            Some(PeerMessage::Refused { retry: true, .. }) => None,
            other => panic!("not admitted: {other:?}"),
        }
    }
}
