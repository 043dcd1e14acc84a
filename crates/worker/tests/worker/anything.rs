//! Two workers, clients on both, leadership that moves at random, messages that get lost: whatever
//! happens, no unit commits twice, lanes keep their order, both states are equal, nobody is told
//! something that is not so, and in the end everything is committed.
//!
//! The script here is the manager of both: it has a list of committed batches, and proposals of the
//! present leader that may or may not join it when leadership moves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use boundary::manager_to_worker::Message as In;
use boundary::worker_to_manager::Message as Out;
use boundary::{
    Apply, CallerIdentity, Commit, Follow, Inject, Lead, ManagerToWorker, Refused, Rollback,
    StreamData, StreamOpen, Time,
};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use types::Millis;
use worker::{Body, Worker};

use crate::protocol::{self, NotesFront, id_name};

const UNITS: u64 = 24;

#[derive(Debug, Clone)]
enum Step {
    /// The next unit, at this worker; `again` also sends an earlier one once more.
    Submit {
        at: usize,
        again: bool,
    },
    Commit,
    Rollback,
    /// Leadership moves, `None` for nobody; `kept` of the proposals in flight are committed by it.
    Move {
        to: Option<usize>,
        kept: usize,
    },
    /// What is on its way between the two is delivered, or lost.
    Deliver {
        lost: bool,
    },
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2_usize, any::<bool>()).prop_map(|(at, again)| Step::Submit { at, again }),
        5 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        2 => (prop::option::of(0..2_usize), 0..3_usize).prop_map(|(to, kept)| Step::Move { to, kept }),
        5 => prop::bool::weighted(0.2).prop_map(|lost| Step::Deliver { lost }),
        1 => Just(Step::Wait),
    ]
}

struct World {
    workers: Vec<Worker>,
    clients: Vec<http1::Client>,
    /// For each worker: what was asked and not answered.
    asked: Vec<VecDeque<String>>,
    told_committed: BTreeMap<String, (u64, usize)>,
    committed: Vec<Bytes>,
    proposals: VecDeque<Bytes>,
    leader: Option<usize>,
    term: u64,
    now: u64,
    /// Between the workers: forwarded units to the leader, refusals back.
    under_way: Vec<(usize, In)>,
    submitted: u64,
    order: Vec<u64>,
}

/// Units in four lanes and without one; `order` shuffles them, so lanes have gaps for a while.
fn unit(n: u64) -> String {
    match n % 3 {
        0 => format!("u{n} add total"),
        1 => format!("u{n} lane=x/{} add total", n / 3),
        _ => format!("u{n} lane=y/{} add total", n / 3),
    }
}

impl World {
    fn new(order: Vec<u64>) -> Self {
        let worker = || Worker::new(protocol::machine(), Box::<NotesFront>::default());
        let mut world = Self {
            workers: vec![worker(), worker()],
            clients: (0..2)
                .map(|_| http1::Client::new(http1::Options::application()))
                .collect(),
            asked: vec![VecDeque::new(), VecDeque::new()],
            told_committed: BTreeMap::new(),
            committed: Vec::new(),
            proposals: VecDeque::new(),
            leader: None,
            term: 0,
            now: 1000,
            under_way: Vec::new(),
            submitted: 0,
            order,
        };
        for at in 0..2 {
            let hello = boundary::Hello {
                protocol: "notes".into(),
                genesis_time: 1000,
                verify_forwarded: false,
                ..Default::default()
            };
            world.tell(at, In::Hello(hello));
            world.tell(
                at,
                In::Open(StreamOpen {
                    stream: 2,
                    caller: Some(ada()),
                    remote: String::new(),
                }),
            );
        }
        world
    }

