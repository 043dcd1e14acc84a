//! Auditors are answered by the nodes of the actors that consented: each seals its actor's parts of the
//! granted epochs' session keys to the auditor, and the ledger says so first.
//!
//! Source: white paper, "Decrypting Persistent State"; `docs/keys.md`. A node answers if, in its own
//! committed state, the grant is open, the channel's certificate is the one that the grant names, its actor
//! has consented, and a signed root covers both entries. M actors' answers open the epochs; one opens
//! nothing. Of epochs that the grant does not cover there is no answer.

use std::collections::BTreeMap;

use crypto::Certificate;
use governance::{AuditGrant, AuditPart, AuditRelease, Refused};
use ledger::Kind;
use serde_json::{Value, json};
use types::{Epoch, Index, Millis, NodeId};

use crate::Output;
use crate::administration::{Answer, Asker};
use crate::node::{Node, log};
use crate::polls::{Awaited, refusal};
use crate::sessions::Who;
use crate::wire::PeerMessage;

/// An answer that is not on the ledger by then is not given.
const RECORD_MS: u64 = 10_000;

impl Node {
    /// Whether an open grant names these certificates.
    pub fn is_auditor(&self, chain: &[Certificate]) -> bool {
        let now = self.audit_time();
        self.state.audits(now).any(|g| g.terms.are_of(chain, now))
    }

    fn audit_time(&self) -> Millis {
        self.clock.max(self.order.time)
    }

    /// `GET /v1/audits`: the open grants; an auditor that is no actor sees its own.
    pub fn audits_body(&self, asker: &Asker, chain: &[Certificate]) -> Value {
        let now = self.audit_time();
        let shown = |grant: &&AuditGrant| match asker {
            Asker::Actor(_) => true,
            Asker::Auditor { .. } => grant.terms.are_of(chain, now),
        };
        let grants = self.state.audits(now).filter(shown).map(|grant| {
            let terms = &grant.terms;
            json!({
                "grant": grant.number,
                "auditor": terms.auditor.0.subject(),
                "certificate": terms.auditor.0.to_pem(),
                "key": hex::encode(terms.key),
                "from": terms.from,
                "to": terms.to,
                "expires": terms.expires,
                "entry": grant.entry,
                "terms": terms.digest(),
                "consents": grant.consents,
                "answers_here": grant.consents.contains_key(&self.setup.owner),
            })
        });
        json!({ "audits": grants.collect::<Vec<_>>() })
    }

