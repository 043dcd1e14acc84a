//! The half that speaks to clients: Ethereum JSON-RPC over HTTP and WebSocket.
//!
//! One request holds one call or a batch of them. Transactions of a batch are all handed over
//! first, then calls are answered in their order, so that a read behind a send sees what it did.
//! An answer that has to wait is polled from where it stopped, never from the start.

#![expect(
    clippy::disallowed_types,
    reason = "a front and its exchanges share filters; the worker polls them one after the other"
)]

mod envelope;
mod filters;
mod json;
mod logs;
mod lookup;
mod methods;
mod params;
mod proof;
mod simulate;
mod submit;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adapter::{
    Batch, Caller, Context, Exchange, Front, Progress, Push, Request, Response, StreamId, View,
};
use bytes::Bytes;
use serde_json::value::RawValue;
use types::Millis;

use crate::block;
use crate::machine::Ethereum;
use crate::visibility::Sight;
use envelope::{Answer, BATCH_CALLS_MAX, Call, Id, RpcError, Stop, write};
use filters::{Interests, Name};
use logs::Search;
use methods::Reply;
use params::Params;
use simulate::Meter;
use submit::{Arrival, Submission};

/// Longest answer to one request. The largest block with full transactions is far below.
const RESPONSE_BYTES_MAX: usize = 32 << 20;

/// Header with which a client asks for linearizable reads: `coco-read: linear`.
const READ_HEADER: &str = "coco-read";

/// What all exchanges of a front share.
#[derive(Debug)]
struct Shared {
    machine: Ethereum,
    interests: Mutex<Interests>,
}

/// Who asks, and how.
#[derive(Debug)]
pub(crate) struct Session {
    caller: Caller,
    sight: Sight,
    /// The connection, if it can be told of things later.
    socket: Option<StreamId>,
    meter: Meter,
    shared: Arc<Shared>,
}

impl Session {
    fn interests(&self) -> MutexGuard<'_, Interests> {
        lock(&self.shared.interests)
    }

    fn read_up_to(&self, now: Millis, name: &Name, next: u64) {
        if let Some(filter) = self.interests().filter(&self.caller, now, name) {
            filter.next = next;
        }
    }
}

fn lock(interests: &Mutex<Interests>) -> MutexGuard<'_, Interests> {
    // Every change under this lock is one insertion or removal: a panic leaves it whole.
    interests.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module's head.
pub(crate) struct EthereumFront {
    shared: Arc<Shared>,
}

impl EthereumFront {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self {
            shared: Arc::new(Shared {
                machine: Ethereum::default(),
                interests: Mutex::new(Interests::new(key)),
            }),
        }
    }

    fn exchange(&self, caller: &Caller, socket: Option<StreamId>, body: &Bytes) -> Rpc {
        let session = Session {
            caller: caller.clone(),
            sight: Sight::of(caller),
            socket,
            meter: Meter::of(caller.actor),
            shared: self.shared.clone(),
        };
        Rpc::new(session, body)
    }
}

impl Front for EthereumFront {
    fn request(
        &mut self,
        _stream: StreamId,
        caller: &Caller,
        request: Request,
    ) -> Box<dyn Exchange> {
        match request.method.as_str() {
            "POST" => {
                let mut rpc = self.exchange(caller, None, &request.body);
                rpc.linear = request
                    .header(READ_HEADER)
                    .is_some_and(|value| value.eq_ignore_ascii_case("linear"));
                Box::new(rpc)
            }
            "OPTIONS" => Box::new(Fixed(Some(preflight()))),
            _ => Box::new(Fixed(Some(Response {
                status: 405,
                headers: vec![
                    ("allow", "POST, OPTIONS".into()),
                    ("content-type", "text/plain".into()),
                ],
                body: "JSON-RPC is spoken by POST, or over WebSocket\n".into(),
            }))),
        }
    }

