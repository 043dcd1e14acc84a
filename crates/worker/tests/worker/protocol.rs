//! A protocol for tests: notes in lanes.
//!
//! A unit is text: `<name> [lane=<lane>/<seq>] [after=<name>] <action>`, with an action of
//! `put <key> <value>`, `add <key>` (one more than before), `dice <key>` (what the outside and the
//! batch's entropy give), `ask <key> <words>` (what a system outside answers), `ask-note <key> <note>` (what
//! it answers to the value of another note), `fail`, `fail-dice`, `later`, `revert <key>` (writes, takes it back, stays).
//!
//! In the data format 2 the note `sum` is kept under the key `total`. Nothing leads to format 3.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adapter::{
    Access, Action, Batch, Caller, Claim, Context, Descriptor, Domain, DomainSpec, Event, Exchange,
    Exec, ExternalCall, Fate, Front, Kind, Layout, Lost, Machine, Memo, Missing, Outcome, Progress,
    Push, Reject, Request, Response, Settings, StreamId, Ticket, Unit, View, answer_to,
};
use bytes::Bytes;
use types::{Digest, Height, UnitId};

const NOTES: Domain = Domain(1);
const LANES: Domain = Domain(2);

pub struct Notes {
    /// The outside: each throw of the dice differs.
    thrown: AtomicU64,
    /// The last data format that this code knows.
    last: u32,
}

/// Under which key a note is kept.
fn place<'a>(view: &dyn View, key: &'a str) -> &'a str {
    match key {
        "sum" if view.format() >= 2 => "total",
        key => key,
    }
}

struct Parsed<'a> {
    id: UnitId,
    lane: Option<(&'a str, u64)>,
    after: Vec<UnitId>,
    action: Vec<&'a str>,
}

pub fn name_id(name: &str) -> UnitId {
    let mut id = [0; 32];
    id[..name.len()].copy_from_slice(name.as_bytes());
    UnitId(id)
}

pub fn id_name(id: &[u8]) -> String {
    String::from_utf8_lossy(id)
        .trim_end_matches('\0')
        .to_owned()
}

fn parse(raw: &Bytes) -> Option<Parsed<'_>> {
    let mut words = core::str::from_utf8(raw).ok()?.split(' ').peekable();
    let id = name_id(words.next().filter(|name| (1..=32).contains(&name.len()))?);
    let mut parsed = Parsed {
        id,
        lane: None,
        after: Vec::new(),
        action: Vec::new(),
    };
    for word in words {
        if let Some(lane) = word.strip_prefix("lane=") {
            let (name, seq) = lane.split_once('/')?;
            parsed.lane = Some((name, seq.parse().ok()?));
        } else if let Some(name) = word.strip_prefix("after=") {
            parsed.after.push(name_id(name));
        } else {
            parsed.action.push(word);
        }
    }
    Some(parsed)
}

fn number(view: &dyn View, domain: Domain, key: &str) -> u64 {
    let value = view
        .get(domain, key.as_bytes())
        .expect("never lost")
        .unwrap_or_default();
    String::from_utf8_lossy(&value).parse().unwrap_or(0)
}

/// Keeps what a system outside answered; gives the call that has no answer yet. A first answer of `again`
/// is asked about once more.
fn ask(unit: &Unit, exec: &mut dyn Exec, key: &str, body: Bytes) -> Option<ExternalCall> {
    let mut call = ExternalCall {
        endpoint: "oracle".into(),
        caller: "notes".into(),
        method: "POST".into(),
        target: "/ask".into(),
        headers: Vec::new(),
        body,
    };
    for place in 0.. {
        let said = match answer_to(&unit.answers, place, &call) {
            None => return Some(call),
            Some(Ok(reply)) if reply.body == "again" => {
                call.body = "once more".into();
                continue;
            }
            Some(Ok(reply)) => format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body)),
            Some(Err(failure)) => format!("{failure:?}"),
        };
        exec.put(NOTES, key.to_owned().into(), said.into());
        break;
    }
    None
}

fn no(kind: Kind, message: &str) -> Result<Outcome, Lost> {
    Ok(Outcome::Rejected(Reject::new(kind, message)))
}

impl Machine for Notes {
    fn describe(&self) -> Descriptor {
        let domain = |domain, name, layout| DomainSpec {
            domain,
            name,
            layout,
        };
        let domains = vec![
            domain(NOTES, "notes", Layout::Ordered),
            domain(LANES, "lanes", Layout::Hashed),
        ];
        Descriptor {
            protocol: "notes",
            state_format: 1,
            domains,
        }
    }

    fn genesis(&self, settings: &Settings, exec: &mut dyn Exec) -> Result<(), Reject> {
        if settings.bytes == "bad" {
            return Err(Reject::new(Kind::Malformed, "settings are to be good"));
        }
        exec.put(NOTES, "genesis".into(), settings.bytes.clone());
        Ok(())
    }

    fn formats(&self) -> RangeInclusive<u32> {
        1..=self.last
    }

