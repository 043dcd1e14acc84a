//! The last act: the world is healed, and everything must come right within a bounded time.
//!
//! Source: DESIGN section 10, "then a liveness phase". In order: every client has its answer, every node
//! is a voter and has the whole ledger; a new write commits; all disks hold the same entries, byte by
//! byte, and all workers the same state; every acknowledged write is read back from every node, and its
//! receipt, from one of them, proves it to whoever knows the network's certificate.

use crypto::Certificate;

use super::{LIVENESS_MS, World};
use crate::client::{Client, Wanted};
use crate::network::START;

/// Clients from this number on read back, each from one node.
pub const READER: u64 = 1_000;
/// The client that comes when all is well again.
const LAST_WRITER: u64 = 500;
/// Its write must be answered within this time, even if the node that it comes to has just lost a leader.
const WRITE_MS: u64 = 5_000;

impl World {
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.heal();
        self.until(
            LIVENESS_MS,
            "the healed network answers everything and agrees",
            |world| world.clients.values().all(Client::idle) && world.agreed(),
        )?;
        let writer = Client::once(LAST_WRITER, &self.consortium.user);
        self.clients.insert(LAST_WRITER, writer);
        self.turn(1, LAST_WRITER);
        self.until(WRITE_MS, "a new write commits", |world| {
            !world.clients[&LAST_WRITER].acknowledged.is_empty()
        })?;
        self.until(
            LIVENESS_MS,
            "every disk holds the same ledger, byte by byte",
            |world| world.agreed() && world.same_disks(),
        )?;
        self.until(
            LIVENESS_MS,
            "every worker has the same state",
            World::same_states,
        )?;
        self.replay_batches()?;
        self.read_back()?;
        self.report.entries = self.checker.committed();
        self.report.leader_changes = self.checker.leader_changes;
        Ok(())
    }

    pub(super) fn heal(&mut self) {
        self.calm = true;
        self.blocked.clear();
        for node in &mut self.nodes {
            (node.skew_ms, node.disk_ms) = (0, 4);
            (node.full, node.spoil_read) = (false, false);
        }
        self.line(|| "the world is healed".into());
    }

    fn agreed(&self) -> bool {
        let mut positions = self.positions();
        let Some(first) = positions.next() else {
            return false;
        };
        self.all_vote()
            && first.committed == first.last
            && positions.all(|p| p.committed == first.committed && p.digest == first.digest)
    }

    fn same_disks(&self) -> bool {
        let all = self.checker.committed();
        let first = &self.nodes[0].disk;
        self.nodes.iter().all(|n| n.disk.count() == all)
            && self.nodes[1..]
                .iter()
                .all(|n| n.disk.entries() == first.entries())
    }

    /// What the workers have applied, compared entry by entry.
    fn same_states(&self) -> bool {
        let states: Option<Vec<_>> = self
            .nodes
            .iter()
            .map(|node| Some(node.worker()?.state()))
            .collect();
        let Some(states) = states else { return false };
        let first = states[0];
        let same = |(domain, _): &(_, _)| {
            let entries = first.entries(*domain);
            states[1..]
                .iter()
                .all(|state| state.entries(*domain) == entries)
        };
        first.domains().iter().all(same)
    }

    /// Every acknowledged write is on every node, and each is proven by one of them.
    fn read_back(&mut self) -> Result<(), String> {
        let mut written = Vec::new();
        for client in self.clients.values() {
            if let Some(refused) = client.refused.first() {
                return Err(format!("a good write was refused: {refused}"));
            }
            written.extend(client.acknowledged.clone());
            self.report.attempts += client.attempts;
        }
        self.report.acknowledged = written.len() as u64; // usize is at most 64 bits
        self.clients.clear();
        let network = Certificate::from_der(&self.network).map_err(|e| e.to_string())?;
        let nodes = self.nodes.len();
        for place in 0..nodes {
            let mut wanted = Vec::new();
            for (number, (key, (value, at))) in written.iter().enumerate() {
                let (key, value) = (key.clone(), value.clone());
                if let Some(written) = at.clone().filter(|_| number % nodes == place) {
                    let value = value.clone();
                    wanted.push(Wanted::Receipt { written, value });
                }
                wanted.push(Wanted::Value { key, value });
            }
            // Readers are numbered by the node that they read from, see `client_turn`.
            let id = READER + place as u64; // usize is at most 64 bits
            let user = &self.consortium.user;
            self.clients
                .insert(id, Client::reader(id, user, wanted, network.clone()));
            self.turn(1, id);
        }
        self.until(LIVENESS_MS * 10, "everything is read back", |world| {
            world.clients.values().all(Client::has_read_all)
        })?;
        for client in self.clients.values() {
            self.report.receipts_verified += client.receipts_verified;
            if let Some(wrong) = client.wrong.first() {
                let place = client.id - READER;
                return Err(format!(
                    "an acknowledged write is not on node {place}: {wrong}"
                ));
            }
        }
        Ok(())
    }

    /// Where everyone stands, for who has to find out why.
    pub(super) fn scene(&self) -> String {
        let node = |node: &crate::node::Node| {
            let stands = match &node.process {
                None => "down".to_owned(),
                Some(process) => {
                    let p = process.manager.position();
                    format!(
                        "node {} term {} {} last {} committed {} voters {:?}",
                        p.node,
                        p.term,
                        if p.leading { "leads" } else { "follows" },
                        p.last,
                        p.committed,
                        p.voters.iter().map(|v| v.0).collect::<Vec<_>>(),
                    )
                }
            };
            let runs = node.disk.runs();
            format!(
                "\n  place {}: {stands}; on disk {} and {:?}, snapshots {:?}",
                node.place,
                runs.ledger_last,
                runs.tail,
                node.disk.snapshots().keys().collect::<Vec<_>>()
            )
        };
        let client = |client: &Client| format!("\n  client {}: {}", client.id, client.stands());
        let nodes: String = self.nodes.iter().map(node).collect();
        let clients: String = self.clients.values().map(client).collect();
        format!("; at {} ms{nodes}{clients}", self.now.since(START))
    }
}
