//! Runs a script, one message a line, and writes down what came out.
//!
//! Lines that end in `&` are handled without a flush after them, as when more input is waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapter::Machine;
use boundary::manager_to_worker::Message as In;
use boundary::worker_to_manager::Message as Out;
use boundary::{
    Apply, CallerIdentity, Commit, Drain, Follow, ForwardedUnit, HistoryBatch, Inject, Lead,
    ManagerToWorker, ReadIndexReply, Refused, RefusedUnit, Rollback, StreamClose, StreamData,
    StreamOpen, Time,
};
use bytes::{Bytes, BytesMut};
use types::Millis;
use worker::{PoolLimits, Worker};

use crate::protocol::{self, NotesFront, id_name, name_id};

pub struct Script {
    pub worker: Worker,
    now: u64,
    /// Bodies proposed, by the name that the script gave the worker.
    pub bodies: BTreeMap<u64, Bytes>,
    /// Bytes of each stream whose window came back.
    pub consumed: BTreeMap<u64, u64>,
    lines: Vec<String>,
    clients: BTreeMap<u64, http1::Client>,
}

impl Script {
    pub fn new() -> Self {
        Self::with_limits(PoolLimits::default())
    }

    /// A worker that admits forwarded units again.
    pub fn verifying() -> Self {
        Self::of(protocol::machine(), PoolLimits::default(), true)
    }

    pub fn with_limits(limits: PoolLimits) -> Self {
        Self::of(protocol::machine(), limits, false)
    }

    /// A worker whose code knows data formats up to this one.
    pub fn until(last: u32) -> Self {
        let machine = protocol::machine_until(last);
        Self::of(machine, PoolLimits::default(), false)
    }

    fn of(machine: Arc<dyn Machine>, limits: PoolLimits, verify_forwarded: bool) -> Self {
        let worker = Worker::with_limits(machine, Box::<NotesFront>::default(), limits);
        Self::with_worker(worker, verify_forwarded)
    }

    pub fn with_worker(worker: Worker, verify_forwarded: bool) -> Self {
        let mut script = Self {
            worker,
            now: 1000,
            bodies: BTreeMap::new(),
            consumed: BTreeMap::new(),
            lines: Vec::new(),
            clients: BTreeMap::new(),
        };
        let hello = boundary::Hello {
            protocol: "notes".into(),
            genesis_time: 1000,
            verify_forwarded,
            ..Default::default()
        };
        script.handle(In::Hello(hello));
        script.lines.clear();
        script
    }