    fn migrate(&self, from: u32, exec: &mut dyn Exec) -> Result<(), Reject> {
        if from != 1 {
            return Err(Reject::new(Kind::Fault, "nothing leads there"));
        }
        if let Some(sum) = exec.get(NOTES, b"sum").expect("never lost") {
            exec.delete(NOTES, "sum".into());
            exec.put(NOTES, "total".into(), sum);
        }
        Ok(())
    }

    fn admit(&self, view: &dyn View, _caller: &Caller, raw: &Bytes) -> Result<Ticket, Reject> {
        let parsed = parse(raw).ok_or_else(|| Reject::new(Kind::Malformed, "not a note"))?;
        let (lane, lane_seq) = parsed.lane.unwrap_or(("", 0));
        Ok(Ticket {
            id: parsed.id,
            lane: Bytes::copy_from_slice(lane.as_bytes()),
            lane_seq,
            lane_next: number(view, LANES, lane),
            after: parsed.after,
            established: Bytes::from_static(b"seen"),
            memo: Memo::default(),
        })
    }

    fn execute(&self, unit: &Unit, exec: &mut dyn Exec) -> Result<Outcome, Lost> {
        if unit.established != "seen" {
            return no(Kind::Fault, "what admission established did not come along");
        }
        let Some(parsed) = parse(&unit.raw) else {
            return no(Kind::Malformed, "not a note");
        };
        if let Some((lane, seq)) = parsed.lane {
            let next = number(exec.view(), LANES, lane);
            if seq != next {
                return no(
                    if seq > next {
                        Kind::Later
                    } else {
                        Kind::Invalid
                    },
                    "wrong number",
                );
            }
            exec.put(
                LANES,
                Bytes::copy_from_slice(lane.as_bytes()),
                (seq + 1).to_string().into(),
            );
        }
        match parsed.action[..] {
            ["put", key, value] => exec.put(NOTES, key.to_owned().into(), value.to_owned().into()),
            ["add", key] => {
                let key = place(exec.view(), key);
                let sum = number(exec.view(), NOTES, key) + 1;
                exec.put(NOTES, key.to_owned().into(), sum.to_string().into());
            }
            ["dice", key] => {
                let thrown = exec.record("dice", &mut || {
                    self.thrown
                        .fetch_add(1, Ordering::Relaxed)
                        .to_string()
                        .into()
                })?;
                let value = format!(
                    "{}-{}",
                    String::from_utf8_lossy(&thrown),
                    hex::encode(&exec.env().entropy[..4])
                );
                exec.put(NOTES, key.to_owned().into(), value.into());
            }
            ["ask", key, ref words @ ..] => {
                let body = words.join(" ").into();
                if let Some(call) = ask(unit, exec, key, body) {
                    return Ok(Outcome::Suspended(Box::new(call)));
                }
            }
            ["ask-note", key, note] => {
                let body = exec.get(NOTES, note.as_bytes())?.unwrap_or_default();
                if let Some(call) = ask(unit, exec, key, body) {
                    return Ok(Outcome::Suspended(Box::new(call)));
                }
            }
            ["fail-dice"] => {
                exec.record("dice", &mut || {
                    self.thrown
                        .fetch_add(1, Ordering::Relaxed)
                        .to_string()
                        .into()
                })?;
                return no(Kind::Invalid, "it fails");
            }
            ["revert", key] => {
                let before = exec.savepoint();
                exec.put(NOTES, key.to_owned().into(), "reverted".into());
                exec.emit(Event {
                    topic: "reverted".into(),
                    data: Bytes::new(),
                });
                exec.rollback(before);
            }
            ["later"] => return no(Kind::Later, "not yet"),
            _ => return no(Kind::Invalid, "it fails"),
        }
        exec.emit(Event {
            topic: "done".into(),
            data: unit.raw.clone(),
        });
        Ok(Outcome::Applied {
            receipt: "ok".into(),
        })
    }

    fn seal(
        &self,
        units: &[Unit],
        outcomes: &[Outcome],
        _exec: &mut dyn Exec,
    ) -> Result<Claim, Lost> {
        assert_eq!(units.len(), outcomes.len());
        Ok(Claim {
            bytes: format!("{} units", units.len()).into(),
        })
    }

    fn claim_digest(&self, unit: &Unit, _receipt: &Bytes) -> Digest {
        Digest(unit.id.0)
    }

    fn authorize(
        &self,
        _view: &dyn View,
        caller: &Caller,
        _action: Action<'_>,
    ) -> Result<Access, Lost> {
        Ok(if &*caller.name == "mallory" {
            Access::Deny
        } else {
            Access::Allow
        })
    }
}

/// `POST /` submits its body; `GET /note/<key>`, `GET /linear/<key>`, `GET /batch/<height>` and
/// `GET /next/<lane>` ask; `GET /sleep/<ms>` waits. A WebSocket message is a unit, or `subscribe`.
#[derive(Default)]
pub struct NotesFront {
    subscribers: Vec<StreamId>,
}

