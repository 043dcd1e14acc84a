//! Units that wait for a system outside.
//!
//! A call leaves when everything that it rests on is committed: what a contract asks of the world never
//! comes from a state that is taken back. The manager holds it against the constitution, makes the
//! connection and ends TLS; the bytes that come back are read here, because a parser of foreign bytes
//! belongs where there are no keys. Then the unit is executed again, with the answer.
//!
//! Only a leader calls. When leadership ends, calls are abandoned and their answers forgotten; whoever
//! leads next calls again, with the same idempotency key. So a system outside is called at least once for
//! a unit that commits, and may be called for one that does not.

use std::collections::BTreeMap;

use adapter::{Answer, ExternalCall, ExternalFailure, ExternalReply};
use boundary::WorkerToManager;
use boundary::worker_to_manager::Message as Out;
use bytes::Bytes;
use http1::{Chunked, Client, Options};
use types::limits::{EXTERNAL_CALLS_MAX, EXTERNAL_HEADERS_MAX, EXTERNAL_REPLY_BYTES_MAX};
use types::{Height, UnitId};

use crate::core::{Core, send};

/// Units that may wait. Each holds a request of 60 KiB at most and the reply so far: 80 MiB in all.
const SUSPENDED_MAX: usize = 256;

/// Calls that are under way, or will be.
#[derive(Debug, Default)]
pub(crate) struct Externals {
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Nothing more is wanted of these.
    closed: Vec<u64>,
}

#[derive(Debug)]
struct Waiting {
    unit: UnitId,
    place: u32,
    call: ExternalCall,
    /// The call rests on the state of this height.
    height: Height,
    /// There once the call has left.
    reply: Option<Client>,
}

fn options() -> Options {
    Options {
        head_bytes_max: 16 << 10,
        headers_max: EXTERNAL_HEADERS_MAX,
        body_bytes_max: EXTERNAL_REPLY_BYTES_MAX,
        chunked: Chunked::Accepted,
    }
}

impl Externals {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Core {
    /// A unit that was executed on the state of `height` calls a system outside.
    pub(crate) fn suspend(&mut self, id: &UnitId, call: ExternalCall, height: Height) {
        self.pool.suspend(id);
        let Some(waiting) = self.pool.get(id) else {
            return;
        };
        let place = waiting.unit.answers.len();
        assert!(
            place < EXTERNAL_CALLS_MAX && call.is_within_limits(),
            "a machine keeps the limits of calls"
        );
        if self.externals.waiting.len() >= SUSPENDED_MAX {
            return self.answer(id, call, Err(ExternalFailure::Busy));
        }
        self.externals.last += 1;
        let waiting = Waiting {
            unit: *id,
            place: u32::try_from(place).expect("a few"),
            call,
            height,
            reply: None,
        };
        self.externals.waiting.insert(self.externals.last, waiting);
    }

    fn answer(
        &mut self,
        id: &UnitId,
        call: ExternalCall,
        reply: Result<ExternalReply, ExternalFailure>,
    ) {
        self.pool.resume(id, Answer { call, reply });
    }

    /// What the manager heard from outside.
    pub(crate) fn external(&mut self, data: boundary::ExternalData) {
        let Some(waiting) = self.externals.waiting.get_mut(&data.request) else {
            return;
        };
        // A reply before the request has left is the manager's mistake, and answers nothing.
        let Some(client) = &mut waiting.reply else {
            return;
        };
        let failure = data.failure();
        client.receive(&data.data);
        let reply = match client.next() {
            Err(_) => Err(ExternalFailure::BadReply),
            Ok(Some(response)) => Ok((response.status, response.body)),
            Ok(None) => match failed(failure) {
                Some(failure) => Err(failure),
                None if !data.end => return,
                None => match client.closed() {
                    Ok(Some(response)) => Ok((response.status, response.body)),
                    Ok(None) | Err(_) => Err(ExternalFailure::Unreachable),
                },
            },
        };
        let Waiting { unit, call, .. } = (self.externals.waiting)
            .remove(&data.request)
            .expect("looked up above");
        self.externals.closed.push(data.request);
        // A copy, so that the answer does not keep the connection's buffer in memory.
        let reply = reply.map(|(status, body)| ExternalReply {
            status,
            body: Bytes::copy_from_slice(&body),
        });
        self.answer(&unit, call, reply);
    }

    /// This VN does not lead any more, or leads anew.
    pub(crate) fn abandon_calls(&mut self) {
        for (request, waiting) in core::mem::take(&mut self.externals.waiting) {
            self.pool.wake(&waiting.unit);
            if waiting.reply.is_some() {
                self.externals.closed.push(request);
            }
        }
        self.pool.forget_answers();
    }

    /// Batches above this height will not be committed: neither are calls made that rest on them.
    pub(crate) fn take_back_calls(&mut self, to: Height) {
        let rest_on_them = |waiting: &Waiting| waiting.height > to && waiting.reply.is_none();
        let waiting = &mut self.externals.waiting;
        for (_, gone) in waiting.extract_if(.., |_, waiting| rest_on_them(waiting)) {
            self.pool.wake(&gone.unit);
        }
    }

    /// Calls whose state is committed leave; those that are of no use any more end.
    pub(crate) fn send_calls(&mut self, out: &mut Vec<WorkerToManager>) {
        for request in core::mem::take(&mut self.externals.closed) {
            send(out, Out::ExternalClose(boundary::ExternalClose { request }));
        }
        let committed = self.store.committed_height();
        for (request, waiting) in &mut self.externals.waiting {
            if waiting.reply.is_some() || waiting.height > committed {
                continue;
            }
            let mut client = Client::new(options());
            client.sent(&waiting.call.method);
            waiting.reply = Some(client);
            let call = &waiting.call;
            let field = |(name, value): &(String, String)| boundary::HeaderField {
                name: name.clone(),
                value: value.clone(),
            };
            let message = boundary::ExternalCall {
                request: *request,
                endpoint: call.endpoint.clone(),
                caller: call.caller.clone(),
                method: call.method.clone(),
                target: call.target.clone(),
                headers: call.headers.iter().map(field).collect(),
                body: call.body.clone(),
                unit: Bytes::copy_from_slice(&waiting.unit.0),
                place: waiting.place,
            };
            send(out, Out::External(message));
        }
    }
}

fn failed(failure: boundary::ExternalFailure) -> Option<ExternalFailure> {
    use boundary::ExternalFailure as F;
    Some(match failure {
        F::None => return None,
        F::NotAllowed => ExternalFailure::NotAllowed,
        F::Unreachable => ExternalFailure::Unreachable,
        F::Untrusted => ExternalFailure::Untrusted,
        F::TimedOut => ExternalFailure::TimedOut,
        F::TooLarge => ExternalFailure::TooLarge,
        F::BadReply => ExternalFailure::BadReply,
        F::Busy => ExternalFailure::Busy,
    })
}
