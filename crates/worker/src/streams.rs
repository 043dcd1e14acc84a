//! Clients' connections: bytes in, requests to the front, answers in order, bytes out.

mod turns;

use std::collections::{BTreeSet, VecDeque};

use adapter::{Caller, Front, Push, Response, StreamId};
use boundary::WorkerToManager;
use boundary::worker_to_manager::Message as Out;
use bytes::{Bytes, BytesMut};
use hashbrown::{HashMap, HashSet};
use http1::{Message, Options, Persistence, Received, Refusal, Server, WebSocket};
use types::Millis;
use types::limits::{APPLICATION_REQUEST_BYTES_MAX, CONNECTIONS_MAX};

use crate::core::{Core, send};
use crate::exchanges::{ExchangeId, Exchanges};
use turns::{HOLD_MS, Turns};

/// Requests of one connection that may be unanswered. Past that its bytes wait, and the manager's
/// window closes.
const UNANSWERED_MAX: usize = 128;

/// Bytes of requests that are not whole yet, over all connections.
const PARTIAL_BYTES_MAX: usize = 256 << 20;

/// A connection below this may go on when the sum is used up.
const PARTIAL_BYTES_FAIR: usize = PARTIAL_BYTES_MAX / CONNECTIONS_MAX;

/// Longest message to the manager with bytes for a client.
const DATA_BYTES_MAX: usize = 1 << 20;

/// All connections.
#[derive(Default)]
pub(crate) struct Streams {
    streams: HashMap<u64, Stream>,
    /// Connections with something to send or to close.
    dirty: BTreeSet<u64>,
    /// Connections that may take in what waits.
    resumed: BTreeSet<u64>,
    partial_bytes: usize,
    turns: Turns,
}

struct Stream {
    caller: Caller,
    protocol: Protocol,
    /// Received, and not taken in since too much is unanswered.
    waiting: VecDeque<Bytes>,
    /// Unanswered requests, in order.
    asked: VecDeque<Asked>,
    /// What this connection adds to `Streams::partial_bytes`.
    partial: usize,
    consumed: u64,
    output: BytesMut,
    ending: bool,
    /// The next request, which waits for room in the pool.
    held: Option<Held>,
}

struct Held {
    request: http1::Request,
    /// When it began to wait, or the request before it was answered.
    since: Millis,
}

enum Protocol {
    Http(Box<Server>),
    WebSocket(Box<WebSocket>),
}

struct Asked {
    exchange: Option<ExchangeId>,
    method: String,
    persistence: Persistence,
    answer: Option<Response>,
}

impl Streams {
    pub(crate) fn open(&mut self, id: u64, caller: Caller) {
        let protocol = Protocol::Http(Box::new(Server::new(Options::application())));
        let stream = Stream {
            caller,
            protocol,
            waiting: VecDeque::new(),
            asked: VecDeque::new(),
            partial: 0,
            consumed: 0,
            output: BytesMut::new(),
            ending: false,
            held: None,
        };
        self.streams.insert(id, stream);
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    /// The client or the manager ended the connection.
    pub(crate) fn close(&mut self, id: u64, front: &mut dyn Front, exchanges: &mut Exchanges) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        self.partial_bytes -= stream.partial;
        for exchange in stream.asked.iter().filter_map(|asked| asked.exchange) {
            exchanges.drop(exchange);
        }
        self.dirty.remove(&id);
        self.resumed.remove(&id);
        front.closed(StreamId(id));
    }

    pub(crate) fn data(
        &mut self,
        id: u64,
        data: Bytes,
        front: &mut dyn Front,
        exchanges: &mut Exchanges,
        core: &Core,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.ending {
            return;
        }
        stream.waiting.push_back(data);
        if stream.held.is_none() {
            self.take_in(id, front, exchanges, core);
        }
    }

    /// An exchange has its answer.
    pub(crate) fn answer(
        &mut self,
        now: Millis,
        id: u64,
        exchange: ExchangeId,
        response: Response,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Some(at) = stream
            .asked
            .iter()
            .position(|asked| asked.exchange == Some(exchange))
        else {
            return;
        };
        match &mut stream.protocol {
            // Messages are answered as answers come; whoever sends several puts ids into them.
            Protocol::WebSocket(socket) => {
                stream.asked.remove(at);
                if !response.body.is_empty() {
                    socket.send(response.body);
                }
            }
            Protocol::Http(_) => {
                stream.asked[at].answer = Some(response);
                stream.encode_answers();
                if let Some(held) = &mut stream.held {
                    held.since = now;
                }
            }
        }
        self.dirty.insert(id);
        self.resumed.insert(id);
    }

    /// A message that nobody asked for, to a WebSocket.
    pub(crate) fn push(&mut self, push: Push) {
        let Some(stream) = self.streams.get_mut(&push.stream.0) else {
            return;
        };
        if let Protocol::WebSocket(socket) = &mut stream.protocol {
            socket.send(push.message);
            self.dirty.insert(push.stream.0);
        }
    }

