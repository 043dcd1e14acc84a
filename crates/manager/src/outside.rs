//! Calls of systems outside the network, for units that wait for an answer.
//!
//! Source: Coco 2017, "Non-deterministic transactions". Only a leader's worker calls. It gives the parts of
//! a request; what of it may leave is decided here, against the constitution in force, and the request is
//! made here of those parts, so that a worker that was taken over can say nothing else. TLS ends here, too:
//! the host dials, and carries ciphertext. What comes back is not read here but by the worker: a parser of
//! foreign bytes has no business beside the keys (docs/decisions/external-calls.md).

use std::collections::BTreeMap;

use boundary::{ExternalData, ExternalFailure as Failure, manager_to_worker};
use bytes::{Bytes, BytesMut};
use channel::{Broken, Connector, Known};
use governance::{Asked, Endpoint};
use types::Millis;
use types::limits::EXTERNAL_HEADERS_MAX;

use crate::Output;
use crate::node::{Node, log};
use crate::sessions::Who;
use crate::workers::send_worker;

/// Calls that a node keeps, those that wait for their turn included. A worker has 256 of its own.
const CALLS_MAX: usize = 512;
/// Connections to the outside at once.
const OPEN_MAX: usize = 64;
/// Longest value of a header field.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// What frames a request, or is ours to say.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A call, by the worker's process and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId {
    worker: u64,
    request: u64,
}

/// All calls of this node.
#[derive(Debug, Default)]
pub struct Calls(BTreeMap<CallId, Call>);

#[derive(Debug)]
struct Call {
    place: usize,
    endpoint: String,
    until: Millis,
    /// What may still come of the reply.
    reply_bytes: usize,
    /// The request, until it is sent.
    request: Bytes,
    /// `None` while it waits for its turn.
    connection: Option<u64>,
}

impl Calls {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn open(&self) -> impl Iterator<Item = &Call> {
        self.0.values().filter(|call| call.connection.is_some())
    }
}

impl Node {
    /// A worker calls a system outside.
    pub fn external(
        &mut self,
        worker: u64,
        place: usize,
        call: &boundary::ExternalCall,
        out: &mut Vec<Output>,
    ) {
        let id = CallId {
            worker,
            request: call.request,
        };
        if self.calls.0.contains_key(&id) {
            return log(
                out,
                2,
                "outside",
                "a worker used the number of a call twice",
            );
        }
        match self.admit_call(place, call) {
            Ok(call) => drop(self.calls.0.insert(id, call)),
            Err(failure) => return self.tell_failure(id, failure, out),
        }
        self.begin_calls(out);
    }

    fn admit_call(&self, place: usize, call: &boundary::ExternalCall) -> Result<Call, Failure> {
        let protocol = &self.protocols[place];
        if protocol.leading.is_none() || self.calls.len() >= CALLS_MAX {
            return Err(Failure::Busy);
        }
        let endpoint = self
            .state
            .constitution()
            .and_then(|c| c.protocol(&protocol.name))
            .and_then(|p| p.endpoint(&call.endpoint))
            .ok_or(Failure::NotAllowed)?;
        let headers: usize = (call.headers.iter())
            .map(|field| field.name.len() + field.value.len() + 4)
            .sum();
        let asked = Asked {
            caller: &call.caller,
            method: &call.method,
            target: &call.target,
            bytes: call.target.len() + headers + call.body.len(),
        };
        if endpoint.allows(asked).is_err()
            || call.headers.len() > EXTERNAL_HEADERS_MAX
            || !call.headers.iter().all(is_plain_field)
        {
            return Err(Failure::NotAllowed);
        }
        Ok(Call {
            place,
            endpoint: endpoint.name.clone(),
            until: self.now.plus(endpoint.time_max_ms.into()),
            reply_bytes: endpoint.reply_bytes_max as usize, // u32 fits usize here
            request: request_of(endpoint, call),
            connection: None,
        })
    }