    fn message(&mut self, stream: StreamId, caller: &Caller, message: Bytes) -> Box<dyn Exchange> {
        Box::new(self.exchange(caller, Some(stream), &message))
    }

    fn closed(&mut self, stream: StreamId) {
        lock(&self.shared.interests).close(stream);
    }

    fn committed(&mut self, _view: &dyn View, batch: &Batch, push: &mut Vec<Push>) {
        if let Some(stored) = block::of_claim(batch) {
            lock(&self.shared.interests).notify(batch, &stored, push);
        }
    }
}

/// Browsers ask before they send JSON to another origin. Any may: authority comes from the actor's
/// certificate or token, never from cookies.
fn preflight() -> Response {
    Response {
        status: 204,
        headers: vec![
            ("access-control-allow-origin", "*".into()),
            ("access-control-allow-methods", "POST, OPTIONS".into()),
            (
                "access-control-allow-headers",
                "content-type, authorization, coco-read".into(),
            ),
            ("access-control-max-age", "86400".into()),
        ],
        body: Bytes::new(),
    }
}

fn respond(body: impl Into<Bytes>) -> Response {
    let mut response = Response::json(200, body);
    response
        .headers
        .push(("access-control-allow-origin", "*".into()));
    response
}

/// An answer that is known already.
struct Fixed(Option<Response>);

impl Exchange for Fixed {
    fn poll(&mut self, _: &mut dyn Context) -> Progress {
        self.0.take().map_or(Progress::Pending, Progress::Ready)
    }
}

/// What is to be done for one call.
enum Work {
    Answered(Answer),
    Submit(Submission),
    Read {
        method: String,
        params: Option<Box<RawValue>>,
    },
    Search {
        search: Search,
        filter: Option<(Name, u64)>,
    },
}

/// One request on its way.
struct Rpc {
    session: Session,
    calls: Vec<(Id, Work)>,
    /// Calls before this one are answered in `out`.
    next: usize,
    out: Vec<u8>,
    batch: bool,
    linear: bool,
    started: bool,
}

impl Rpc {
    fn new(session: Session, body: &[u8]) -> Self {
        let mut rpc = Self {
            session,
            calls: Vec::new(),
            next: 0,
            out: Vec::new(),
            batch: false,
            linear: false,
            started: false,
        };
        match calls(body) {
            Ok((raw, batch)) => {
                rpc.batch = batch;
                rpc.calls = raw.into_iter().map(work).collect();
            }
            Err(error) => rpc.calls.push((Id::null(), Work::Answered(Err(error)))),
        }
        rpc
    }

    /// Answers the next call, if it can be answered now.
    fn step(&mut self, context: &mut dyn Context) -> Option<Answer> {
        let (_, work) = &mut self.calls[self.next];
        let session = &self.session;
        let result = match work {
            Work::Answered(answer) => return Some(std::mem::replace(answer, Ok(String::new()))),
            Work::Submit(submission) => submitted(session, submission, context),
            Work::Search { search, filter } => searched(session, search, filter, context),
            Work::Read { .. } if self.linear && !context.linear() => Err(Stop::Wait),
            Work::Read { method, params } => match Params::parse(params.as_deref()) {
                Err(error) => Err(error.into()),
                Ok(params) => match methods::answer(session, context, method, &params) {
                    Ok(Reply::Text(text)) => Ok(text),
                    Ok(Reply::Search(mut search, filter)) => {
                        let result = searched(session, &mut search, &filter, context);
                        if matches!(result, Err(Stop::Wait)) {
                            *work = Work::Search { search, filter };
                        }
                        result
                    }
                    Err(stop) => Err(stop),
                },
            },
        };
        match result {
            Ok(text) => Some(Ok(text)),
            Err(Stop::Error(error)) => Some(Err(error)),
            Err(Stop::Wait) => None,
        }
    }

