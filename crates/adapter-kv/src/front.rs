//! HTTP: requests become exchanges, which are polled until they have their answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use adapter::{
    Access, Action, Batch, Caller, Context, Exchange, Fate, Front, Kind, Lost, Missing, Progress,
    Push, Reject, Request, Response, StreamId, View,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use types::{Height, Index, Millis, Term, UnitId};

use crate::command::{Command, IdOrigin, Op, Submission, Version};
use crate::history::Past;
use crate::machine::{KeyValue, another_request, unit_id};
use crate::route::{self, Consistency, Route, Which};
use crate::state::{self, VALUES};

/// Bytes of keys and values after which a listing ends early.
pub(crate) const LISTING_BYTES_MAX: usize = 4 << 20;

/// How long a linear read waits for a leader.
const LINEAR_WAIT_MS: u64 = 10_000;

/// The protocol's HTTP surface. A message on a WebSocket is the body of a `POST /batch`.
#[derive(Default)]
pub(crate) struct HttpFront {
    /// Requests of each connection that came without an id.
    unnamed: BTreeMap<StreamId, u64>,
}

impl Front for HttpFront {
    fn request(
        &mut self,
        stream: StreamId,
        caller: &Caller,
        request: Request,
    ) -> Box<dyn Exchange> {
        match route::route(&request) {
            Err((status, reject)) => Box::new(Answered(Some(error(status, &reject)))),
            Ok(Route::Read { key, consistency }) => Box::new(Query {
                caller: caller.clone(),
                what: What::Read { key },
                consistency,
                until: None,
            }),
            Ok(Route::List {
                prefix,
                after,
                limit,
                consistency,
            }) => {
                let what = What::List {
                    prefix,
                    after,
                    limit,
                };
                Box::new(Query {
                    caller: caller.clone(),
                    what,
                    consistency,
                    until: None,
                })
            }
            Ok(Route::At {
                key,
                height,
                consistency,
            }) => Box::new(Query {
                caller: caller.clone(),
                what: What::Old(Past::at(key, height)),
                consistency,
                until: None,
            }),
            Ok(Route::History {
                key,
                from,
                limit,
                consistency,
            }) => Box::new(Query {
                caller: caller.clone(),
                what: What::Old(Past::versions(key, from, limit)),
                consistency,
                until: None,
            }),
            Ok(Route::Receipt(which)) => Box::new(Proof {
                caller: caller.clone(),
                which,
            }),
            Ok(Route::Write {
                request_id,
                commands,
            }) => self.write(stream, caller, request_id, commands),
        }
    }

    fn message(&mut self, stream: StreamId, caller: &Caller, message: Bytes) -> Box<dyn Exchange> {
        match route::batch(&message) {
            Err((status, reject)) => Box::new(Answered(Some(error(status, &reject)))),
            Ok(commands) => self.write(stream, caller, None, commands),
        }
    }

    fn closed(&mut self, stream: StreamId) {
        self.unnamed.remove(&stream);
    }

    fn committed(&mut self, _view: &dyn View, _batch: &Batch, _push: &mut Vec<Push>) {}
}

impl HttpFront {
    fn write(
        &mut self,
        stream: StreamId,
        caller: &Caller,
        request_id: Option<Bytes>,
        commands: Vec<Command>,
    ) -> Box<dyn Exchange> {
        let unnamed = self.unnamed.entry(stream).or_default();
        *unnamed += 1;
        let id = match request_id {
            Some(id) => WriteId::Client(id),
            None => WriteId::Made {
                stream,
                count: *unnamed,
            },
        };
        Box::new(Write {
            caller: caller.clone(),
            step: Step::Submit { id, commands },
        })
    }
}

/// An answer that was known at once.
struct Answered(Option<Response>);

impl Exchange for Answered {
    fn poll(&mut self, _context: &mut dyn Context) -> Progress {
        Progress::Ready(
            self.0
                .take()
                .expect("an exchange that is ready is not polled again"),
        )
    }
}

/// A read.
struct Query {
    caller: Caller,
    what: What,
    consistency: Consistency,
    /// When a linear read gives up.
    until: Option<Millis>,
}

enum What {
    Read {
        key: Bytes,
    },
    List {
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    },
    Old(Past),
}

