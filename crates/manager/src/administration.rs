//! The administrative channel: a bounded HTTP/1.1 subset for members and participants.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | this node's phase, term, leader, commit index, missing sandbox features |
//! | `GET /v1/network` | network identity: name, id, certificate, epoch, restart count |
//! | `GET /v1/nodes` | the VN list, with each node's status and lease |
//! | `GET /v1/actor` | who the caller is, by the certificate of its channel |
//! | `GET /v1/constitution` | the constitution in force, with version and digest |
//! | `GET /v1/constitution/versions` | version, digest and entry of each that was in force |
//! | `GET /v1/proposals`, `GET /v1/proposals/N` | open and recent proposals with ballots and count |
//! | `POST /v1/proposals`, `/v1/ballots`, `/v1/withdrawals` | hands in a `governance::SignedMessage`; answered when recorded |
//! | `POST /v1/consents` | hands in an actor's signed consent to an audit; answered when recorded |
//! | `GET /v1/audits` | the open audit grants, with who consented |
//! | `POST /v1/audits/N/parts?from=E&to=E` | for the auditor that the grant names: this node's actor's parts, sealed to it |
//! | `GET /v1/events?since=N&wait=S` | events after N, at once or within S seconds; `since=now` names the last |
//! | `GET /v1/openapi.json` | this table for programs |
//!
//! Source: white paper, "administrative channel"; DESIGN section 1. Application data is never here.

use bytes::BytesMut;
use consensus::Engine;
use governance::Caller;
use http1::{Options, Persistence, Received, Request, Server};
use serde_json::{Value, json};
use types::limits::ADMINISTRATIVE_BYTES_MAX;

use crate::Output;
use crate::node::Node;
use crate::polls::Poll;
use crate::sessions::Who;

/// Who speaks on the administrative channel.
#[derive(Debug, Clone)]
pub enum Asker {
    Actor(Caller),
    /// No actor of the network, but named by an open audit grant.
    Auditor {
        subject: String,
    },
}

/// An administrator's connection.
pub struct Connection {
    server: Server,
    /// A request that is answered later, and how; those after it wait.
    deferred: Option<Deferred>,
}

struct Deferred {
    method: String,
    persistence: Persistence,
}

/// What becomes of a request.
pub enum Answer {
    Now(u16, Value),
    /// Whoever has the answer calls [`Node::answer_administrator`].
    Later,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            server: Server::new(Options::administrative()),
            deferred: None,
        }
    }
}

/// Most requests that are answered in one turn; the rest of what was sent is refused by closing.
const REQUESTS_A_TURN_MAX: usize = 64;

/// Bytes that may wait behind a request that is answered later.
const WAITING_BYTES_MAX: usize = 2 * ADMINISTRATIVE_BYTES_MAX;

/// What the channel offers, for programs; a test holds it against [`ROUTES`].
const OPENAPI: &str = include_str!("../openapi.json");

/// What an auditor that is no actor may ask.
const AUDITORS: &[&str] = &[
    "/v1/actor",
    "/v1/network",
    "/v1/audits",
    "/v1/audits/{number}/parts",
    "/v1/openapi.json",
];

/// Every resource and what may be done with it.
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/v1/status"),
    ("GET", "/v1/actor"),
    ("GET", "/v1/network"),
    ("GET", "/v1/nodes"),
    ("GET", "/v1/constitution"),
    ("GET", "/v1/constitution/versions"),
    ("GET", "/v1/proposals"),
    ("POST", "/v1/proposals"),
    ("GET", "/v1/proposals/{number}"),
    ("POST", "/v1/ballots"),
    ("POST", "/v1/withdrawals"),
    ("POST", "/v1/consents"),
    ("GET", "/v1/audits"),
    ("POST", "/v1/audits/{number}/parts"),
    ("GET", "/v1/events"),
    ("GET", "/v1/openapi.json"),
];

impl Node {
    pub fn administrative(&mut self, connection: u64, plain: &[u8], out: &mut Vec<Output>) {
        let Some(http) = self.administrator(connection) else {
            return;
        };
        if http.server.buffered() + plain.len() > WAITING_BYTES_MAX {
            let reason = "it sends more requests than it waits for answers";
            return self.drop_connection(connection, reason, out);
        }
        http.server.receive(plain);
        self.serve_administrator(connection, out);
    }

