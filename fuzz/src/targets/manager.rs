//! What other nodes and administrators say to a manager, and a founding manager that is told anything.

use boundary::{
    Decoder, HostToManager, Surface, WorkerToManager, host_to_manager, manager_to_host,
};
use bytes::{Bytes, BytesMut};
use channel::{ADMINISTRATIVE, Channel, Connector, Identity, Trust};
use crypto::Entropy;
use http1::Options;
use manager::Manager;
use manager::parts::{ManagerPart, Reader, Zeroized, frame};
use manager::wire::{
    Credentials, Hello, Join, KeyAsk, Partials, PeerMessage, STRANGER_MESSAGE_BYTES_MAX, Welcome,
};
use sim::parts::{Consortium, Node, START};
use types::{Digest, Epoch, Height, Index, Millis, NetworkId, Term};

use crate::targets::boundary as lists;

/// The same messages wherever the stream is cut, and again when they are written.
pub fn peer(data: &[u8]) {
    let read = |parts: &[&[u8]]| {
        let mut buffer = BytesMut::new();
        let mut got = Vec::new();
        for part in parts {
            buffer.extend_from_slice(part);
            loop {
                match PeerMessage::cut(&mut buffer, STRANGER_MESSAGE_BYTES_MAX) {
                    Ok(Some(message)) => got.push(message),
                    Ok(None) => break,
                    Err(_) => return (got, true),
                }
            }
        }
        (got, false)
    };
    let whole = read(&[data]);
    let middle = data.len() / 2;
    assert_eq!(
        read(&[&data[..middle], &data[middle..]]),
        whole,
        "a cut changed what was read"
    );
    let mut wire = Vec::new();
    whole.0.iter().for_each(|message| message.encode(&mut wire));
    assert_eq!(read(&[&wire]).0, whole.0, "written otherwise than read");
}

pub fn peers() -> Vec<Vec<u8>> {
    let credentials = Credentials {
        tuple: b"tuple".to_vec(),
        owner_chain: vec![b"certificate".to_vec().into()],
        evidence: b"evidence".to_vec(),
        endorsements: vec![],
    };
    let messages = [
        PeerMessage::Hello(Hello {
            network: NetworkId([1; 32]),
            nonce: [2; 32],
        }),
        PeerMessage::Welcome(Welcome {
            credentials: credentials.clone(),
            nonce: [3; 32],
            constitution: Digest([4; 32]),
        }),
        PeerMessage::Join(Join {
            credentials,
            keys: true,
        }),
        PeerMessage::Redirect {
            address: "vn:1".into(),
        },
        PeerMessage::Refused {
            reason: "why".into(),
            retry: true,
        },
        PeerMessage::Consensus(Bytes::from_static(b"raft")),
        PeerMessage::Units {
            protocol: 3,
            inject: Bytes::from_static(b"units"),
        },
        PeerMessage::SnapshotAsk {
            index: Index(5),
            sequence: 1,
        },
        PeerMessage::SnapshotPiece {
            index: Index(5),
            sequence: 1,
            last: true,
            data: Bytes::from_static(b"piece"),
        },
        PeerMessage::EntriesAsk {
            first: Index(1),
            last: Index(2),
        },
        PeerMessage::Entries {
            first: Index(1),
            entries: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
        },
        PeerMessage::Poll {
            poll: 1,
            message: Bytes::from_static(b"signed"),
        },
        PeerMessage::KeysAsk,
        PeerMessage::KeyMessage(Bytes::from_static(b"signed")),
        PeerMessage::KeyAsk(KeyAsk {
            epoch: Epoch(2),
            number: 3,
            evidence: b"evidence".to_vec(),
            endorsements: vec![],
        }),
        PeerMessage::Partials(Partials {
            epoch: Epoch(2),
            session: b"partial".to_vec(),
            history: b"partial".to_vec(),
        }),
        PeerMessage::PartialsAsk { epoch: Epoch(2) },
    ];
    let one = |message: &PeerMessage| {
        let mut wire = Vec::new();
        message.encode(&mut wire);
        wire
    };
    let mut seeds: Vec<_> = messages.iter().map(one).collect();
    seeds.push(seeds.concat());
    seeds
}