    /// Dials for calls whose turn has come.
    fn begin_calls(&mut self, out: &mut Vec<Output>) {
        let waiting: Vec<CallId> = (self.calls.0.iter())
            .filter(|(_, call)| call.connection.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            if self.calls.open().count() >= OPEN_MAX {
                return;
            }
            let call = &self.calls.0[&id];
            let same = |other: &&Call| other.place == call.place && other.endpoint == call.endpoint;
            let open = self.calls.open().filter(same).count();
            let endpoint = self
                .state
                .constitution()
                .and_then(|c| c.protocol(&self.protocols[call.place].name))
                .and_then(|p| p.endpoint(&call.endpoint))
                .cloned();
            let Some(endpoint) = endpoint else {
                // Members removed it while the call waited.
                self.fail_call(id, Failure::NotAllowed, out);
                continue;
            };
            if open >= endpoint.calls_max as usize {
                // u32 fits usize here
                continue;
            }
            let known = match &endpoint.authority {
                Some(root) => Known::ByAuthority {
                    der: root.0.clone(),
                    now: self.clock,
                },
                None => Known::ByKey(endpoint.keys.clone()),
            };
            let dialled = Connector::outside(known).ok().and_then(|connector| {
                let who = Who::ExpectOutside { call: id };
                let (address, host) = (&endpoint.address, endpoint.host());
                self.sessions
                    .dial_outside(&connector, address, host, who, out)
            });
            match (dialled, self.calls.0.get_mut(&id)) {
                (Some(connection), Some(call)) => call.connection = Some(connection),
                _ => self.fail_call(id, Failure::Untrusted, out),
            }
        }
    }

    /// The handshake is over, and the server is the one that was meant.
    pub fn call_ready(&mut self, connection: u64, id: CallId) {
        let Some(call) = self.calls.0.get_mut(&id) else {
            return;
        };
        let request = std::mem::take(&mut call.request);
        if let Some(session) = self.sessions.get(connection) {
            session.who = Who::Outside { call: id };
        }
        // A channel that takes no request has a broken connection, which ends the call.
        self.sessions.send(connection, &request);
    }

    /// Some of the reply.
    pub fn call_bytes(&mut self, id: CallId, plain: Vec<u8>, out: &mut Vec<Output>) {
        let Some(call) = self.calls.0.get_mut(&id) else {
            return;
        };
        match call.reply_bytes.checked_sub(plain.len()) {
            Some(left) => call.reply_bytes = left,
            None => return self.fail_call(id, Failure::TooLarge, out),
        }
        let data = ExternalData {
            request: id.request,
            data: plain.into(),
            ..ExternalData::default()
        };
        self.tell_call(id, data, out);
    }

    /// The server said that no byte is missing.
    pub fn call_ended(&mut self, id: CallId, out: &mut Vec<Output>) {
        if self.calls.0.remove(&id).is_some() {
            let data = ExternalData {
                request: id.request,
                end: true,
                ..ExternalData::default()
            };
            self.tell_call(id, data, out);
            self.begin_calls(out);
        }
    }

    /// The connection is of no use any more.
    pub fn call_broken(&mut self, id: CallId, broken: Option<&Broken>, out: &mut Vec<Output>) {
        let failure = match broken {
            Some(Broken::Untrusted(_)) => Failure::Untrusted,
            Some(Broken::Tls(_) | Broken::NoName | Broken::TooLong) | None => Failure::Unreachable,
        };
        self.fail_call(id, failure, out);
    }

    /// The worker has what it wanted, or does not want it any more.
    pub fn call_closed(&mut self, worker: u64, request: u64, out: &mut Vec<Output>) {
        self.forget_calls(|id| id == CallId { worker, request }, out);
        self.begin_calls(out);
    }

    /// This node leads no more: whoever leads next calls.
    pub fn drop_calls(&mut self, out: &mut Vec<Output>) {
        let all: Vec<CallId> = self.calls.0.keys().copied().collect();
        for id in all {
            self.fail_call(id, Failure::Busy, out);
        }
    }

    /// Nobody waits for the calls of a worker that is gone.
    pub fn drop_calls_of(&mut self, worker: u64, out: &mut Vec<Output>) {
        self.forget_calls(|id| id.worker == worker, out);
    }

    fn forget_calls(&mut self, which: impl Fn(CallId) -> bool, out: &mut Vec<Output>) {
        let gone = self.calls.0.extract_if(.., |id, _| which(*id));
        let connections: Vec<u64> = gone.filter_map(|(_, call)| call.connection).collect();
        for connection in connections {
            self.drop_connection(connection, "nobody waits for the answer", out);
        }
    }

    /// Calls that take too long.
    pub fn expire_calls(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        let late: Vec<_> = (self.calls.0.iter())
            .filter(|(_, call)| call.until <= now)
            .map(|(id, call)| (*id, call.connection.is_some()))
            .collect();
        for (id, begun) in late {
            let failure = if begun {
                Failure::TimedOut
            } else {
                Failure::Busy
            };
            self.fail_call(id, failure, out);
        }
        self.begin_calls(out);
    }

