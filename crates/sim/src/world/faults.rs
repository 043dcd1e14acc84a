//! What goes wrong in the world.

use super::{Blocked, Event, World};

impl World {
    pub(super) fn draw_fault(&mut self) {
        match self.random.below(100) {
            0..30 => self.cut_wire(),
            30..40 => self.alter_bytes(),
            40..60 => self.partition(),
            60..72 => self.crash(),
            72..80 => self.kill_worker(),
            80..90 => self.skew_clock(),
            _ => self.slow_disks(),
        }
    }

    fn cut_wire(&mut self) {
        let wires: Vec<u64> = self
            .wires
            .iter()
            .filter(|(_, w)| !w.broken)
            .map(|(id, _)| *id)
            .collect();
        if wires.is_empty() {
            return;
        }
        let wire = *self.random.pick(&wires);
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
        let wires: Vec<u64> = self
            .wires
            .iter()
            .filter(|(_, w)| !w.broken)
            .map(|(id, _)| *id)
            .collect();
        if wires.is_empty() {
            return;
        }
        let wire = *self.random.pick(&wires);
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
        let count = self.nodes.len() as u64; // usize is at most 64 bits
        let leader = (0..self.nodes.len()).find(|p| {
            self.nodes[*p]
                .process
                .as_ref()
                .is_some_and(|process| process.manager.position().leading)
        });
        let lone = match leader {
            Some(leader) if self.random.one_in(2) => leader,
            _ => usize::try_from(self.random.below(count)).expect("below a length"),
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
        self.fault("partition", &format!("{what:?}"));
        self.blocked = what.clone();
        let wait = self.random.between(300, 4_000);
        self.schedule(wait, Event::Heal { what });
    }

    /// Ends a node, unless another is not back yet: this version has no restart of a network that lost
    /// its quorum.
    fn crash(&mut self) {
        if self.voters() != self.nodes.len() || !self.blocked.is_empty() || self.lied_lately() {
            return;
        }
        let count = self.nodes.len() as u64; // usize is at most 64 bits
        let place = usize::try_from(self.random.below(count)).expect("below a length");
        self.fault("crash", &format!("node {place}"));
        self.nodes[place].process = None;
        for (wire, dialled) in std::mem::take(&mut self.nodes[place].wires).into_values() {
            self.end_wire(wire, !dialled);
        }
        let wait = self.random.between(10, 3_000);
        self.schedule(wait, Event::Restart { place });
    }

    fn kill_worker(&mut self) {
        let count = self.nodes.len() as u64; // usize is at most 64 bits
        let place = usize::try_from(self.random.below(count)).expect("below a length");
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

    fn skew_clock(&mut self) {
        let count = self.nodes.len() as u64; // usize is at most 64 bits
        let place = usize::try_from(self.random.below(count)).expect("below a length");
        // Mostly within what nodes tolerate of one another; sometimes a host lies by an hour, which the
        // others must not follow.
        let skew = match self.random.below(5) {
            0 if self.voters() == self.nodes.len() && !self.lied_lately() => 3_600_000,
            _ => i64::try_from(self.random.below(1_600)).expect("a small number") - 800,
        };
        self.fault("skew", &format!("node {place} by {skew} ms"));
        self.nodes[place].skew_ms = skew;
        self.lied_lately();
    }

    /// A host that lies about the time is one fault, and three nodes bear one at a time: another node
    /// may go only when the others have had time to outvote the liar and cut what it proposed.
    fn lied_lately(&mut self) -> bool {
        if self.nodes.iter().any(|n| n.skew_ms.abs() > 1_000) {
            self.lied_at = self.now;
        }
        self.lied_at.0 + 10_000 > self.now.0
    }

    fn slow_disks(&mut self) {
        self.disk_ms = if self.random.one_in(2) { 300 } else { 4 };
        let disk_ms = self.disk_ms;
        self.fault("disks", &format!("sync within {disk_ms} ms"));
    }
}