impl Exchange for Query {
    fn poll(&mut self, context: &mut dyn Context) -> Progress {
        if self.consistency == Consistency::Linear && !context.linear() {
            let now = context.now();
            let until = *self.until.get_or_insert(now.plus(LINEAR_WAIT_MS));
            if now < until {
                context.wake_at(until);
                return Progress::Pending;
            }
            let message = "there is no leader: try again later, or read with consistency=local";
            return Progress::Ready(error(503, &Reject::new(Kind::Busy, message)));
        }
        match self.answer(context) {
            Ok(Some(response)) => Progress::Ready(response),
            Ok(None) => Progress::Pending,
            Err(Lost) => Progress::Ready(stopping()),
        }
    }
}

impl Query {
    /// `None`: something is being fetched.
    fn answer(&mut self, context: &mut dyn Context) -> Result<Option<Response>, Lost> {
        use adapter::Machine as _;
        let view = context.view();
        if KeyValue.authorize(view, &self.caller, Action::Query { method: "GET" })? != Access::Allow
        {
            let reject = Reject::new(Kind::Unauthorized, "you may not read this");
            return Ok(Some(error(403, &reject)));
        }
        match &mut self.what {
            What::Read { key } => read(view, key).map(Some),
            What::List {
                prefix,
                after,
                limit,
            } => list(view, prefix, after.as_ref(), *limit).map(Some),
            What::Old(past) => past.poll(context),
        }
    }
}

fn read(view: &dyn View, key: &[u8]) -> Result<Response, Lost> {
    let Some(record) = state::record(view, key)? else {
        return Ok(absent("the key does not exist"));
    };
    Ok(value(record, view.height()))
}

/// A key's value, as it is at this height.
pub(crate) fn value(record: state::Record, height: Height) -> Response {
    Response {
        status: 200,
        headers: vec![
            ("content-type", "application/octet-stream".into()),
            ("etag", format!("\"{}\"", hex::encode(record.version.0))),
            ("coco-written-by", record.writer.to_string()),
            ("coco-written-at", record.height.to_string()),
            ("coco-height", height.to_string()),
        ],
        body: record.value,
    }
}

fn list(
    view: &dyn View,
    prefix: &[u8],
    after: Option<&Bytes>,
    limit: usize,
) -> Result<Response, Lost> {
    let mut entries: Vec<Value> = Vec::new();
    let mut bytes = 0;
    let mut last = String::new();
    let mut more = false;
    let visit = &mut |key: &[u8], record: &Bytes| {
        more = entries.len() == limit || bytes >= LISTING_BYTES_MAX;
        if more {
            return false;
        }
        let record = state::Record::decode(record).expect("only `Record::encode` writes here");
        bytes += key.len() + record.value.len();
        last = String::from_utf8_lossy(key).into_owned(); // keys are text
        let mut entry = json!({
            "key": last,
            "version": hex::encode(record.version.0),
            "written_by": record.writer,
            "written_at": record.height,
        });
        put_value(&mut entry, &record.value);
        entries.push(entry);
        true
    };
    match after {
        Some(after) => view.scan_after(VALUES, prefix, after, visit)?,
        None => view.scan(VALUES, prefix, visit)?,
    }
    let mut answer = json!({ "height": view.height(), "entries": entries });
    if more {
        answer["next"] = last.into();
    }
    Ok(Response::json(200, answer.to_string()))
}

/// A value in JSON: as text if it is.
pub(crate) fn put_value(entry: &mut Value, value: &[u8]) {
    match core::str::from_utf8(value) {
        Ok(text) => entry["value"] = text.into(),
        Err(_) => entry["value_hex"] = hex::encode(value).into(),
    }
}

/// A write: submitted, then waited for.
struct Write {
    caller: Caller,
    step: Step,
}

enum Step {
    Submit {
        id: WriteId,
        commands: Vec<Command>,
    },
    ExpectFate {
        unit: UnitId,
        raw: Bytes,
        commands: Vec<Command>,
    },
}

enum WriteId {
    Client(Bytes),
    /// The client did not name its request. Two of them are told apart by when and where they came;
    /// two that are equal even so are equal in what they do.
    Made {
        stream: StreamId,
        count: u64,
    },
}

