//! What goes wrong in the world, and how much of it at once.
//!
//! A minority of the places may be in trouble at any time: its node is down, not yet a voter again, cut
//! off, or its host lies about the time. Faults that a node can bear by itself come whenever they like.

use std::collections::BTreeSet;

use boundary::host_to_manager;
use manager::Position;

use super::{Blocked, Event, World};
use crate::disk::Place;

/// A network needs so long, once a host has stopped lying about the time, to cut what it proposed. Who
/// lies has a longer log than all others and votes for none of them: a voter that the rest must do without.
const LIE_MS: u64 = 10_000;

impl World {
    pub(super) fn draw_fault(&mut self) {
        match self.random.below(100) {
            0..25 => self.cut_wire(),
            25..33 => self.alter_bytes(),
            33..50 => self.partition(),
            50..60 => self.crash(),
            60..66 => self.kill_worker(),
            66..74 => self.skew_clock(),
            74..80 => self.slow_disk(),
            80..85 => self.fill_disk(),
            85..90 => self.spoil_reads(),
            90..94 => self.stop(),
            _ => self.copy_disk(),
        }
    }

    fn pick_place(&mut self) -> usize {
        let count = self.nodes.len() as u64; // usize is at most 64 bits
        usize::try_from(self.random.below(count)).expect("below a length")
    }

    fn pick_wire(&mut self) -> Option<u64> {
        let whole = |(id, wire): (&u64, &super::Wire)| (!wire.broken).then_some(*id);
        let wires: Vec<u64> = self.wires.iter().filter_map(whole).collect();
        (!wires.is_empty()).then(|| *self.random.pick(&wires))
    }

    /// Places that cannot be counted on, as far as the newest leader knows; all without a leader, or
    /// while one votes that ended before it learnt who it is.
    fn troubled(&self) -> BTreeSet<usize> {
        let known = |leader: &Position| leader.voters.iter().all(|v| self.places.contains_key(v));
        let Some(leader) = self.leader().filter(known) else {
            return (0..self.nodes.len()).collect();
        };
        let sound = |place: usize| {
            let node = &self.nodes[place];
            let Some(process) = &node.process else {
                return false;
            };
            let id = process.manager.position().node;
            // A former incarnation that still counts is a vote that nobody can give.
            let former =
                |voter: &types::NodeId| *voter != id && self.places.get(voter) == Some(&place);
            let ending = node.stopping || node.storage_failed || node.read_spoilt.is_some();
            !ending
                && leader.voters.contains(&id)
                && !leader.voters.iter().any(former)
                && !node.lies()
                && node.lied_at.is_none_or(|at| at.0 + LIE_MS < self.now.0)
        };
        let cut: BTreeSet<usize> = self.blocked.iter().map(|(from, _)| *from).collect();
        let mut troubled: BTreeSet<usize> = (0..self.nodes.len())
            .filter(|place| self.nodes[*place].incarnation > 0 && !sound(*place))
            .collect();
        if !cut.is_empty() {
            troubled.extend(self.lone());
        }
        troubled
    }

    /// The places that are cut off: those that every blocked direction has in common.
    fn lone(&self) -> BTreeSet<usize> {
        (0..self.nodes.len())
            .filter(|place| {
                self.blocked
                    .iter()
                    .all(|(from, to)| from == place || to == place)
            })
            .collect()
    }

