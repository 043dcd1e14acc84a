//! A whole node without its host: a manager and a key-value worker that lead a network of one.

use boundary::{Surface, host_to_manager, manager_to_host};
use bytes::{Bytes, BytesMut};
use channel::{Channel, Connector, Identity, Trust, protocol_name};
use crypto::Entropy;
use manager::Manager;
use sim::parts::{Consortium, Node, START};
use types::Millis;

use super::Piece;

const WRITES: usize = 64;
const CONNECTION: u64 = 2;

/// A client's writes, pipelined on one connection, from ciphertext to ciphertext. The disk answers at
/// once; the round ends when every write is answered, which is after its commit.
pub struct Round {
    node: Node,
    consortium: Consortium,
    now: Millis,
    phase: String,
    channel: Channel,
    http: http1::Client,
    sent: usize,
    next: Bytes,
    answers: Vec<u8>,
}

impl Round {
    pub fn new() -> Self {
        let consortium = Consortium::new(1, &mut Entropy::new(&[4; 32]));
        let user = &consortium.user;
        let identity = Identity::new(&user.key, std::slice::from_ref(&user.certificate))
            .expect("the user's own certificate");
        let name = protocol_name("kv");
        let connector = Connector::new(&identity, Trust::Any, &[&name]);
        let channel = Channel::connect(&connector, "node.invalid").expect("a DNS name");
        let mut node = Node::new(0);
        let asked = node.start(START, true, [5; 32], Manager::new(), &consortium);
        let mut round = Self {
            node,
            consortium,
            now: START,
            phase: String::new(),
            channel,
            http: http1::Client::new(http1::Options::application()),
            sent: 0,
            next: Bytes::new(),
            answers: Vec::new(),
        };
        round.serve(asked);
        for _ in 0..40 {
            round.tick();
        }
        assert_eq!(round.phase, "leading", "a founder leads at once");
        round.tell(host_to_manager::Message::Opened(boundary::Opened {
            connection: CONNECTION,
            surface: Surface::Application.into(),
            protocol: "kv".into(),
            remote: "far".into(),
        }));
        while round.channel.ready().is_none() {
            let hello = round.channel.drain();
            assert!(!hello.is_empty(), "the handshake goes on");
            round.receive(hello);
        }
        round
    }

    fn tick(&mut self) {
        self.now = self.now.plus(25);
        self.tell(host_to_manager::Message::Tick(boundary::Tick {}));
    }

    fn receive(&mut self, data: Bytes) {
        self.tell(host_to_manager::Message::Received(boundary::Received {
            connection: CONNECTION,
            data,
        }));
    }

    fn tell(&mut self, message: host_to_manager::Message) {
        let asked = self.node.tell(self.now, message, &self.consortium);
        self.serve(asked);
    }

    fn serve(&mut self, mut asked: Vec<manager_to_host::Message>) {
        use manager_to_host::Message as M;
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
                        self.channel
                            .received(&send.data, &mut self.answers)
                            .expect("the node speaks TLS");
                        continue;
                    }
                    M::Status(status) => {
                        self.phase = status.phase;
                        continue;
                    }
                    _ => continue,
                };
                more.extend(self.node.tell(self.now, answer, &self.consortium));
            }
            asked = more;
        }
    }
}

impl Piece for Round {
    fn prepare(&mut self) {
        // Roots are signed, and anything else that was put off, before the round.
        self.tick();
        let value = [b'v'; 256];
        let mut wire = BytesMut::new();
        for _ in 0..WRITES {
            let target = format!("/kv/key-{:04}", self.sent % (4 * WRITES));
            self.sent += 1;
            let fields: [(&str, &str); 0] = [];
            http1::encode_request("PUT", &target, "node", &fields, &value, &mut wire);
            self.http.sent("PUT");
        }
        self.channel.send(&wire).expect("connected");
        self.next = self.channel.drain();
    }

    fn run(&mut self) {
        let data = std::mem::take(&mut self.next);
        self.receive(data);
        self.http.receive(&std::mem::take(&mut self.answers));
        let mut answered = 0;
        while let Some(answer) = self.http.next().expect("the worker speaks HTTP") {
            assert_eq!(answer.status, 200, "{:?}", answer.body);
            answered += 1;
        }
        assert_eq!(answered, WRITES, "all were committed in one round");
    }
}