    fn fail_call(&mut self, id: CallId, failure: Failure, out: &mut Vec<Output>) {
        let Some(call) = self.calls.0.remove(&id) else {
            return;
        };
        let text = format!("a call of endpoint {} failed: {failure:?}", call.endpoint);
        log(out, 3, "outside", &text);
        self.tell_failure(id, failure, out);
        if let Some(connection) = call.connection {
            self.drop_connection(connection, "its call failed", out);
        }
    }

    fn tell_failure(&self, id: CallId, failure: Failure, out: &mut Vec<Output>) {
        let data = ExternalData {
            request: id.request,
            failure: failure.into(),
            ..ExternalData::default()
        };
        self.tell_call(id, data, out);
    }

    fn tell_call(&self, id: CallId, data: ExternalData, out: &mut Vec<Output>) {
        let message = manager_to_worker::Message::External(data);
        send_worker(out, self.clock, id.worker, message);
    }
}

/// The request as it leaves. Servers tell repetitions by the key.
fn request_of(endpoint: &Endpoint, call: &boundary::ExternalCall) -> Bytes {
    let host = match endpoint.address.strip_suffix(":443") {
        Some(host) => host,
        None => &endpoint.address,
    };
    let mut headers: Vec<(&str, &str)> = (call.headers.iter())
        .map(|field| (&*field.name, &*field.value))
        .collect();
    let key = format!("{}-{}", hex::encode(&call.unit), call.place);
    headers.push(("idempotency-key", &key));
    headers.push(("connection", "close"));
    let mut request = BytesMut::new();
    http1::encode_request(
        &call.method,
        &call.target,
        host,
        &headers,
        &call.body,
        &mut request,
    );
    request.freeze()
}

/// A header field that says nothing but itself.
fn is_plain_field(field: &boundary::HeaderField) -> bool {
    let is_token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    !field.name.is_empty()
        && field.name.len() <= 64
        && field.name.bytes().all(is_token)
        && !OURS.contains(&&*field.name)
        && !field.name.starts_with("proxy-")
        && field.value.len() <= VALUE_BYTES_MAX
        && (field.value.bytes()).all(|b| b.is_ascii_graphic() || b == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> boundary::HeaderField {
        boundary::HeaderField {
            name: name.into(),
            value: value.into(),
        }
    }

    #[test]
    fn no_field_breaks_out_of_its_line_or_frames_the_request() {
        for (name, value) in [("accept", "text/plain, */*"), ("x-api_key-1", "")] {
            assert!(is_plain_field(&field(name, value)), "{name}");
        }
        for (name, value) in [
            ("", "x"),
            ("Accept", "x"),
            ("a b", "x"),
            ("a:b", "x"),
            ("a\r\nhost", "x"),
            ("a", "x\r\nhost: evil"),
            ("a", "x\ny"),
            ("a", "\0"),
            ("a", "\u{e4}"),
            ("host", "evil"),
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
            ("connection", "keep-alive"),
            ("idempotency-key", "mine"),
            ("proxy-authorization", "x"),
            ("upgrade", "h2c"),
        ] {
            assert!(!is_plain_field(&field(name, value)), "{name}: {value}");
        }
    }

    #[test]
    fn a_request_names_the_unit_and_ends_the_connection() {
        let endpoint = Endpoint {
            name: "rates".into(),
            address: "rates.example:8443".into(),
            keys: Vec::new(),
            authority: None,
            methods: [].into(),
            paths: Vec::new(),
            callers: [].into(),
            request_bytes_max: 1,
            reply_bytes_max: 1,
            time_max_ms: 1,
            calls_max: 1,
        };
        let call = boundary::ExternalCall {
            method: "POST".into(),
            target: "/v1?day=1".into(),
            headers: vec![field("accept", "text/plain")],
            body: "question".into(),
            unit: vec![0xab; 4].into(),
            place: 1,
            ..Default::default()
        };
        let expected = "POST /v1?day=1 HTTP/1.1\r\nhost: rates.example:8443\r\naccept: text/plain\r\nidempotency-key: abababab-1\r\nconnection: close\r\ncontent-length: 8\r\n\r\nquestion";
        assert_eq!(request_of(&endpoint, &call), expected);
    }
}