    /// Whether the network bears it if this place goes now, for a while; perhaps not for the first time.
    pub(super) fn may_lose(&self, place: usize) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        let voting: BTreeSet<usize> = leader
            .voters
            .iter()
            .filter_map(|voter| self.places.get(voter).copied())
            .collect();
        let mut troubled = self.troubled();
        troubled.insert(place);
        // Of those that are left, so many actors must open the keys: without them, and with a disk lost
        // besides, only an operator helps (docs/recovery.md).
        let left = voting.difference(&troubled).count();
        let openers = self.consortium.constitution.settings.key_threshold as usize; // a handful
        self.nodes[place].process.is_some() && 2 * troubled.len() < voting.len() && left >= openers
    }

    fn cut_wire(&mut self) {
        let Some(wire) = self.pick_wire() else { return };
        self.fault("cut", &format!("wire {wire}"));
        if let Some(link) = self.wires.get_mut(&wire) {
            link.broken = true;
        }
        for to_dialler in [true, false] {
            let wait = self.random.between(1, 300);
            self.schedule(wait, Event::Closed { wire, to_dialler });
        }
        self.wires
            .retain(|_, w| !w.broken || w.last.iter().any(|l| l.0 + 10_000 > self.now.0));
    }

    fn alter_bytes(&mut self) {
        let Some(wire) = self.pick_wire() else { return };
        self.fault("alter", &format!("wire {wire}"));
        if let Some(link) = self.wires.get_mut(&wire) {
            link.altered = true;
        }
    }

    /// Splits one node off, in both directions or in one.
    fn partition(&mut self) {
        if !self.blocked.is_empty() {
            return;
        }
        let leader = (0..self.nodes.len()).find(|p| {
            self.nodes[*p]
                .process
                .as_ref()
                .is_some_and(|process| process.manager.position().leading)
        });
        let lone = match leader {
            Some(leader) if self.random.one_in(2) => leader,
            _ => self.pick_place(),
        };
        let (inward, outward) = match self.random.below(3) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        let mut what = Blocked::new();
        for other in (0..self.nodes.len()).filter(|other| *other != lone) {
            if inward {
                what.insert((other, lone));
            }
            if outward {
                what.insert((lone, other));
            }
        }
        let kind = if inward && outward {
            "partition"
        } else {
            "one-way partition"
        };
        self.fault(kind, &format!("{what:?}"));
        self.blocked = what.clone();
        let wait = self.random.between(300, 4_000);
        self.schedule(wait, Event::Heal { what });
    }

    /// Power fails at one place: what is not synced is gone, or torn.
    fn crash(&mut self) {
        let place = self.pick_place();
        if !self.may_lose(place) {
            return;
        }
        let unsynced = self.nodes[place].disk.unsynced_entries();
        let lucky = self.random.between(0, unsynced);
        match (unsynced, lucky) {
            (0, _) => self.fault("crash", &format!("node {place}")),
            (lost, 0) => self.fault("crash, data lost", &format!("node {place}, {lost} entries")),
            (of, kept) => self.fault(
                "crash, write torn",
                &format!("node {place}, {kept} of {of} entries"),
            ),
        }
        self.end_process(place, lucky);
    }

    /// The node's enclaves are gone, and so are its connections; it is started again soon.
    pub(super) fn end_process(&mut self, place: usize, lucky: u64) {
        let node = &mut self.nodes[place];
        node.settle_reuse(&mut self.report);
        node.process = None;
        node.stopping = false;
        (node.full, node.storage_failed) = (false, false);
        node.disk.lose_power(lucky);
        let wires = std::mem::take(&mut node.wires);
        self.count_lost_calls(&wires);
        for (wire, dialled) in wires.into_values() {
            self.end_wire(wire, !dialled);
        }
        let wait = self.random.between(10, 3_000);
        self.schedule(wait, Event::Start { place });
    }

    /// The operator stops a node, as in a rolling restart; a leader hands over first.
    fn stop(&mut self) {
        let place = self.pick_place();
        if self.may_lose(place) && !self.nodes[place].stopping {
            self.fault("stop", &format!("node {place}"));
            self.nodes[place].stopping = true;
            self.tell(place, host_to_manager::Message::Stop(boundary::Stop {}));
        }
    }

    fn kill_worker(&mut self) {
        let place = self.pick_place();
        if self.nodes[place].worker().is_none() {
            return;
        }
        // A worker that dies more than five times a minute stays down, as it should.
        let kills = &mut self.nodes[place].worker_kills;
        kills.retain(|at| at.0 + 61_000 > self.now.0);
        if kills.len() >= 4 {
            return;
        }
        kills.push(self.now);
        self.fault("worker killed", &format!("on node {place}"));
        let said = self.nodes[place].kill_worker(self.now, &self.consortium);
        self.host(place, said);
    }

    /// Mostly within what nodes tolerate of one another; sometimes a host lies by an hour, which the
    /// others must not follow.
    fn skew_clock(&mut self) {
        let place = self.pick_place();
        let lies = self.random.one_in(5) && self.troubled().is_empty() && self.may_lose(place);
        let skew = if lies {
            3_600_000
        } else {
            i64::try_from(self.random.below(1_600)).expect("a small number") - 800
        };
        let kind = if lies { "lying clock" } else { "skew" };
        self.fault(kind, &format!("node {place} by {skew} ms"));
        let node = &mut self.nodes[place];
        if lies || node.lies() {
            node.lied_at = Some(self.now);
        }
        node.skew_ms = skew;
    }

    fn slow_disk(&mut self) {
        let place = self.pick_place();
        let disk_ms = if self.random.one_in(2) { 300 } else { 4 };
        self.nodes[place].disk_ms = disk_ms;
        self.fault(
            "slow disk",
            &format!("node {place} syncs within {disk_ms} ms"),
        );
    }

    /// The next append does not fit; see `append`.
    fn fill_disk(&mut self) {
        let place = self.pick_place();
        self.nodes[place].full = self.may_lose(place);
    }

    /// The next entry that is read is not the one that was written; see `read_entries`.
    fn spoil_reads(&mut self) {
        let place = self.pick_place();
        self.nodes[place].spoil_read = true;
    }

    /// Someone keeps a copy of a node's files, to bring it back one day.
    fn copy_disk(&mut self) {
        let place = self.pick_place();
        let node = &mut self.nodes[place];
        node.copy = Some(node.disk.clone());
        self.line(|| format!("the disk of node {place} is copied"));
    }

    /// What a node finds on its disk when it starts again: mostly what it left there.
    pub(super) fn alter_disk(&mut self, place: usize) {
        let place_in_entry = match self.random.below(4) {
            0 => Place::Middle,
            1 => Place::End,
            _ => Place::Head(u8::try_from(self.random.below(90)).expect("a small number")),
        };
        let kind = self.random.below(16);
        let at = self.random.below(self.nodes[place].disk.count().max(1)) + 1;
        let node = &mut self.nodes[place];
        let held = node.disk.entries().contains_key(&at);
        match kind {
            0..3 => {
                let Some(copy) = node.copy.take() else { return };
                node.disk = copy;
                node.disk.lose_power(u64::MAX);
                node.spoilt_entries.clear();
                node.spoilt_snapshots.clear();
                self.fault("old disk", &format!("node {place}"));
            }
            3..6 if held => {
                node.disk.spoil_entry(at, place_in_entry);
                node.spoilt_entries.insert(at);
                self.report.corruptions_tried += 1;
                self.fault("spoilt entry", &format!("node {place}, entry {at}"));
            }
            6 if held && node.disk.entries().contains_key(&(at + 1)) => {
                node.disk.swap_entries(at, at + 1);
                node.spoilt_entries.extend([at, at + 1]);
                self.report.corruptions_tried += 2;
                self.fault("swapped entries", &format!("node {place}, entry {at}"));
            }
            7..10 => {
                let Some((index, file)) = node.disk.snapshots().last_key_value() else {
                    return;
                };
                let (index, chunks) = (*index, file.len() as u64); // usize is at most 64 bits
                let chunk = usize::try_from(self.random.below(chunks)).expect("below a length");
                let node = &mut self.nodes[place];
                node.disk.spoil_snapshot(index, chunk, place_in_entry);
                if node.spoilt_snapshots.insert(index) {
                    self.report.corruptions_tried += 1;
                }
                self.fault(
                    "spoilt snapshot",
                    &format!("node {place}, of entry {index}"),
                );
            }
            10 => {
                node.disk = Default::default();
                node.spoilt_entries.clear();
                node.spoilt_snapshots.clear();
                self.fault("lost disk", &format!("node {place}"));
            }
            _ => {}
        }
    }
}