    fn record(&mut self, mut answer: Answer) {
        let (id, _) = &self.calls[self.next];
        self.next += 1;
        if id.is_notification() {
            return;
        }
        if self.out.len() + answer.as_ref().map_or(0, String::len) > RESPONSE_BYTES_MAX {
            answer = Err(RpcError::limit("response too large: ask for less at once"));
        }
        if self.batch {
            self.out.push(if self.out.is_empty() { b'[' } else { b',' });
        }
        write(&mut self.out, id, &answer);
    }
}

impl Exchange for Rpc {
    fn poll(&mut self, context: &mut dyn Context) -> Progress {
        if !self.started {
            self.started = true;
            for (_, work) in &mut self.calls {
                if let Work::Submit(submission) = work {
                    submission.start(&self.session.caller, context);
                }
            }
        }
        while self.next < self.calls.len() {
            match self.step(context) {
                Some(answer) => self.record(answer),
                None => return Progress::Pending,
            }
            if self.session.meter.turn_is_over() && self.next < self.calls.len() {
                context.wake_at(context.now().plus(1));
                return Progress::Pending;
            }
        }
        let mut out = std::mem::take(&mut self.out);
        if self.batch && !out.is_empty() {
            out.push(b']');
        }
        Progress::Ready(respond(out))
    }
}

/// The calls of a body, and whether they came as a batch.
fn calls(body: &[u8]) -> Result<(Vec<&RawValue>, bool), RpcError> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'[') {
        let one: &RawValue = serde_json::from_slice(body).map_err(|_| RpcError::parse())?;
        return Ok((vec![one], false));
    }
    let many: Vec<&RawValue> = serde_json::from_slice(body).map_err(|_| RpcError::parse())?;
    match many.len() {
        0 => Err(RpcError::new(-32600, "empty batch")),
        n if n > BATCH_CALLS_MAX => Err(RpcError::new(
            -32600,
            format!("batch too large: at most {BATCH_CALLS_MAX} calls"),
        )),
        _ => Ok((many, true)),
    }
}

fn work(raw: &RawValue) -> (Id, Work) {
    let (id, call) = Call::parse(raw);
    let work = match call {
        Err(error) => Work::Answered(Err(error)),
        Ok((method, call)) => match method.as_ref() {
            "eth_sendRawTransaction" => {
                match Params::parse(call.params).and_then(|params| params.hex(0)) {
                    Ok(raw) => Work::Submit(Submission::new(raw)),
                    Err(error) => Work::Answered(Err(error)),
                }
            }
            "eth_sendRawTransactionSync" => match sync(call.params) {
                Ok(submission) => Work::Submit(submission),
                Err(error) => Work::Answered(Err(error)),
            },
            _ => Work::Read {
                method: method.into_owned(),
                params: call.params.map(ToOwned::to_owned),
            },
        },
    };
    (id, work)
}

fn sync(params: Option<&RawValue>) -> Result<Submission, RpcError> {
    let params = Params::parse(params)?;
    let wait_ms = params.optional::<params::Quantity>(1)?.map(|ms| ms.0);
    Ok(Submission::sync(params.hex(0)?, wait_ms))
}

fn submitted(
    session: &Session,
    submission: &mut Submission,
    context: &mut dyn Context,
) -> Result<String, Stop> {
    match submission.poll(&session.shared.machine, context)? {
        Arrival::Committed { height, position } if submission.sync_ms.is_some() => {
            lookup::receipt_at(session, context, height, position)
        }
        Arrival::Committed { .. } | Arrival::Queued => Ok(json::text(submission.hash())),
    }
}

fn searched(
    session: &Session,
    search: &mut Search,
    filter: &Option<(Name, u64)>,
    context: &mut dyn Context,
) -> Result<String, Stop> {
    let found = search.poll(context, &session.sight)?;
    if let Some((name, next)) = filter {
        session.read_up_to(context.now(), name, *next);
    }
    Ok(serde_json::Value::Array(found).to_string())
}