    /// `POST /v1/audits/N/parts?from=E&to=E`.
    pub fn audit_asked(
        &mut self,
        connection: u64,
        number: &str,
        query: &str,
        out: &mut Vec<Output>,
    ) -> Answer {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let value = pairs.find(|(n, _)| *n == name)?.1;
            value.parse().ok().map(Epoch)
        };
        let (Ok(grant), Some(from), Some(to)) = (number.parse(), value("from"), value("to")) else {
            let error = "give the number of a grant, and the epochs as from=N&to=N";
            return Answer::Now(400, json!({ "error": error }));
        };
        let release = AuditRelease {
            node: self.id,
            grant,
            from,
            to,
        };
        match self.may_answer(connection, &release) {
            Ok(()) => {}
            Err((status, error)) => {
                log(
                    out,
                    2,
                    "audit",
                    &format!("parts for grant {grant} are refused: {error}"),
                );
                return Answer::Now(status, json!({ "error": error }));
            }
        }
        match self.leader() {
            Some(leader) if leader == self.id => {
                if let Err(refused) = self.record_audit(&release, out) {
                    return refusal(&refused);
                }
            }
            Some(leader) => {
                let ask = PeerMessage::AuditAsk { grant, from, to };
                self.send_peer(leader, &ask, out);
            }
            None => {
                let error = "the network has no leader at the moment: ask again";
                return Answer::Now(503, json!({ "error": error }));
            }
        }
        self.wait(connection, RECORD_MS, Awaited::AuditParts(release))
    }

    /// Whether whoever speaks on a connection is answered now; with the HTTP status and the reason if not.
    fn may_answer(&mut self, connection: u64, release: &AuditRelease) -> Result<(), (u16, String)> {
        let now = self.audit_time();
        let Some(session) = self.sessions.get(connection) else {
            return Err((403, "the connection is gone".into()));
        };
        let Who::Administrator { chain, .. } = &session.who else {
            return Err((403, "it is not the administrative channel".into()));
        };
        let refused = |refused: Refused| (crate::polls::status(&refused), refused.to_string());
        let grant = self.state.audit(release.grant, now).map_err(refused)?;
        if !grant.terms.are_of(chain, now) {
            let error = format!("audit grant {} names another certificate", release.grant);
            return Err((403, error));
        }
        self.state.audit_release(release, now).map_err(refused)?;
        let consent = grant.consents.get(&self.setup.owner).copied();
        let covered = grant.entry.max(consent.unwrap_or(Index(u64::MAX)));
        if covered >= self.order.signed {
            let error = "no signed root covers grant and consent here yet: ask again in a moment";
            return Err((503, error.into()));
        }
        if self.shares.transport().is_none() {
            let error = "this node's agent has not given it the actor's share-transport key: ask another node";
            return Err((503, error.into()));
        }
        Ok(())
    }

    /// The leader puts an answer into the order.
    fn record_audit(
        &mut self,
        release: &AuditRelease,
        out: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        let now = self.audit_time();
        let command = self.state.audit_release(release, now)?;
        self.append_command(Kind::Administrative, command, None, out);
        Ok(())
    }

    /// Another node wants to answer an auditor.
    pub fn audit_ask_arrived(
        &mut self,
        node: NodeId,
        (grant, from, to): (u64, Epoch, Epoch),
        out: &mut Vec<Output>,
    ) {
        let release = AuditRelease {
            node,
            grant,
            from,
            to,
        };
        if !self.leads() {
            return;
        }
        // A node asks after the same check: what differs is on its way to it.
        if let Err(refused) = self.record_audit(&release, out) {
            log(
                out,
                2,
                "audit",
                &format!("node {node} is to give no parts: {refused}"),
            );
        }
    }

    /// The ledger says that a node answers an auditor: if it is this one, it does.
    pub fn audit_released(&mut self, release: &AuditRelease, out: &mut Vec<Output>) {
        let text = format!(
            "node {} gives its parts of epochs {}-{} to the auditor of grant {}",
            release.node, release.from, release.to, release.grant
        );
        log(out, 3, "audit", &text);
        if release.node != self.id {
            return;
        }
        // One record is one answer.
        let Some(connection) = self.take_waiting_audit(release) else {
            return;
        };
        let (status, body) = match self.audit_part(release) {
            Ok(body) => (200, body),
            Err(error) => (409, json!({ "error": error })),
        };
        self.answer_administrator(connection, status, &body, out);
    }

    /// This actor's parts, sealed to the auditor.
    fn audit_part(&mut self, release: &AuditRelease) -> Result<Value, String> {
        let grant = self
            .state
            .audit(release.grant, self.audit_time())
            .map_err(|refused| refused.to_string())?;
        let transport = self
            .shares
            .transport()
            .ok_or("this node has lost the actor's share-transport key")?;
        let (records, entropy) = (self.state.keys(), &mut self.entropy);
        let mut parts = BTreeMap::new();
        for epoch in (release.from.0..=release.to.0).map(Epoch) {
            let part = self
                .releases
                .share
                .session_part(records, transport, epoch, entropy);
            parts.extend(part.map(|part| (epoch, part)));
        }
        if parts.is_empty() {
            return Err(format!(
                "{} has no part in epochs {}-{}: they are not sealed to the actors, or to a former share key of it",
                self.setup.owner, release.from, release.to
            ));
        }
        let part = AuditPart::seal(self.setup.network, grant, &parts, entropy)
            .map_err(|bad| bad.to_string())?;
        let bytes = minicbor::to_vec(&part).expect("memory takes any length");
        Ok(json!({
            "actor": self.setup.owner,
            "node": self.id,
            "grant": release.grant,
            "epochs": parts.keys().collect::<Vec<_>>(),
            "part": hex::encode(bytes),
        }))
    }
}