/// A node that founded a network and leads it.
struct Founder {
    node: Node,
    consortium: Consortium,
    now: Millis,
    phase: String,
}

impl Founder {
    fn new() -> Self {
        let consortium = Consortium::new(1, &mut Entropy::new(&[4; 32]));
        let mut node = Node::new(0);
        let asked = node.start(START, true, [5; 32], Manager::new(), &consortium);
        let mut founder = Self {
            node,
            consortium,
            now: START,
            phase: String::new(),
        };
        founder.serve(asked);
        for _ in 0..40 {
            founder.now = founder.now.plus(25);
            founder.tell(host_to_manager::Message::Tick(boundary::Tick {}));
        }
        assert_eq!(founder.phase, "leading", "a founder leads at once");
        founder
    }

    /// Tells the manager, does what it asks of its host, and gives what it sent on connections.
    fn tell(&mut self, message: host_to_manager::Message) -> Vec<boundary::Send> {
        let asked = self.node.tell(self.now, message, &self.consortium);
        self.serve(asked)
    }

    fn serve(&mut self, mut asked: Vec<manager_to_host::Message>) -> Vec<boundary::Send> {
        use manager_to_host::Message as M;
        let mut sent = Vec::new();
        while !asked.is_empty() {
            let mut more = Vec::new();
            for request in asked {
                let answer = match request {
                    M::SignTuple(payload) => {
                        let key = &self.consortium.members[0].key;
                        let context = crypto::Context::NodeTuple;
                        host_to_manager::Message::TupleSigned(boundary::TupleSigned {
                            tuple: crypto::sign1(key, context, &payload.payload).into(),
                            failure: String::new(),
                        })
                    }
                    M::Append(append) => host_to_manager::Message::Persisted(boundary::Persisted {
                        sequence: append.sequence,
                    }),
                    M::Send(send) => {
                        sent.push(send);
                        continue;
                    }
                    M::Status(status) => {
                        self.phase = status.phase;
                        continue;
                    }
                    M::Exit(_) => return sent,
                    _ => continue,
                };
                more.extend(self.node.tell(self.now, answer, &self.consortium));
            }
            asked = more;
        }
        sent
    }
}

/// Whatever a host says, its manager lives or says why it ends.
pub fn host(data: &[u8]) {
    let mut founder = Founder::new();
    let mut decoder = Decoder::default();
    decoder.buffer().extend_from_slice(data);
    while let Ok(Some(HostToManager { now, message })) = decoder.next() {
        founder.now = Millis(now);
        let Some(message) = message else {
            continue;
        };
        founder.tell(message);
    }
}