    /// The transcript of some lines.
    pub fn run(&mut self, text: &str) -> String {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.lines.push(format!("> {line}"));
            let (line, more) = line
                .strip_suffix(" &")
                .map_or((line, false), |line| (line, true));
            self.line(line);
            if !more {
                self.flush();
            }
        }
        let mut transcript = core::mem::take(&mut self.lines).join("\n");
        transcript.push('\n');
        transcript
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        let message = match words[0] {
            "time" => {
                self.now = number(1);
                In::Time(Time {})
            }
            "lead" => In::Lead(Lead {
                term: number(1),
                height: number(2),
                in_flight_max: 2,
                entropy_seed: vec![9; 32].into(),
                governance_version: 1,
            }),
            "limits" => In::Limits(boundary::Limits {
                batch_units_max: number(1),
                batch_bytes_max: 1 << 20,
                verify_forwarded: words[2] == "verify",
                format: 0,
            }),
            "vote-format" => In::Limits(boundary::Limits {
                format: words[1].parse().expect("a number"),
                ..Default::default()
            }),
            "follow" => In::Follow(Follow {
                term: number(1),
                leader_known: words[2] == "leader",
            }),
            "commit" => In::Commit(Commit {
                height: number(1),
                index: number(1) + 10,
                term: 1,
                time: self.now,
            }),
            "rollback" => In::Rollback(Rollback { height: number(1) }),
            "apply" => self.apply(number(1)),
            "open" => {
                let stream = number(1);
                self.clients
                    .insert(stream, http1::Client::new(http1::Options::application()));
                In::Open(StreamOpen {
                    stream,
                    caller: Some(caller(words[2])),
                    remote: String::new(),
                })
            }
            "close" => In::Close(StreamClose {
                stream: number(1),
                reason: String::new(),
            }),
            // post <stream> <unit>: one request.
            "post" => {
                let body = line.splitn(3, ' ').nth(2).expect("a unit");
                self.request(number(1), "POST", "/", body)
            }
            "get" => self.request(number(1), "GET", words[2], ""),
            "inject" => {
                let raw = line.splitn(3, ' ').nth(2).expect("a unit");
                In::Inject(Inject {
                    origin: number(1),
                    height: 0,
                    units: vec![forwarded(raw)],
                })
            }
            // A unit whose sender the other VN's worker made up.
            "forge" => {
                let raw = line.splitn(3, ' ').nth(2).expect("a unit");
                let established = Bytes::from_static(b"made up");
                In::Inject(Inject {
                    origin: number(1),
                    height: 0,
                    units: vec![ForwardedUnit {
                        established,
                        ..forwarded(raw)
                    }],
                })
            }
            "refused" => {
                let unit = RefusedUnit {
                    id: name(words[1]),
                    kind: if words.get(2) == Some(&"full") { 8 } else { 5 },
                    message: "the leader says no".into(),
                };
                In::Refused(Refused {
                    origin: 0,
                    units: vec![unit],
                })
            }
            "read-index" => {
                let failure = if words[2] == "failed" {
                    "no leader".to_owned()
                } else {
                    String::new()
                };
                let height = words[2].parse().unwrap_or(0);
                In::ReadIndex(ReadIndexReply {
                    request: number(1),
                    height,
                    failure,
                })
            }
            "history" => {
                let body = self.bodies.get(&number(2)).cloned();
                // That there is none names no height.
                let found = body.map(|body| HistoryBatch {
                    request: number(1),
                    height: number(2),
                    index: 99,
                    body,
                    ..Default::default()
                });
                In::History(found.unwrap_or(HistoryBatch {
                    request: number(1),
                    absent: true,
                    ..Default::default()
                }))
            }
            // reply <call> <status> <text>: a whole reply.
            "reply" => {
                let text = line.splitn(4, ' ').nth(3).unwrap_or_default();
                let mut data = BytesMut::new();
                let status = words[2].parse().expect("a status");
                let headers: [(&str, &str); 0] = [];
                let last = http1::Persistence::Close;
                http1::encode_response(status, &headers, text.as_bytes(), "POST", last, &mut data);
                self.external(number(1), data.freeze(), false)
            }
            // bytes <call> <raw>: a piece of a reply, with | for the end of a line.
            "bytes" => {
                let text = line.splitn(3, ' ').nth(2).unwrap_or_default();
                self.external(number(1), text.replace('|', "\r\n").into(), false)
            }
            "end" => self.external(number(1), Bytes::new(), true),
            "fail-call" => {
                let failure = boundary::ExternalFailure::from_str_name(&format!(
                    "EXTERNAL_FAILURE_{}",
                    words[2]
                ));
                In::External(boundary::ExternalData {
                    request: number(1),
                    failure: failure.expect("a failure").into(),
                    ..Default::default()
                })
            }
            "drain" => In::Drain(Drain {}),
            word => panic!("no such line: {word}"),
        };
        self.handle(message);
    }

    pub fn apply(&self, height: u64) -> In {
        let body = self.bodies[&height].clone();
        In::Apply(Apply {
            height,
            index: height + 10,
            term: 1,
            time: self.now,
            body,
        })
    }

    fn external(&self, request: u64, data: Bytes, end: bool) -> In {
        In::External(boundary::ExternalData {
            request,
            data,
            end,
            ..Default::default()
        })
    }

    fn request(&mut self, stream: u64, method: &str, target: &str, body: &str) -> In {
        let mut data = BytesMut::new();
        http1::encode_request(
            method,
            target,
            "x",
            &[("a", "b")],
            body.as_bytes(),
            &mut data,
        );
        self.clients.get_mut(&stream).expect("opened").sent(method);
        In::Data(StreamData {
            stream,
            data: data.freeze(),
        })
    }

    pub fn data(&mut self, stream: u64, data: impl Into<Bytes>) -> String {
        self.handle(In::Data(StreamData {
            stream,
            data: data.into(),
        }));
        self.flush();
        core::mem::take(&mut self.lines).join("\n")
    }

    /// The stream is read as raw bytes from now on.
    pub fn raw(&mut self, stream: u64) {
        self.clients.remove(&stream);
    }

    pub fn handle(&mut self, message: In) {
        let mut out = Vec::new();
        let message = ManagerToWorker {
            now: self.now,
            message: Some(message),
        };
        self.worker.handle(Millis(self.now), message, &mut out);
        self.note(out);
    }

    pub fn flush(&mut self) {
        let mut out = Vec::new();
        self.worker.flush(Millis(self.now), &mut out);
        self.note(out);
    }

    /// Streams named by what the next flush forwards.
    pub fn forwarded_streams(&mut self) -> Vec<u64> {
        let mut out = Vec::new();
        self.worker.flush(Millis(self.now), &mut out);
        let forwards = out.into_iter().filter_map(|message| match message.message {
            Some(Out::Forward(forward)) => Some(forward.units),
            _ => None,
        });
        forwards.flatten().map(|unit| unit.stream).collect()
    }

    fn note(&mut self, out: Vec<boundary::WorkerToManager>) {
        for message in out {
            let line = match message.message.expect("not empty") {
                Out::Metrics(_) => continue,
                Out::Consumed(consumed) => {
                    *self.consumed.entry(consumed.stream).or_default() += consumed.bytes;
                    continue;
                }
                Out::Propose(propose) => {
                    let body = worker::Body::decode(propose.body.clone()).expect("well-formed");
                    assert_eq!(
                        (body.env.height.0, body.env.time.0),
                        (propose.height, propose.time)
                    );
                    let leaves = body.migration.map_or(body.units.len(), |_| 1);
                    assert_eq!(propose.claims.len(), leaves * 32);
                    self.bodies.insert(propose.height, propose.body);
                    let what = match body.migration {
                        Some(m) => format!("migration from {} to {}", m.from, m.to),
                        None => names(body.units.iter().map(|(u, _)| &u.id.0[..])),
                    };
                    format!("propose {} at {}: {what}", propose.height, propose.time)
                }
                Out::Applied(applied) => format!("applied {}", applied.height),
                Out::Forward(forward) => format!(
                    "forward {}",
                    names(forward.units.iter().map(|unit| &unit.id[..]))
                ),
                Out::Refused(refused) => format!(
                    "refused to {}: {}",
                    refused.origin,
                    names(refused.units.iter().map(|unit| &unit.id[..]))
                ),
                Out::History(request) => {
                    format!("history {} height {}", request.request, request.height)
                }
                Out::ReadIndex(request) => format!("read-index {}", request.request),
                Out::Close(close) => format!("close {}", close.stream),
                Out::SnapshotChunk(chunk) => format!(
                    "snapshot of {}: chunk {}{}",
                    chunk.height,
                    chunk.sequence,
                    if chunk.last { ", the last" } else { "" }
                ),
                Out::Receipt(request) => format!(
                    "receipt {} of {}.{}",
                    request.request, request.height, request.position
                ),
                Out::External(call) => format!(
                    "call {}: number {} of {}, {} {}{}: {}",
                    call.request,
                    call.place,
                    id_name(&call.unit),
                    call.method,
                    call.endpoint,
                    call.target,
                    String::from_utf8_lossy(&call.body)
                ),
                Out::ExternalClose(close) => format!("close call {}", close.request),
                Out::Log(log) => format!("log {}", log.text),
                Out::Ready(ready) => format!("ready {:?}", ready.failure),
                Out::Data(data) => {
                    self.received(data);
                    continue;
                }
            };
            self.lines.push(line);
        }
    }

    fn received(&mut self, data: StreamData) {
        let Some(client) = self.clients.get_mut(&data.stream) else {
            self.lines.push(format!("{}: {:?}", data.stream, data.data));
            return;
        };
        client.receive(&data.data);
        while let Some(response) = client.next().expect("the worker speaks HTTP") {
            let body = String::from_utf8_lossy(&response.body)
                .trim_end()
                .to_owned();
            self.lines
                .push(format!("{}: {} {body}", data.stream, response.status));
        }
    }
}