    /// The front ends the connection: what it asked is not answered.
    pub(crate) fn end(&mut self, id: u64, exchanges: &mut Exchanges) {
        if let Some(stream) = self.streams.get_mut(&id) {
            for asked in stream.asked.drain(..) {
                asked.exchange.into_iter().for_each(|id| exchanges.drop(id));
            }
            stream.end();
            self.dirty.insert(id);
        }
    }

    /// Takes in what had to wait until answers were out or until there was room; exchanges have been polled.
    /// False if there was nothing.
    pub(crate) fn resume(
        &mut self,
        front: &mut dyn Front,
        exchanges: &mut Exchanges,
        core: &Core,
    ) -> bool {
        self.turns.polled();
        let mut some = false;
        let (queue, look) = self.turns.take(core.now);
        let mut kept = VecDeque::with_capacity(queue.len());
        let mut without_room = HashSet::new();
        for (id, actor) in queue {
            let is_behind = without_room.contains(&actor);
            if is_behind && !look {
                kept.push_back((id, actor));
                continue;
            }
            let stream = self.streams.get(&id);
            let Some((stream, held)) = stream.and_then(|s| Some((s, s.held.as_ref()?))) else {
                self.turns.leave(&actor); // the connection is gone
                continue;
            };
            let too_long = stream.asked.is_empty() && core.now.since(held.since) >= HOLD_MS;
            let bytes = held.request.body.len();
            if too_long || (!is_behind && self.turns.has_room(&stream.caller, &core.pool, bytes)) {
                self.turns.leave(&actor);
                self.take_in(id, front, exchanges, core);
                some = true;
            } else {
                without_room.insert(actor);
                kept.push_back((id, actor));
            }
        }
        self.turns.keep(kept);
        for id in core::mem::take(&mut self.resumed) {
            let is_held = |stream: &Stream| stream.held.is_some();
            if !self.streams.get(&id).is_some_and(is_held) {
                self.take_in(id, front, exchanges, core);
                some = true;
            }
        }
        some
    }

    pub(crate) fn next_wake(&self) -> Option<Millis> {
        self.turns.next_wake()
    }

    /// Sends answers, returns windows, ends what has ended.
    pub(crate) fn send_out(
        &mut self,
        front: &mut dyn Front,
        exchanges: &mut Exchanges,
        out: &mut Vec<WorkerToManager>,
    ) {
        for id in core::mem::take(&mut self.dirty) {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            if let Protocol::WebSocket(socket) = &mut stream.protocol
                && socket.has_output()
            {
                let output = socket.take_output();
                stream.output.extend_from_slice(&output);
            }
            while !stream.output.is_empty() {
                let bytes = stream.output.len().min(DATA_BYTES_MAX);
                let data = stream.output.split_to(bytes).freeze();
                send(out, Out::Data(boundary::StreamData { stream: id, data }));
            }
            if stream.consumed > 0 {
                let bytes = core::mem::take(&mut stream.consumed);
                send(
                    out,
                    Out::Consumed(boundary::StreamConsumed { stream: id, bytes }),
                );
            }
            if stream.ending && stream.asked.is_empty() {
                self.close(id, front, exchanges);
                send(
                    out,
                    Out::Close(boundary::StreamClose {
                        stream: id,
                        reason: String::new(),
                    }),
                );
            }
        }
    }

    /// Takes in waiting bytes as far as the number of unanswered requests and the room in the pool allow. A request
    /// that was held has its turn.
    fn take_in(&mut self, id: u64, front: &mut dyn Front, exchanges: &mut Exchanges, core: &Core) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        loop {
            if let Some(held) = stream.held.take() {
                self.turns.goes_on(held.request.body.len());
                stream.request(id, held.request, front, exchanges);
                continue;
            }
            if stream.ending || stream.asked.len() >= UNANSWERED_MAX {
                break;
            }
            match stream.advance(id, front, exchanges) {
                Step::Request(request) => {
                    if front.submits(&request.method, &request.body) {
                        let bytes = request.body.len();
                        if (self.turns).is_blocked(&stream.caller, &core.pool, bytes) {
                            self.turns.wait(id, stream.caller.actor);
                            let since = core.now;
                            stream.held = Some(Held { request, since });
                            break;
                        }
                        self.turns.goes_on(bytes);
                    }
                    stream.request(id, request, front, exchanges);
                    continue;
                }
                Step::Again => continue,
                Step::Starved => {}
            }
            let Some(bytes) = stream.waiting.pop_front() else {
                break;
            };
            stream.consumed += bytes.len() as u64; // usize is at most 64 bits
            match &mut stream.protocol {
                Protocol::WebSocket(socket) => socket.receive(&bytes),
                Protocol::Http(server) => {
                    server.receive(&bytes);
                    self.partial_bytes -= stream.partial;
                    stream.partial = server.buffered();
                    self.partial_bytes += stream.partial;
                    if self.partial_bytes > PARTIAL_BYTES_MAX && stream.partial > PARTIAL_BYTES_FAIR
                    {
                        let text = "this node holds too many unfinished requests: try again later";
                        stream.refuse(Refusal { status: 503, text });
                    }
                }
            }
        }
        if let Protocol::Http(server) = &stream.protocol {
            self.partial_bytes -= stream.partial;
            let held = stream.held.as_ref().map_or(0, |h| h.request.body.len());
            stream.partial = if stream.ending {
                0
            } else {
                server.buffered() + held
            };
            self.partial_bytes += stream.partial;
        }
        self.dirty.insert(id);
    }
}

