//! The half that speaks to clients: Ethereum JSON-RPC over HTTP and WebSocket.
//!
//! One request holds one call or a batch of them. Transactions of a batch are all handed over
//! first, then calls are answered in their order, so that a read behind a send sees what it did.
//! An answer that has to wait is polled from where it stopped, never from the start.

#![expect(
    clippy::disallowed_types,
    reason = "a front and its exchanges share filters; the worker polls them one after the other"
)]

mod asked;
mod config;
mod envelope;
mod filters;
mod json;
mod logs;
mod lookup;
mod methods;
mod open;
mod params;
mod pool;
mod proof;
mod raw;
mod signin;
mod simulate;
mod slots;
mod state_proof;
mod submit;
mod trace;
mod usage;
mod watch;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adapter::{
    Batch, Caller, Context, Exchange, Front, Lost, Progress, Push, Request, Response, StreamId,
    View,
};
use bytes::Bytes;
use serde_json::value::RawValue;
use types::Millis;

use crate::block;
use crate::machine::Ethereum;
use crate::principal::Principal;
use crate::settings::Rules;
use crate::visibility::{Leak, Memory, Outcome, Sight};
use asked::Asked;
use envelope::{Answer, BATCH_CALLS_MAX, Call, Id, RpcError, Stop, write};
use filters::{Interests, Name};
use logs::Search;
use methods::Reply;
use params::Params;
pub(crate) use signin::SignIn;
use signin::{Carried, Desk, SigningIn, Socket};
use simulate::Meter;
use submit::{Arrival, Submission};
use usage::Usage;

/// Longest answer to one request. The largest block with full transactions is far below.
const RESPONSE_BYTES_MAX: usize = 32 << 20;

/// Header with which a client asks for linearizable reads: `coco-read: linear`.
const READ_HEADER: &str = "coco-read";

/// What all exchanges of a front share.
#[derive(Debug)]
pub(crate) struct Shared {
    machine: Ethereum,
    interests: Mutex<Interests>,
    desk: Mutex<Desk>,
    usage: Mutex<Usage>,
    leak: Leak,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Every change under this lock is one insertion, removal or count: a panic leaves it whole.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks, and how.
#[derive(Debug)]
pub(crate) struct Session {
    /// The TLS session's.
    caller: Caller,
    /// On whose behalf this is answered.
    principal: Principal,
    /// What was decided for this request.
    memory: RefCell<Memory>,
    /// The connection, if it can be told of things later.
    socket: Option<StreamId>,
    meter: Meter,
    shared: Arc<Shared>,
}

impl Shared {
    fn usage(&self) -> MutexGuard<'_, Usage> {
        // Counts only: a panic leaves them whole.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `principal` sees of this state.
    fn look<T>(
        &self,
        principal: &Principal,
        view: &dyn View,
        memory: &mut Memory,
        look: impl FnOnce(&Sight<'_>) -> T,
    ) -> Result<(T, Outcome), Lost> {
        let rules = self.machine.rules(view)?;
        let codes = self.machine.codes();
        let sight = Sight::of(principal, view, codes, &rules, memory, self.leak)?;
        let seen = look(&sight);
        Ok((seen, sight.close(memory)))
    }
}

impl Session {
    /// What the principal sees of this state.
    fn look<T>(&self, view: &dyn View, look: impl FnOnce(&Sight<'_>) -> T) -> Result<T, Stop> {
        let memory = &mut self.memory.borrow_mut();
        match self.shared.look(&self.principal, view, memory, look)? {
            (seen, Outcome::Whole) => Ok(seen),
            (_, Outcome::Lost) => Err(Lost.into()),
            (_, Outcome::Exhausted) => Err(RpcError::limit(
                "this request needs more access checks than one may: ask for less at once",
            )
            .into()),
        }
    }

    /// Runs a simulation, if the principal may have one more.
    fn simulated<T>(
        &self,
        now: Millis,
        rules: &Rules,
        run: impl FnOnce() -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let Some(access) = rules.access() else {
            return run();
        };
        let usage = || self.shared.usage();
        usage().may_simulate(&self.principal, &access.limits, now)?;
        let before = self.meter.used();
        let result = run();
        let gas = self.meter.used() - before;
        usage().gas(&self.principal, now, gas);
        result
    }

    /// True if nothing is hidden from the principal.
    fn is_open(&self, view: &dyn View) -> Result<bool, Lost> {
        let rules = self.shared.machine.rules(view)?;
        Ok(rules.access().is_none() || self.principal.audits())
    }

    fn interests(&self) -> MutexGuard<'_, Interests> {
        lock(&self.shared.interests)
    }

