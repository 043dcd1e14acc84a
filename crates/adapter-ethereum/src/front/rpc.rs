//! One request on its way: its calls, what each waits for, and the answer so far.

use adapter::{Context, Exchange, Progress};
use serde_json::value::RawValue;

use super::asked;
use super::envelope::{Answer, BATCH_CALLS_MAX, Call, Id, RpcError, Stop, write};
use super::filters::Name;
use super::json;
use super::logs::Search;
use super::lookup;
use super::methods::{self, Reply};
use super::params::{self, Params};
use super::submit::{Arrival, Submission};
use super::{RESPONSE_BYTES_MAX, Session, respond};

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
pub(super) struct Rpc {
    session: Session,
    calls: Vec<(Id, Work)>,
    /// Calls before this one are answered in `out`.
    next: usize,
    out: Vec<u8>,
    batch: bool,
    pub(super) linear: bool,
    started: bool,
    /// The record of what an auditor reads, which is committed before it is answered.
    reading: Option<Submission>,
    response_bytes_max: usize,
}

impl Rpc {
    pub(super) fn new(session: Session, body: &[u8]) -> Self {
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

    /// Transactions that come together are taken together or not at all: a batch of which a part was taken
    /// could say only once that part is committed that the rest was not.
    fn look_for_room(&mut self, context: &dyn Context) {
        let submissions = |(_, work): &&(Id, Work)| matches!(work, Work::Submit(_));
        let count = self.calls.iter().filter(submissions).count();
        if count < 2 {
            return;
        }
        if let Err(reject) = context.room(&self.session.caller, count) {
            for (_, work) in &mut self.calls {
                if matches!(work, Work::Submit(_)) {
                    *work = Work::Answered(Err(RpcError::rejected(&reject)));
                }
            }
        }
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
            self.look_for_room(context);
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
            match reading.poll(context) {
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
    match submission.poll(context)? {
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