    fn tell(&mut self, at: usize, message: In) {
        let mut out = Vec::new();
        let message = ManagerToWorker {
            now: self.now,
            message: Some(message),
        };
        self.workers[at].handle(Millis(self.now), message, &mut out);
        self.workers[at].flush(Millis(self.now), &mut out);
        for message in out {
            match message.message.expect("not empty") {
                Out::Propose(propose) => {
                    assert_eq!(self.leader, Some(at), "only the leader proposes");
                    assert_eq!(
                        propose.height as usize,
                        self.committed.len() + self.proposals.len() + 1
                    );
                    assert!(self.proposals.len() < 3, "credits are kept");
                    self.proposals.push_back(propose.body);
                }
                Out::Forward(mut forward) => {
                    forward
                        .units
                        .iter_mut()
                        .for_each(|unit| unit.caller = Some(ada()));
                    self.under_way.push((
                        1 - at,
                        In::Inject(Inject {
                            origin: 100 + at as u64,
                            height: 0,
                            units: forward.units,
                        }),
                    ));
                }
                Out::Refused(refused) => {
                    let to = usize::try_from(refused.origin - 100).expect("one of two");
                    self.under_way.push((
                        to,
                        In::Refused(Refused {
                            origin: 0,
                            units: refused.units,
                        }),
                    ));
                }
                Out::Data(data) => self.answered(at, &data.data),
                Out::Log(log) => panic!("{}", log.text),
                _ => {}
            }
        }
    }

    fn answered(&mut self, at: usize, data: &[u8]) {
        self.clients[at].receive(data);
        while let Some(response) = self.clients[at].next().expect("HTTP") {
            let unit = self.asked[at].pop_front().expect("asked");
            let text = String::from_utf8(response.body.to_vec()).expect("text");
            if let Some(place) = text.strip_prefix("committed ") {
                let (height, position) = place.split_once('.').expect("a place");
                let place: (u64, usize) = (
                    height.parse().expect("a height"),
                    position.parse().expect("a position"),
                );
                // Told so: it must be in the list already, at this place.
                let body = Body::decode(self.committed[place.0 as usize - 1].clone())
                    .expect("well-formed");
                assert_eq!(id_name(&body.units[place.1].0.id.0), unit);
                assert_eq!(*self.told_committed.entry(unit).or_insert(place), place);
            } else {
                assert_eq!(text, "unknown", "{unit}");
            }
        }
    }

    fn submit(&mut self, at: usize, text: &str) {
        let name = text.split(' ').next().expect("a name").to_owned();
        let mut data = BytesMut::new();
        http1::encode_request("POST", "/", "x", &[("a", "b")], text.as_bytes(), &mut data);
        self.clients[at].sent("POST");
        self.asked[at].push_back(name);
        self.tell(
            at,
            In::Data(StreamData {
                stream: 2,
                data: data.freeze(),
            }),
        );
    }

    fn commit(&mut self) {
        let Some(body) = self.proposals.pop_front() else {
            return;
        };
        self.committed.push(body.clone());
        let (height, index) = (
            self.committed.len() as u64,
            self.committed.len() as u64 + 10,
        );
        let leader = self.leader.expect("who proposed");
        self.tell(
            leader,
            In::Commit(Commit {
                height,
                index,
                term: self.term,
                time: self.now,
            }),
        );
        self.tell(
            1 - leader,
            In::Apply(Apply {
                height,
                index,
                term: self.term,
                time: self.now,
                body,
            }),
        );
    }