    /// The answer to the request that an administrator waits for.
    pub fn answer_administrator(
        &mut self,
        connection: u64,
        status: u16,
        body: &Value,
        out: &mut Vec<Output>,
    ) {
        let Some(deferred) = self
            .administrator(connection)
            .and_then(|h| h.deferred.take())
        else {
            return;
        };
        let mut answer = BytesMut::new();
        encode(
            status,
            body,
            &deferred.method,
            deferred.persistence,
            &mut answer,
        );
        self.sessions.send(connection, &answer);
        match deferred.persistence {
            Persistence::KeepAlive => self.serve_administrator(connection, out),
            Persistence::Close => {
                self.drop_connection(connection, "the last request was answered", out);
            }
        }
    }

    fn administrator(&mut self, connection: u64) -> Option<&mut Connection> {
        match &mut self.sessions.get(connection)?.who {
            Who::Administrator { http, .. } => Some(http),
            _ => None,
        }
    }

    /// Answers what has come in, in order, up to a request that is answered later.
    fn serve_administrator(&mut self, connection: u64, out: &mut Vec<Output>) {
        let mut answer = BytesMut::new();
        let mut last = true;
        for _ in 0..REQUESTS_A_TURN_MAX {
            let Some(session) = self.sessions.get(connection) else {
                return;
            };
            let Who::Administrator { http, asker, .. } = &mut session.who else {
                return;
            };
            if http.deferred.is_some() {
                last = false;
                break;
            }
            let request = match http.server.next() {
                Ok(Some(Received::ExpectContinue)) => {
                    http1::encode_continue(&mut answer);
                    continue;
                }
                Ok(Some(Received::Request(request))) => request,
                Ok(None) => {
                    last = false;
                    break;
                }
                Err(refused) => {
                    let body = json!({ "error": refused.text });
                    encode(
                        refused.status,
                        &body,
                        "GET",
                        Persistence::Close,
                        &mut answer,
                    );
                    break;
                }
            };
            let asker = asker.clone();
            let persistence = if request.keep_alive {
                Persistence::KeepAlive
            } else {
                Persistence::Close
            };
            match self.administer(connection, &asker, &request, out) {
                Answer::Now(status, body) => {
                    encode(status, &body, &request.method, persistence, &mut answer);
                    if !request.keep_alive {
                        break;
                    }
                }
                Answer::Later => {
                    if let Some(http) = self.administrator(connection) {
                        let method = request.method;
                        http.deferred = Some(Deferred {
                            method,
                            persistence,
                        });
                    }
                }
            }
        }
        self.sessions.send(connection, &answer);
        if last {
            self.drop_connection(connection, "the last request was answered", out);
        }
    }

    fn administer(
        &mut self,
        connection: u64,
        asker: &Asker,
        request: &Request,
        out: &mut Vec<Output>,
    ) -> Answer {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let number = path.strip_prefix("/v1/proposals/");
        let audit = path
            .strip_prefix("/v1/audits/")
            .and_then(|rest| rest.strip_suffix("/parts"));
        let route = if number.is_some() {
            "/v1/proposals/{number}"
        } else if audit.is_some() {
            "/v1/audits/{number}/parts"
        } else {
            path
        };
        let methods: Vec<&str> = ROUTES
            .iter()
            .filter(|(_, listed)| *listed == route)
            .map(|(method, _)| *method)
            .collect();
        if methods.is_empty() {
            let error = "no such resource; see docs/administration.md";
            return Answer::Now(404, json!({ "error": error }));
        }
        if !methods.contains(&&*request.method) {
            let error = format!("use {} with this resource", methods.join(" or "));
            return Answer::Now(405, json!({ "error": error }));
        }
        if matches!(asker, Asker::Auditor { .. }) && !AUDITORS.contains(&route) {
            let error = "an auditor that is no actor may ask for its audits and for nothing else";
            return Answer::Now(403, json!({ "error": error }));
        }
        if let Some(number) = audit {
            return self.audit_asked(connection, number, query, out);
        }
        if request.method == "POST" {
            let poll = match path {
                "/v1/consents" => Poll::Consent,
                "/v1/ballots" => Poll::Ballot,
                "/v1/withdrawals" => Poll::Withdrawal,
                _ => Poll::Proposal,
            };
            return self.submit(connection, poll, &request.body, out);
        }
        let body = match path {
            "/v1/status" => self.status_body(),
            "/v1/actor" => asker.body(),
            "/v1/audits" => {
                let chain = match self.sessions.get(connection).map(|session| &session.who) {
                    Some(Who::Administrator { chain, .. }) => chain.clone(),
                    _ => Vec::new(),
                };
                self.audits_body(asker, &chain)
            }
            "/v1/network" => self.network_body(),
            "/v1/nodes" => self.nodes_body(),
            "/v1/constitution" => self.constitution_body(),
            "/v1/constitution/versions" => json!({ "versions": self.state.versions() }),
            "/v1/openapi.json" => serde_json::from_str(OPENAPI).expect("a test reads it"),
            "/v1/events" => return self.asked_for_events(connection, query),
            _ => {
                let number = number.map(str::parse::<u64>).transpose();
                match number.map(|number| self.proposals_body(number)) {
                    Ok(Some(body)) => body,
                    _ => {
                        let error = "no open or recent proposal has this number";
                        return Answer::Now(404, json!({ "error": error }));
                    }
                }
            }
        };
        Answer::Now(200, body)
    }

