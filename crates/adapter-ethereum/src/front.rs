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
mod rpc;
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
use types::Millis;

use crate::access::Limits;
use crate::block;
use crate::machine::Ethereum;
use crate::principal::Principal;
use crate::settings::Rules;
use crate::visibility::{Leak, Memory, Outcome, Sight};
use asked::Asked;
use envelope::{RpcError, Stop};
use filters::{Interests, Name};
pub(crate) use signin::SignIn;
use signin::{Carried, Desk, SigningIn, Socket};
use simulate::Meter;
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
        match rules.access() {
            Some(access) => self.metered(now, &access.limits, run),
            None => run(),
        }
    }

    /// As [`Session::simulated`], for what is bounded by principal on every network: it costs more than it
    /// looks.
    fn dear<T>(
        &self,
        now: Millis,
        rules: &Rules,
        run: impl FnOnce() -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let limits = rules
            .access()
            .map_or_else(Limits::default, |access| access.limits);
        self.metered(now, &limits, run)
    }

    fn metered<T>(
        &self,
        now: Millis,
        limits: &Limits,
        run: impl FnOnce() -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let usage = || self.shared.usage();
        usage().may_simulate(&self.principal, limits, now)?;
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
    fn submits(&self, _method: &str, body: &[u8]) -> bool {
        std::str::from_utf8(body).is_ok_and(|text| text.contains("\"eth_sendRawTransaction"))
    }

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
            Carried::Token(token) if !self.shared.desk().is_ours(&token) => {
                Carried::Refused("the token is not valid: sign in again")
            }
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
