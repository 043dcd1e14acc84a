//! What the ledger is told of keys that were given to a node or refused to one, and how often.
//!
//! Source: `docs/keys.md`: every grant is an entry, and every refusal, too. Whoever gives or refuses
//! notes it; the leader records what it notes itself, and what other nodes report to it. A refusal is
//! recorded once a minute for each node that is or was in the list, and once a minute for all others
//! together, so that nobody fills the ledger by asking.

use std::collections::BTreeMap;

use governance::{Command, KeyRelease, RELEASE_REASON_BYTES_MAX};
use ledger::Kind;
use types::{Epoch, Millis, NodeId};

use crate::Output;
use crate::node::{Node, log};
use crate::wire::{KeysReport, PeerMessage};

/// A refusal to a node is recorded at most so often.
const REFUSAL_MS: u64 = 60_000;
/// One node is given keys at most so often; it asks less often by itself.
const GRANT_MS: u64 = 500;
/// What may wait for a leader to record it: two for each node of a large network.
const NOTED_MAX: usize = 128;

/// Whose place a node takes in the ledger that is no node of the network, and never was.
pub const STRANGER: NodeId = NodeId(0);

/// Grants and refusals of this node.
#[derive(Default)]
pub struct Grants {
    /// When a refusal to a node was noted last, and how many were not since.
    refused: BTreeMap<NodeId, (Millis, u64)>,
    /// When a node was given keys last.
    granted: BTreeMap<NodeId, Millis>,
    /// For the leader to record.
    noted: Vec<KeyRelease>,
}

impl Grants {
    /// Whether a node was given keys so lately that it need not be answered.
    pub fn is_recent(&self, node: NodeId, now: Millis) -> bool {
        self.granted
            .get(&node)
            .is_some_and(|at| now.since(*at) < GRANT_MS)
    }

    fn note(&mut self, release: KeyRelease) {
        if self.noted.len() < NOTED_MAX {
            self.noted.push(release);
        }
    }
}

impl Node {
    /// A node is refused keys, or this node's part of them.
    pub fn note_refusal(
        &mut self,
        node: NodeId,
        epoch: Epoch,
        reason: &str,
        out: &mut Vec<Output>,
    ) {
        let (now, grants) = (self.now, &mut self.grants);
        let mut told = reason.to_owned();
        if let Some((at, unnoted)) = grants.refused.get_mut(&node) {
            if now.since(*at) < REFUSAL_MS {
                *unnoted += 1;
                return;
            }
            if *unnoted > 0 {
                told = format!("{told} ({unnoted} more were refused since the last record)");
            }
        }
        let end = told.floor_char_boundary(RELEASE_REASON_BYTES_MAX);
        told.truncate(end);
        grants.refused.insert(node, (now, 0));
        log(
            out,
            2,
            "keys",
            &format!("{} is given no keys: {told}", named(node)),
        );
        grants.note(KeyRelease {
            node,
            epoch,
            refused: Some(told),
        });
        self.record_noted(out);
    }

    /// A node is given keys, at this moment.
    pub fn note_grant(&mut self, node: NodeId, epoch: Epoch, out: &mut Vec<Output>) {
        self.grants.granted.insert(node, self.now);
        self.grants.note(KeyRelease {
            node,
            epoch,
            refused: None,
        });
        self.record_noted(out);
    }

    /// The leader records what was noted; others tell it.
    pub fn record_noted(&mut self, out: &mut Vec<Output>) {
        if self.grants.noted.is_empty() {
            return;
        }
        let leading = self.order.leading.as_ref();
        let records = leading.is_some_and(|l| l.opened && self.keyring.holds(l.epoch));
        let leader = self.leader().filter(|leader| *leader != self.id || records);
        let Some(leader) = leader else { return };
        for release in std::mem::take(&mut self.grants.noted) {
            if leader == self.id {
                let command = Command::KeyRelease(release);
                self.append_command(Kind::Administrative, command, None, out);
                continue;
            }
            let KeyRelease {
                node,
                epoch,
                refused,
            } = release;
            let report = KeysReport {
                node,
                epoch,
                refused,
            };
            self.send_peer(leader, &PeerMessage::KeysReport(report), out);
        }
    }

    /// Another node says whom it gave keys, or refused them.
    pub fn keys_reported(&mut self, from: NodeId, report: KeysReport, out: &mut Vec<Output>) {
        let KeysReport {
            node,
            epoch,
            refused,
        } = report;
        let known = node == STRANGER || self.state.node(node).is_some();
        if self.order.leading.is_none() || !known || node == from {
            return;
        }
        match refused {
            Some(reason) => self.note_refusal(node, epoch, &reason, out),
            None if self.grants.is_recent(node, self.now) => {}
            None => {
                let time = self.order.time.max(self.clock);
                match self.state.may_have_keys(node, epoch, time) {
                    Ok(()) => self.note_grant(node, epoch, out),
                    Err(reason) => self.note_refusal(node, epoch, reason, out),
                }
            }
        }
    }

    /// Who is not in the list asks for keys, or for a part of them.
    pub fn keys_asked_by_stranger(
        &mut self,
        key: &crypto::PublicKey,
        epoch: Option<Epoch>,
        out: &mut Vec<Output>,
    ) {
        let epoch = epoch.unwrap_or(self.order.epoch);
        let (node, reason) = match self.state.node_by_key(key) {
            Some(former) => (
                former.id,
                "it was removed or replaced, and what came after is not for it".to_owned(),
            ),
            None => {
                let fingerprint = key.fingerprint();
                (
                    STRANGER,
                    format!("no node of this network has the key {fingerprint}"),
                )
            }
        };
        self.note_refusal(node, epoch, &reason, out);
    }
}

fn named(node: NodeId) -> String {
    if node == STRANGER {
        "a stranger".into()
    } else {
        format!("node {node}")
    }
}