    fn asked_for_events(&mut self, connection: u64, query: &str) -> Answer {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
        };
        let since = match value("since") {
            Some("now") => Some(self.state.last_event()),
            Some(number) => number.parse().ok(),
            None => Some(0),
        };
        let wait = value("wait").map_or(Some(0), |seconds| seconds.parse::<u64>().ok());
        match (since, wait) {
            (Some(since), Some(wait)) => self.events(connection, since, wait.saturating_mul(1000)),
            _ => {
                let error = "since is a number or `now`, wait a number of seconds";
                Answer::Now(400, json!({ "error": error }))
            }
        }
    }

    fn status_body(&self) -> Value {
        let position = self.position();
        json!({
            "phase": self.phase_name(),
            "node": position.node,
            "owner": self.setup.owner,
            "address": self.setup.address,
            "term": self.engine.as_ref().map(|e| e.last().0),
            "leader": position.leader,
            "last": position.last,
            "committed": position.committed,
            "digest": position.digest,
            "epoch": self.order.epoch,
            "network": self.setup.network,
            "constitution": self.state.constitution_version(),
            "time": self.order.time,
            "transactions": self.order.tree.len(),
            "service": self.service_body(),
            "missing_features": self.missing,
            "protocols": self.protocols.iter().map(|p| json!({
                "name": p.name,
                "height": p.committed(),
                "worker": if p.live().is_some() { "live" } else if p.running().is_some() { "catching up" } else { "down" },
            })).collect::<Vec<_>>(),
        })
    }

    fn network_body(&self) -> Value {
        json!({
            "name": self.setup.constitution.network,
            "id": self.setup.network,
            "certificate": self.sessions.network_certificate().map(crypto::Certificate::to_pem),
            "epoch": self.order.epoch,
            "restarts": self.order.restarts,
            "genesis_time": self.setup.constitution.genesis_time_ms,
        })
    }

    fn nodes_body(&self) -> Value {
        let nodes = self.state.nodes().map(|node| {
            json!({
                "node": node.id,
                "owner": node.owner,
                "address": node.address,
                "status": format!("{:?}", node.status).to_lowercase(),
                "since": node.since,
                "replaces": node.replaces,
                "lease": { "number": node.lease.number, "expires": node.lease.expires },
                "key": hex::encode(node.key.as_sec1()),
                "code": node.code,
            })
        });
        json!({ "nodes": nodes.collect::<Vec<_>>() })
    }

    fn constitution_body(&self) -> Value {
        match self.state.constitution() {
            Some(constitution) => json!({
                "version": self.state.constitution_version(),
                "digest": constitution.digest(),
                "constitution": constitution,
                "cbor": hex::encode(constitution.to_cbor()),
            }),
            None => json!({ "error": "not there yet: the node is still joining" }),
        }
    }
}

impl Asker {
    fn body(&self) -> Value {
        match self {
            Self::Actor(caller) => json!({
                "name": caller.name,
                "actor": caller.actor,
                "member": caller.member,
                "participant": caller.participant,
                "auditor": caller.auditor,
            }),
            Self::Auditor { subject } => json!({ "name": subject, "granted": true }),
        }
    }
}

fn encode(status: u16, body: &Value, method: &str, persistence: Persistence, out: &mut BytesMut) {
    let body = body.to_string();
    http1::encode_response(
        status,
        &[("content-type", "application/json")],
        body.as_bytes(),
        method,
        persistence,
        out,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_for_programs_names_every_resource_and_no_other() {
        let document: Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let paths = document["paths"].as_object().expect("it has paths");
        let mut described: Vec<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods");
                methods.keys().map(|m| (m.to_uppercase(), path.clone()))
            })
            .collect();
        let mut served: Vec<(String, String)> = ROUTES
            .iter()
            .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
            .collect();
        described.sort();
        served.sort();
        assert_eq!(described, served);
    }
}
