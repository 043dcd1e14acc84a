//! The administrative channel: a bounded HTTP/1.1 subset for members and participants.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | this node's phase, term, leader, commit index, missing sandbox features |
//! | `GET /v1/network` | network identity: name, id, certificate, epoch, restart count |
//! | `GET /v1/nodes` | the VN list, with each node's status and lease |
//! | `GET /v1/actor` | who the caller is, by the certificate of its channel |
//! | `GET /v1/constitution` | the constitution in force, with version and digest |
//!
//! Source: white paper, "administrative channel"; DESIGN section 1. Application data is never here.

use bytes::BytesMut;
use consensus::Engine;
use governance::Caller;
use http1::{Options, Persistence, Received, Request, Server};
use serde_json::{Value, json};

use crate::Output;
use crate::node::Node;
use crate::sessions::Who;

/// An administrator's connection.
pub struct Connection {
    server: Server,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            server: Server::new(Options::administrative()),
        }
    }
}

/// Most requests that are answered in one turn; the rest of what was sent is refused by closing.
const REQUESTS_A_TURN_MAX: usize = 64;

impl Node {
    pub fn administrative(&mut self, connection: u64, plain: &[u8], out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get(connection) else {
            return;
        };
        let Who::Administrator { http, caller } = &mut session.who else {
            return;
        };
        let caller = caller.clone();
        http.server.receive(plain);
        let mut requests = Vec::new();
        let mut refusal = None;
        let mut answer = BytesMut::new();
        while requests.len() < REQUESTS_A_TURN_MAX {
            match http.server.next() {
                Ok(Some(Received::ExpectContinue)) => http1::encode_continue(&mut answer),
                Ok(Some(Received::Request(request))) => requests.push(request),
                Ok(None) => break,
                Err(refused) => {
                    refusal = Some(refused);
                    break;
                }
            }
        }
        let mut last = requests.len() == REQUESTS_A_TURN_MAX || refusal.is_some();
        for request in &requests {
            let (status, body) = self.administer(&caller, request);
            let persistence = if request.keep_alive {
                Persistence::KeepAlive
            } else {
                Persistence::Close
            };
            last |= !request.keep_alive;
            encode(status, &body, &request.method, persistence, &mut answer);
        }
        if let Some(refused) = refusal {
            let body = json!({ "error": refused.text });
            encode(
                refused.status,
                &body,
                "GET",
                Persistence::Close,
                &mut answer,
            );
        }
        self.sessions.send(connection, &answer);
        if last {
            self.drop_connection(connection, "the last request was answered", out);
        }
    }

    fn administer(&self, caller: &Caller, request: &Request) -> (u16, Value) {
        let path = request.target.split('?').next().unwrap_or_default();
        let body = match path {
            "/v1/status" => self.status_body(),
            "/v1/actor" => json!({
                "name": caller.name,
                "actor": caller.actor,
                "member": caller.member,
                "participant": caller.participant,
                "auditor": caller.auditor,
            }),
            "/v1/network" => self.network_body(),
            "/v1/nodes" => self.nodes_body(),
            "/v1/constitution" => self.constitution_body(),
            _ => {
                return (
                    404,
                    json!({ "error": "no such resource; see docs/administration.md" }),
                );
            }
        };
        if request.method != "GET" {
            return (
                405,
                json!({ "error": "this resource can only be read: use GET" }),
            );
        }
        (200, body)
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
            "time": self.order.time,
            "transactions": self.order.tree.len(),
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
            }),
            None => json!({ "error": "not there yet: the node is still joining" }),
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