impl Exchange for Write {
    fn poll(&mut self, context: &mut dyn Context) -> Progress {
        loop {
            match &mut self.step {
                Step::Submit { id, commands } => {
                    // Of a name that was used long ago nothing else tells.
                    let used = match id {
                        WriteId::Client(name) => {
                            match context.fate(&unit_id(self.caller.actor, name)) {
                                Ok(fate) => matches!(fate, Fate::Committed { .. }),
                                Err(Missing::NotYet) => return Progress::Pending,
                                Err(Missing::Elsewhere) => return Progress::Ready(elsewhere()),
                            }
                        }
                        WriteId::Made { .. } => false,
                    };
                    let submission = submission(context, id, core::mem::take(commands));
                    match submit(context, &self.caller, submission, used) {
                        Ok(step) => self.step = step,
                        Err(reject) => return Progress::Ready(error(status(reject.kind), &reject)),
                    }
                }
                Step::ExpectFate {
                    unit,
                    raw,
                    commands,
                } => match context.fate(unit) {
                    Ok(Fate::Pending) | Err(Missing::NotYet) => return Progress::Pending,
                    Ok(Fate::Rejected(reject)) => {
                        return Progress::Ready(error(status(reject.kind), &reject));
                    }
                    Ok(Fate::Unknown | Fate::Absent) | Err(Missing::Elsewhere) => {
                        return Progress::Ready(unknown(*unit));
                    }
                    Ok(Fate::Committed { height, position }) => {
                        let batch = match context.batch(height) {
                            Ok(batch) => batch,
                            Err(Missing::NotYet) => return Progress::Pending,
                            Err(Missing::Elsewhere) => return Progress::Ready(elsewhere()),
                        };
                        let at = batch
                            .as_ref()
                            .and_then(|batch| batch.units.get(position as usize)); // widening
                        // Its name was used before.
                        if at.is_some_and(|(unit, _)| unit.raw != *raw) {
                            let reject = another_request();
                            return Progress::Ready(error(status(reject.kind), &reject));
                        }
                        let receipt = at.map(|(_, receipt)| receipt.clone()).unwrap_or_default();
                        return Progress::Ready(written(
                            height,
                            Some(position),
                            batch.as_deref(),
                            *unit,
                            commands,
                            &receipt,
                        ));
                    }
                },
            }
        }
    }
}

fn submission(context: &dyn Context, id: &WriteId, commands: Vec<Command>) -> Submission {
    let (origin, request_id) = match id {
        WriteId::Client(id) => (IdOrigin::Client, id.clone()),
        WriteId::Made { stream, count } => {
            let place = format!("{:?} {} {count}", context.now(), stream.0);
            let commands = Submission {
                origin: IdOrigin::Front,
                request_id: "-".into(),
                commands: commands.clone(),
            };
            let digest = crate::machine::digest(&[place.as_bytes(), &commands.encode()].concat());
            (IdOrigin::Front, Bytes::copy_from_slice(&digest))
        }
    };
    Submission {
        origin,
        request_id,
        commands,
    }
}

/// Hands a request over, unless its name was `used` for one that is committed.
fn submit(
    context: &mut dyn Context,
    caller: &Caller,
    submission: Submission,
    used: bool,
) -> Result<Step, Reject> {
    let raw = submission.encode();
    let unit = match used {
        true => unit_id(caller.actor, &submission.request_id),
        false => context.submit(caller, raw.clone())?,
    };
    let commands = submission.commands;
    // Sent before, and still waiting: it has to be the same.
    if context.pending(&unit).is_some_and(|pending| pending != raw) {
        return Err(another_request());
    }
    Ok(Step::ExpectFate {
        unit,
        raw,
        commands,
    })
}

fn position_of(batch: &Batch, id: UnitId) -> Option<u32> {
    let at = batch.units.iter().position(|(unit, _)| unit.id == id)?;
    u32::try_from(at).ok()
}

fn written(
    height: Height,
    position: Option<u32>,
    batch: Option<&Batch>,
    unit: UnitId,
    commands: &[Command],
    receipt: &Bytes,
) -> Response {
    let version = hex::encode(Version::from(unit).0);
    let existed = receipt.iter().map(|existed| *existed != 0);
    let results = commands
        .iter()
        .zip(existed.chain(core::iter::repeat(false)))
        .map(|(command, existed)| Done {
            key: String::from_utf8_lossy(&command.key),
            version: matches!(command.op, Op::Put(_)).then_some(&version),
            existed,
        })
        .collect();
    let answer = Written {
        unit,
        height,
        results,
        place: batch.map(|batch| Standing {
            index: batch.index,
            term: batch.term,
            position,
        }),
    };
    let text = serde_json::to_string(&answer).expect("plain data has a form in JSON");
    let mut response = Response::json(200, text);
    response.headers.push(("etag", format!("\"{version}\"")));
    response
}

/// The answer to a write.
#[derive(Serialize)]
struct Written<'a> {
    unit: UnitId,
    height: Height,
    results: Vec<Done<'a>>,
    #[serde(flatten)]
    place: Option<Standing>,
}

/// What became of one command.
#[derive(Serialize)]
struct Done<'a> {
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a String>,
    existed: bool,
}

/// Where the write stands in the ledger.
#[derive(Serialize)]
struct Standing {
    index: Index,
    term: Term,
    position: Option<u32>,
}