fn names<'a>(ids: impl Iterator<Item = &'a [u8]>) -> String {
    ids.map(id_name).collect::<Vec<_>>().join(" ")
}

fn name(name: &str) -> Bytes {
    Bytes::copy_from_slice(&name_id(name).0)
}

fn caller(name: &str) -> CallerIdentity {
    CallerIdentity {
        actor: Bytes::copy_from_slice(&name_id(name).0),
        name: name.into(),
        member: true,
        auditor: false,
    }
}

/// As another VN's worker forwards it; `stale` lane knowledge, since that VN may lag.
fn forwarded(raw: &str) -> ForwardedUnit {
    let mut words = raw.split(' ');
    let id = name(words.next().expect("a name"));
    let lane = words
        .clone()
        .find_map(|word| word.strip_prefix("lane=")?.split_once('/'));
    let after = words
        .filter_map(|word| word.strip_prefix("after="))
        .map(name)
        .collect();
    ForwardedUnit {
        id,
        lane: lane
            .map(|(lane, _)| Bytes::copy_from_slice(lane.as_bytes()))
            .unwrap_or_default(),
        lane_seq: lane.map_or(0, |(_, seq)| seq.parse().expect("a number")),
        lane_next: 0,
        after,
        established: Bytes::from_static(b"seen"),
        raw: Bytes::copy_from_slice(raw.as_bytes()),
        caller: Some(caller("bob")),
        stream: 0,
    }
}

/// Runs a script on a fresh worker and compares its transcript.
#[track_caller]
pub fn check(text: &str, expected: expect_test::Expect) {
    expected.assert_eq(&Script::new().run(text));
}