    fn read_up_to(&self, now: Millis, name: &Name, next: u64) {
        if let Some(filter) = self.interests().filter(&self.principal, now, name) {
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
    ended: Vec<StreamId>,
}

impl EthereumFront {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self {
            shared: Arc::new(Shared {
                machine: Ethereum::default(),
                interests: Mutex::new(Interests::new(key)),
                desk: Mutex::new(Desk::new(key)),
                usage: Mutex::default(),
                leak: Leak::None,
            }),
            ended: Vec::new(),
        }
    }

    /// With a known leak put back.
    #[cfg(any(test, feature = "mutations"))]
    pub(crate) fn leaking(self, leak: Leak) -> Self {
        let mut shared = Arc::into_inner(self.shared).expect("nobody asked yet");
        shared.leak = leak;
        Self {
            shared: Arc::new(shared),
            ended: Vec::new(),
        }
    }

    fn asked(
        &self,
        caller: &Caller,
        carried: Carried,
        socket: Option<StreamId>,
        body: Bytes,
    ) -> Asked {
        let caller = caller.clone();
        Asked::new(self.shared.clone(), caller, carried, socket, body)
    }
}

impl Front for EthereumFront {
    fn request(
        &mut self,
        _stream: StreamId,
        caller: &Caller,
        request: Request,
    ) -> Box<dyn Exchange> {
        if signin::is_ours(&request) && request.method != "OPTIONS" {
            return Box::new(SigningIn {
                shared: self.shared.clone(),
                caller: caller.clone(),
                request,
            });
        }
        match request.method.as_str() {
            "POST" => {
                let carried = Carried::of(&request);
                let mut asked = self.asked(caller, carried, None, request.body.clone());
                asked.linear = request
                    .header(READ_HEADER)
                    .is_some_and(|value| value.eq_ignore_ascii_case("linear"));
                Box::new(asked)
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
        let socket = self.shared.desk().sockets.get(&stream).cloned();
        let carried = socket.map_or(Carried::Nothing, |socket| socket.carried);
        Box::new(self.asked(caller, carried, Some(stream), message))
    }

    fn closed(&mut self, stream: StreamId) {
        lock(&self.shared.interests).close(stream);
        self.shared.desk().sockets.remove(&stream);
    }

    fn keyed(&mut self, key: &[u8; 32]) {
        self.shared.desk().keyed(key);
    }

    fn serves_nobody(&self) -> bool {
        true
    }

    fn upgrade(
        &mut self,
        stream: StreamId,
        caller: &Caller,
        request: &Request,
    ) -> Result<(), Response> {
        let carried = match Carried::of(request) {
            Carried::Query(_) => Carried::Refused("a signed query signs one request"),
            Carried::Nothing if caller.is_nobody() => Carried::Refused("sign in first: GET /siwe"),
            other => other,
        };
        if let Carried::Refused(reason) = carried {
            return Err(signin::unauthorized(reason));
        }
        if carried != Carried::Nothing {
            let caller = caller.clone();
            let socket = Socket { caller, carried };
            self.shared.desk().sockets.insert(stream, socket);
        }
        Ok(())
    }

    fn ended(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.ended)
    }

    fn committed(&mut self, view: &dyn View, batch: &Batch, push: &mut Vec<Push>) {
        // A right that this batch took away is gone before the batch is told of.
        let ended = self.shared.desk().ended(view, batch.time);
        for stream in &ended {
            lock(&self.shared.interests).close(*stream);
        }
        self.ended.extend(ended);
        if let Some(stored) = block::of_claim(batch) {
            let shared = &self.shared;
            let look = |principal: &Principal, see: &mut dyn FnMut(&Sight<'_>)| {
                // The policy of now, whatever held when they subscribed.
                let memory = &mut Memory::default();
                match shared.look(principal, view, memory, |sight| see(sight)) {
                    Ok(((), outcome)) => outcome,
                    Err(Lost) => Outcome::Lost,
                }
            };
            lock(&shared.interests).notify(batch, &stored, &look, push);
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
            ("access-control-allow-methods", "GET, POST, OPTIONS".into()),
            (
                "access-control-allow-headers",
                "content-type, authorization, coco-read, coco-query".into(),
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
    /// The record of what an auditor reads, which is committed before it is answered.
    reading: Option<Submission>,
    response_bytes_max: usize,
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
            reading: None,
            response_bytes_max: RESPONSE_BYTES_MAX,
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
        if self.out.len() + answer.as_ref().map_or(0, String::len) > self.response_bytes_max {
            answer = Err(RpcError::limit("response too large: ask for less at once"));
        }
        if self.batch {
            self.out.push(if self.out.is_empty() { b'[' } else { b',' });
        }
        write(&mut self.out, id, &answer);
    }
}

/// Methods that tell nothing of anybody.
const CONSTANTS: [&str; 6] = [
    "eth_blockNumber",
    "eth_chainId",
    "eth_gasPrice",
    "eth_syncing",
    "net_version",
    "web3_clientVersion",
];

impl Rpc {
    /// On a confidential network: counts what the principal uses, and has what an auditor reads recorded.
    fn confide(&mut self, context: &mut dyn Context) -> Result<(), Stop> {
        let session = &self.session;
        let rules = session.shared.machine.rules(context.view())?;
        let Some(access) = rules.access() else {
            return Ok(());
        };
        let limits = &access.limits;
        self.response_bytes_max =
            RESPONSE_BYTES_MAX.min(usize::try_from(limits.response_bytes).unwrap_or(usize::MAX));
        let (now, calls) = (context.now(), self.calls.len());
        session
            .shared
            .usage()
            .calls(&session.principal, limits, now, calls)?;
        if !session.principal.audits() {
            return Ok(());
        }
        let read = self.calls.iter().filter_map(|(_, work)| match work {
            Work::Read { method, params } if !CONSTANTS.contains(&method.as_str()) => {
                let params = params.as_ref().map_or("[]", |params| params.get());
                Some((method.clone(), params.to_owned()))
            }
            _ => None,
        });
        let read: Vec<_> = read.collect();
        if !read.is_empty() {
            let name = session.interests().name();
            let mut reading = Submission::new(crate::reading::unit(name, &read));
            reading.start(&session.caller, context);
            self.reading = Some(reading);
        }
        Ok(())
    }

    /// Answers all that is read with this error.
    fn refuse(&mut self, error: &RpcError) {
        for (_, work) in &mut self.calls {
            if matches!(work, Work::Read { .. } | Work::Submit(_)) {
                *work = Work::Answered(Err(error.clone()));
            }
        }
    }
}

impl Exchange for Rpc {
    fn poll(&mut self, context: &mut dyn Context) -> Progress {
        if !self.started {
            self.started = true;
            if let Err(Stop::Error(error)) = self.confide(context) {
                self.refuse(&error);
            }
            for (_, work) in &mut self.calls {
                if let Work::Submit(submission) = work {
                    match asked::refused(&self.session, submission.raw(), context) {
                        Some(error) => *work = Work::Answered(Err(error)),
                        None => submission.start(&self.session.caller, context),
                    }
                }
            }
        }
        if let Some(reading) = &mut self.reading {
            match reading.poll(&self.session.shared.machine, context) {
                Err(Stop::Wait) => return Progress::Pending,
                Err(Stop::Error(error)) => self.refuse(&error),
                Ok(_) => {}
            }
            self.reading = None;
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
    let found = search.poll(context, session)?;
    if let Some((name, next)) = filter {
        session.read_up_to(context.now(), name, *next);
    }
    Ok(serde_json::Value::Array(found).to_string())
}