pub fn told_by_host() -> Vec<Vec<u8>> {
    let mut seeds = lists::to_manager();
    let opened = |surface: Surface| {
        lists::host(host_to_manager::Message::Opened(boundary::Opened {
            connection: 2,
            surface: surface.into(),
            protocol: "kv".into(),
            remote: "far".into(),
        }))
    };
    let received = lists::host(host_to_manager::Message::Received(boundary::Received {
        connection: 2,
        data: Bytes::from_static(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"),
    }));
    let closed = lists::host(host_to_manager::Message::Closed(boundary::Closed {
        connection: 2,
    }));
    for surface in [Surface::Application, Surface::Administrative, Surface::Node] {
        seeds.push([opened(surface), received.clone(), closed.clone()].concat());
    }
    seeds
}

/// Whatever its worker says, a manager lives and goes on serving its administrators.
pub fn worker(data: &[u8]) {
    let mut founder = Founder::new();
    let mut decoder = Decoder::default();
    decoder.buffer().extend_from_slice(data);
    while let Ok(Some(message)) = decoder.next::<WorkerToManager>() {
        let asked = founder
            .node
            .tell_as_worker(founder.now, 1, message, &founder.consortium);
        founder.serve(asked);
    }
}

pub fn told_by_worker() -> Vec<Vec<u8>> {
    lists::worker_messages().map(lists::worker).to_vec()
}

/// An administrator's connection to a founder.
struct Administrator {
    founder: Founder,
    connection: u64,
}

thread_local! {
    static ADMINISTRATOR: std::cell::RefCell<Option<Administrator>> =
        const { std::cell::RefCell::new(None) };
}

/// What a member sends inside its channel is answered in HTTP, and the next connection is served.
pub fn admin(data: &[u8]) {
    ADMINISTRATOR.with_borrow_mut(|held| {
        let administrator = held.get_or_insert_with(|| Administrator {
            founder: Founder::new(),
            connection: 2,
        });
        administrator.connection += 2;
        let answer = administrator.ask(data);
        read_answers(&answer);
        administrator.connection += 2;
        let alive = administrator.ask(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n");
        assert!(alive.starts_with(b"HTTP/1.1 200"), "{alive:?}");
    });
}

/// Answers to however many requests there were are well-formed HTTP.
fn read_answers(bytes: &[u8]) {
    let mut client = http1::Client::new(Options::application());
    for _ in 0..128 {
        client.sent("GET");
    }
    client.receive(bytes);
    while client.next().expect("the manager speaks HTTP").is_some() {}
}

impl Administrator {
    fn ask(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let connection = self.connection;
        let member = &self.founder.consortium.members[0];
        let identity = Identity::new(&member.key, std::slice::from_ref(&member.certificate))
            .expect("its own certificate");
        let connector = Connector::new(&identity, Trust::Any, &[ADMINISTRATIVE]);
        let mut channel = Channel::connect(&connector, "node.invalid").expect("a DNS name");
        self.founder
            .tell(host_to_manager::Message::Opened(boundary::Opened {
                connection,
                surface: Surface::Administrative.into(),
                protocol: String::new(),
                remote: "far".into(),
            }));
        let mut answer = Vec::new();
        let mut said = false;
        loop {
            if channel.ready().is_some() && !said {
                said = true;
                let _ = channel.send(plaintext);
            }
            let data = channel.drain();
            if data.is_empty() {
                break;
            }
            let message = boundary::Received { connection, data };
            for send in self
                .founder
                .tell(host_to_manager::Message::Received(message))
            {
                if send.connection == connection
                    && channel.received(&send.data, &mut answer).is_err()
                {
                    break;
                }
            }
        }
        self.founder
            .tell(host_to_manager::Message::Closed(boundary::Closed {
                connection,
            }));
        answer
    }
}

pub fn requests() -> Vec<Vec<u8>> {
    ["status", "network", "nodes", "actor", "constitution"]
        .map(|name| format!("GET /v1/{name} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes())
        .to_vec()
}

/// A snapshot's plaintext gives the same pieces wherever it is cut.
pub fn snapshot(data: &[u8]) {
    let Some((step, data)) = data.split_first() else {
        return;
    };
    let read = |step: usize| {
        let mut reader = Reader::new(2);
        let mut got = Vec::new();
        for part in data.chunks(step) {
            match reader.take(part) {
                Ok(pieces) => got.extend(pieces),
                Err(_) => return (got, None),
            }
        }
        (got, Some(reader.is_complete()))
    };
    let (whole, cut) = (read(data.len().max(1)), read(usize::from(*step).max(1)));
    // What is wrong is found at once, so that pieces before it may be missing.
    assert!(
        whole == cut || whole.1.is_none() && cut.1.is_none(),
        "a cut changed what was read"
    );
}

pub fn snapshots() -> Vec<Vec<u8>> {
    let part = ManagerPart {
        index: Index(5),
        term: Term(1),
        time: START,
        epoch: Epoch(0),
        restarts: 0,
        digest: Digest([1; 32]),
        frontier: Default::default(),
        runs: vec![(Index(1), Term(1))],
        heights: vec![Height(1), Height(2)],
        configurations: [(Index(1), Default::default())].into(),
        points: [(Index(5), Epoch(0))].into(),
        recorded: [(Index(5), Digest([2; 32]))].into(),
        state: Zeroized(governance::State::new().to_cbor()),
    };
    let mut plaintext = part.to_bytes().to_vec();
    for state in [&b"state"[..], b""] {
        plaintext.extend_from_slice(&frame(state.len(), true));
        plaintext.extend_from_slice(state);
    }
    vec![
        [&[255][..], &plaintext].concat(),
        [&[9][..], &plaintext].concat(),
    ]
}