    fn move_to(&mut self, to: Option<usize>, kept: usize) {
        // What stays of the proposals comes to everybody as committed by others.
        let kept: Vec<Bytes> = self.proposals.drain(..).take(kept).collect();
        self.leader = None;
        self.term += 1;
        for at in 0..2 {
            self.tell(
                at,
                In::Follow(Follow {
                    term: self.term,
                    leader_known: false,
                }),
            );
        }
        for body in kept {
            self.committed.push(body.clone());
            let (height, index) = (
                self.committed.len() as u64,
                self.committed.len() as u64 + 10,
            );
            for at in 0..2 {
                self.tell(
                    at,
                    In::Apply(Apply {
                        height,
                        index,
                        term: 1,
                        time: self.now,
                        body: body.clone(),
                    }),
                );
            }
        }
        if let Some(to) = to {
            self.leader = Some(to);
            let height = self.committed.len() as u64;
            self.tell(
                to,
                In::Lead(Lead {
                    term: self.term,
                    height,
                    in_flight_max: 3,
                    entropy_seed: vec![9; 32].into(),
                    governance_version: 1,
                }),
            );
            self.tell(
                1 - to,
                In::Follow(Follow {
                    term: self.term,
                    leader_known: true,
                }),
            );
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Submit { at, again } => {
                if self.submitted < UNITS {
                    let n = self.order[usize::try_from(self.submitted).expect("few")];
                    self.submitted += 1;
                    self.submit(at, &unit(n));
                }
                if again && self.submitted > 0 {
                    let n = self.order[usize::try_from(self.submitted / 2).expect("few")];
                    if self.order[..self.submitted as usize].contains(&n) {
                        self.submit(1 - at, &unit(n));
                    }
                }
            }
            Step::Commit => self.commit(),
            Step::Rollback => {
                if let Some(leader) = self.leader {
                    self.proposals.truncate(1);
                    let height = (self.committed.len() + self.proposals.len()) as u64;
                    self.tell(leader, In::Rollback(Rollback { height }));
                }
            }
            Step::Move { to, kept } => self.move_to(to, kept),
            Step::Deliver { lost } => {
                for (to, message) in core::mem::take(&mut self.under_way) {
                    if !lost {
                        self.tell(to, message);
                    }
                }
            }
            Step::Wait => {
                self.now += 3000;
                (0..2).for_each(|at| self.tell(at, In::Time(Time {})));
            }
        }
    }
}

fn ada() -> CallerIdentity {
    CallerIdentity {
        actor: Bytes::from_static(&[7; 32]),
        name: "ada".into(),
        member: true,
        auditor: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_happens_every_unit_commits_once(
        order in Just((0..UNITS).collect::<Vec<_>>()).prop_shuffle(),
        steps in prop::collection::vec(step(), 0..80),
        last in 0..2_usize,
    ) {
        let mut world = World::new(order);
        for step in steps {
            world.step(step);
        }
        // Better times: a leader that stays, and nothing lost but what it is first sent.
        while world.submitted < UNITS {
            world.step(Step::Submit { at: 0, again: false });
        }
        world.move_to(Some(last), 0);
        world.step(Step::Deliver { lost: true });
        for _ in 0..12 {
            world.step(Step::Deliver { lost: false });
            while !world.proposals.is_empty() {
                world.step(Step::Commit);
            }
            world.step(Step::Wait);
        }

        let mut seen = BTreeSet::new();
        let mut lanes: BTreeMap<char, u64> = BTreeMap::new();
        for body in &world.committed {
            for (unit, _) in Body::decode(body.clone()).expect("well-formed").units {
                let text = String::from_utf8(unit.raw.to_vec()).expect("text");
                prop_assert!(seen.insert(unit.id), "{} twice", text);
                if let Some(lane) = text.split(' ').find_map(|word| word.strip_prefix("lane=")) {
                    let (name, seq) = lane.split_once('/').expect("a lane");
                    let next = lanes.entry(name.chars().next().expect("a name")).or_default();
                    prop_assert_eq!(seq.parse::<u64>().expect("a number"), *next);
                    *next += 1;
                }
            }
        }
        prop_assert_eq!(seen.len() as u64, UNITS, "everything is committed");
        prop_assert!(world.asked.iter().all(VecDeque::is_empty), "everybody has an answer: {:?}", world.asked);
        let [a, b] = [0, 1].map(|at| world.workers[at].state());
        prop_assert_eq!(a.committed_height(), b.committed_height());
        for (domain, _) in a.domains() {
            prop_assert_eq!(a.entries(*domain), b.entries(*domain));
        }
        let fresh = World::new(Vec::new());
        let mut replica = fresh.workers.into_iter().next().expect("two");
        for (at, body) in world.committed.iter().enumerate() {
            worker::replay(&*protocol::machine(), replica.state(), body.clone()).expect("leaders are honest");
            let apply = Apply { height: at as u64 + 1, body: body.clone(), ..Default::default() };
            let message = ManagerToWorker { now: 1, message: Some(In::Apply(apply)) };
            replica.handle(Millis(1), message, &mut Vec::new());
        }
    }
}