impl Front for NotesFront {
    fn request(
        &mut self,
        _stream: StreamId,
        caller: &Caller,
        request: Request,
    ) -> Box<dyn Exchange> {
        if request.method == "POST" {
            return Box::new(Submit {
                caller: caller.clone(),
                raw: request.body,
                id: None,
            });
        }
        let mut words = request.target.split('/').skip(1).map(str::to_owned);
        let what = words.next().unwrap_or_default();
        Box::new(Ask {
            what,
            of: words.next().unwrap_or_default(),
            until: None,
        })
    }

    fn message(&mut self, stream: StreamId, caller: &Caller, message: Bytes) -> Box<dyn Exchange> {
        if message == "subscribe" {
            self.subscribers.push(stream);
            return Box::new(Ask {
                what: "subscribed".into(),
                of: String::new(),
                until: None,
            });
        }
        Box::new(Submit {
            caller: caller.clone(),
            raw: message,
            id: None,
        })
    }

    fn closed(&mut self, stream: StreamId) {
        self.subscribers.retain(|subscriber| *subscriber != stream);
    }

    fn committed(&mut self, view: &dyn View, batch: &Batch, push: &mut Vec<Push>) {
        assert_eq!(
            view.height(),
            batch.height,
            "the view is the state after the batch"
        );
        let text = format!("batch {} of {}", batch.height, batch.units.len());
        push.extend(self.subscribers.iter().map(|s| Push {
            stream: *s,
            message: text.clone().into(),
        }));
    }
}

fn answer(status: u16, text: impl Into<Bytes>) -> Progress {
    Progress::Ready(Response {
        status,
        headers: Vec::new(),
        body: text.into(),
    })
}

struct Submit {
    caller: Caller,
    raw: Bytes,
    id: Option<UnitId>,
}

impl Exchange for Submit {
    fn poll(&mut self, context: &mut dyn Context) -> Progress {
        let id = match self.id {
            Some(id) => id,
            None => match context.submit(&self.caller, self.raw.clone()) {
                Ok(id) => *self.id.insert(id),
                Err(reject) => return answer(409, format!("refused {:?}: {reject}", reject.kind)),
            },
        };
        match context.fate(&id) {
            Ok(Fate::Pending) | Err(Missing::NotYet) => Progress::Pending,
            Ok(Fate::Committed { height, position }) => {
                answer(200, format!("committed {height}.{position}"))
            }
            Ok(Fate::Rejected(reject)) => {
                answer(409, format!("rejected {:?}: {reject}", reject.kind))
            }
            Ok(Fate::Unknown) => answer(503, "unknown"),
            Err(Missing::Elsewhere) => answer(503, "elsewhere"),
            Ok(Fate::Absent) => answer(404, "absent"),
        }
    }
}

struct Ask {
    what: String,
    of: String,
    until: Option<types::Millis>,
}

impl Exchange for Ask {
    fn poll(&mut self, context: &mut dyn Context) -> Progress {
        match self.what.as_str() {
            "linear" if !context.linear() => Progress::Pending,
            "note" | "linear" => {
                let view = context.view();
                let value = view
                    .get(NOTES, place(view, &self.of).as_bytes())
                    .expect("never lost");
                answer(200, value.unwrap_or_else(|| "none".into()))
            }
            "batch" => match context.batch(Height(self.of.parse().expect("a height"))) {
                Err(Missing::NotYet) => Progress::Pending,
                Err(Missing::Elsewhere) => answer(503, "not here"),
                Ok(None) => answer(404, "none"),
                Ok(Some(batch)) => {
                    let names: Vec<_> = batch
                        .units
                        .iter()
                        .map(|(unit, _)| id_name(&unit.id.0))
                        .collect();
                    answer(200, format!("{} at {}", names.join(" "), batch.index))
                }
            },
            "where" => match context.fate(&name_id(&self.of)) {
                Err(Missing::NotYet) => Progress::Pending,
                Err(Missing::Elsewhere) => answer(503, "not here"),
                Ok(Fate::Committed { height, position }) => {
                    answer(200, format!("{height}.{position}"))
                }
                Ok(_) => answer(404, "none"),
            },
            "next" => answer(200, format!("{:?}", context.lane_next(self.of.as_bytes()))),
            "sleep" => {
                let millis = self.of.parse().expect("milliseconds");
                let until = *self.until.get_or_insert_with(|| context.now().plus(millis));
                if context.now() >= until {
                    return answer(200, "slept");
                }
                context.wake_at(until);
                Progress::Pending
            }
            what => answer(200, what.to_owned()),
        }
    }
}

pub fn machine() -> Arc<dyn Machine> {
    machine_until(1)
}

/// Code that knows data formats up to this one.
pub fn machine_until(last: u32) -> Arc<dyn Machine> {
    Arc::new(Notes {
        thrown: AtomicU64::new(0),
        last,
    })
}