enum Step {
    /// A request by HTTP, to be dealt with.
    Request(http1::Request),
    /// Something was dealt with.
    Again,
    Starved,
}

impl Stream {
    /// Deals with the next thing received.
    fn advance(&mut self, id: u64, front: &mut dyn Front, exchanges: &mut Exchanges) -> Step {
        match &mut self.protocol {
            Protocol::Http(server) => match server.next() {
                Ok(None) => return Step::Starved,
                Ok(Some(Received::ExpectContinue)) => {
                    // Between two responses this would be taken for part of the first.
                    if self.asked.is_empty() {
                        http1::encode_continue(&mut self.output);
                    }
                }
                Ok(Some(Received::Request(request))) => return Step::Request(request),
                Err(refusal) => self.refuse(refusal),
            },
            Protocol::WebSocket(socket) => match socket.next() {
                Ok(None) => return Step::Starved,
                Ok(Some(Message::Text(message) | Message::Binary(message))) => {
                    let exchange =
                        exchanges.start(id, front.message(StreamId(id), &self.caller, message));
                    self.asked.push_back(Asked {
                        exchange: Some(exchange),
                        method: String::new(),
                        persistence: Persistence::KeepAlive,
                        answer: None,
                    });
                }
                Ok(Some(Message::Close)) | Err(_) => {
                    // Nobody is there to read answers.
                    for asked in self.asked.drain(..) {
                        asked
                            .exchange
                            .into_iter()
                            .for_each(|exchange| exchanges.drop(exchange));
                    }
                    self.end();
                }
            },
        }
        Step::Again
    }

    fn request(
        &mut self,
        id: u64,
        request: http1::Request,
        front: &mut dyn Front,
        exchanges: &mut Exchanges,
    ) {
        let mut upgrade = BytesMut::new();
        match http1::accept_upgrade(&request, &mut upgrade) {
            Err(refusal) => return self.refuse(refusal),
            Ok(true) if !self.asked.is_empty() => {
                let text = "open a WebSocket when no request is unanswered";
                return self.refuse(Refusal { status: 400, text });
            }
            Ok(true) => {
                let asked = adapter::Request {
                    method: request.method,
                    target: request.target,
                    headers: request.headers,
                    body: request.body,
                };
                if let Err(answer) = front.upgrade(StreamId(id), &self.caller, &asked) {
                    return self.answer_last(asked.method, answer);
                }
                self.output.extend_from_slice(&upgrade);
                let Protocol::Http(server) = core::mem::replace(
                    &mut self.protocol,
                    Protocol::WebSocket(Box::new(WebSocket::server(
                        b"",
                        APPLICATION_REQUEST_BYTES_MAX,
                    ))),
                ) else {
                    unreachable!("requests come by HTTP");
                };
                self.waiting.push_front(server.into_rest());
                // They were counted as consumed when the server took them.
                self.consumed -= (self.waiting[0].len() as u64).min(self.consumed);
                return;
            }
            Ok(false) => {}
        }
        let persistence = if request.keep_alive {
            Persistence::KeepAlive
        } else {
            Persistence::Close
        };
        self.ending = persistence == Persistence::Close;
        let method = request.method.clone();
        let request = adapter::Request {
            method: request.method,
            target: request.target,
            headers: request.headers,
            body: request.body,
        };
        let exchange = exchanges.start(id, front.request(StreamId(id), &self.caller, request));
        self.asked.push_back(Asked {
            exchange: Some(exchange),
            method,
            persistence,
            answer: None,
        });
    }

    /// Answers in the client's turn and ends the connection.
    fn refuse(&mut self, refusal: Refusal) {
        let answer = Response {
            status: refusal.status,
            headers: vec![("content-type", "text/plain; charset=utf-8".into())],
            body: Bytes::from(format!("{}\n", refusal.text)),
        };
        self.answer_last("GET".into(), answer);
    }

    fn answer_last(&mut self, method: String, answer: Response) {
        self.asked.push_back(Asked {
            exchange: None,
            method,
            persistence: Persistence::Close,
            answer: Some(answer),
        });
        self.end();
        self.encode_answers();
    }

    fn end(&mut self) {
        self.ending = true;
        self.held = None;
        self.waiting.clear();
    }

    /// Encodes the answers whose turn it is.
    fn encode_answers(&mut self) {
        while let Some(asked) = self.asked.pop_front_if(|asked| asked.answer.is_some()) {
            let Response {
                status,
                headers,
                body,
            } = asked.answer.expect("seen above");
            http1::encode_response(
                status,
                &headers,
                &body,
                &asked.method,
                asked.persistence,
                &mut self.output,
            );
        }
    }
}