/// A receipt of the ledger: for what stands at a place, or for a request of the caller's own.
struct Proof {
    caller: Caller,
    which: Which,
}

impl Exchange for Proof {
    fn poll(&mut self, context: &mut dyn Context) -> Progress {
        match self.answer(context) {
            Ok(Some(response)) => Progress::Ready(response),
            Ok(None) => Progress::Pending,
            Err(Lost) => Progress::Ready(stopping()),
        }
    }
}

impl Proof {
    /// `None`: something is being fetched.
    fn answer(&self, context: &mut dyn Context) -> Result<Option<Response>, Lost> {
        use adapter::Machine as _;
        let none = |message: &str| Ok(Some(error(404, &Reject::new(Kind::Invalid, message))));
        let (height, named) = match &self.which {
            Which::At { height, .. } => (*height, None),
            Which::Request(id) => {
                let unit = unit_id(self.caller.actor, id);
                match context.fate(&unit) {
                    Ok(Fate::Committed { height, .. }) => (height, Some(unit)),
                    Err(Missing::NotYet) => return Ok(None),
                    Err(Missing::Elsewhere) => return Ok(Some(elsewhere())),
                    Ok(_) => return none("no request of yours with this id is committed here"),
                }
            }
        };
        let batch = match context.batch(height) {
            Ok(batch) => batch,
            Err(Missing::NotYet) => return Ok(None),
            Err(Missing::Elsewhere) => return Ok(Some(elsewhere())),
        };
        let Some(batch) = batch else {
            return none("there is no such batch");
        };
        let position = match (&self.which, named) {
            (Which::At { position, .. }, _) => Some(*position),
            (_, Some(id)) => position_of(&batch, id),
            (_, None) => None,
        };
        let found =
            position.and_then(|position| Some((position, batch.units.get(position as usize)?))); // widening
        let Some((position, (unit, result))) = found else {
            return none("the batch has no such transaction");
        };
        if KeyValue.authorize(context.view(), &self.caller, Action::ReadReceipt { unit })?
            != Access::Allow
        {
            let reject = Reject::new(Kind::Unauthorized, "you may not have this receipt");
            return Ok(Some(error(403, &reject)));
        }
        Ok(match context.receipt(height, position) {
            Err(_) => None,
            Ok(Err(reject)) => Some(error(503, &reject)),
            Ok(Ok(receipt)) => {
                let answer = json!({
                    "format": "coco-receipt/1",
                    "protocol": "kv",
                    "height": height,
                    "position": position,
                    "claim": {
                        "digest": hex::encode(KeyValue.claim_digest(unit, result).0),
                        "unit": unit.id,
                        "actor": unit.caller,
                        "transaction": hex::encode(&unit.raw),
                        "result": hex::encode(result),
                    },
                    "receipt": hex::encode(&receipt),
                });
                Some(Response::json(200, answer.to_string()))
            }
        })
    }
}

/// Documented with the surface: the kind of refusal decides the status.
fn status(kind: Kind) -> u16 {
    match kind {
        Kind::Malformed => 400,
        Kind::Unauthorized => 403,
        Kind::Duplicate => 409,
        Kind::Invalid => 412,
        Kind::Busy | Kind::Later => 429,
        Kind::Fault => 500,
    }
}

/// The part of the ledger that is needed has not come to this node yet.
pub(crate) fn elsewhere() -> Response {
    let message =
        "this node is still fetching that part of the ledger: ask another node, or this one later";
    error(503, &Reject::new(Kind::Busy, message))
}

pub(crate) fn absent(message: &str) -> Response {
    error(404, &Reject::new(Kind::Invalid, message))
}

fn stopping() -> Response {
    error(
        503,
        &Reject::new(Kind::Fault, "this node is being stopped: use another"),
    )
}

pub(crate) fn error(status: u16, reject: &Reject) -> Response {
    let kind = match reject.kind {
        Kind::Malformed => "malformed",
        Kind::Unauthorized => "unauthorized",
        Kind::Duplicate => "duplicate",
        Kind::Later => "later",
        Kind::Invalid => "invalid",
        Kind::Fault => "fault",
        Kind::Busy => "busy",
    };
    let body = json!({ "error": { "kind": kind, "message": reject.message } });
    Response::json(status, body.to_string())
}

fn unknown(unit: UnitId) -> Response {
    let message = "the leader changed and this may still be committed: send it again with the same Coco-Request-Id";
    let body = json!({ "error": { "kind": "outcome-unknown", "unit": unit, "message": message } });
    Response::json(503, body.to_string())
}
