//! What this node can do for clients now, told to whoever operates it: in the log when it changes, in the
//! gauges and in the status always.
//!
//! Writing needs a leader with a quorum and the keys of the present epoch; reading of committed state needs
//! the keys, since workers end with them.

use serde_json::{Value, json};
use types::Millis;

use crate::Output;
use crate::node::{Node, Phase, log};

/// A change is told when it lasts: a leader that hands over is no event for operators.
const LASTS_MS: u64 = 1_500;

/// What a node does for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    writes: Result<(), &'static str>,
    reads: Result<(), &'static str>,
}

/// What was told of it.
#[derive(Default)]
pub struct Told {
    service: Option<Service>,
    /// Another one that is not told yet, and since when it is so.
    next: Option<(Service, Millis)>,
}

impl Node {
    pub fn service(&self) -> Service {
        if !matches!(self.phase, Phase::Admitted) {
            let why = if self.is_cold() {
                Err("the network has no quorum: nodes meet to restart it")
            } else {
                Err("this node is not part of its network yet")
            };
            return Service {
                writes: why,
                reads: why,
            };
        }
        let keys = if self.is_keyless() {
            Err("the session keys are gone: M actors must open them")
        } else {
            Ok(())
        };
        let live = if self.protocols.iter().any(|p| p.live().is_none()) {
            Err("a worker is not ready")
        } else {
            Ok(())
        };
        let leads = self.order.leading.is_some();
        let led = if self.leader().is_none() {
            Err("there is no leader: too few nodes hear one another")
        } else if leads && !self.serves() {
            Err("the term, or the restart of the network, is not established yet")
        } else {
            Ok(())
        };
        Service {
            writes: keys.and(led).and(live),
            reads: keys.and(live),
        }
    }

    /// Tells what has changed.
    pub fn tell_service(&mut self, out: &mut Vec<Output>) {
        let service = self.service();
        if self.told_service.service == Some(service) {
            self.told_service.next = None;
            return;
        }
        let since = match self.told_service.next {
            Some((next, since)) if next == service => since,
            _ => self.now,
        };
        self.told_service.next = Some((service, since));
        if self.now.since(since) < LASTS_MS {
            return;
        }
        let first = self.told_service.service.replace(service).is_none();
        self.told_service.next = None;
        let (level, text) = service.text();
        if !(first && level == 1) {
            log(out, level, "service", &text);
        }
        self.report(out);
    }

    pub fn service_gauges(&self) -> [(&'static str, u64); 4] {
        let service = self.service();
        let life = self.keyring.life.map_or(0, |life| life.left_ms(self.now));
        [
            ("service_writes", service.writes.is_ok().into()),
            ("service_reads", service.reads.is_ok().into()),
            ("keys_held", u64::from(!self.is_keyless())),
            ("key_life_ms", life),
        ]
    }

    /// For the administrative channel.
    pub fn service_body(&self) -> Value {
        let service = self.service();
        let shared = self.state.keys().shared();
        json!({
            "writes": service.writes.is_ok(),
            "reads": service.reads.is_ok(),
            "reason": service.writes.err(),
            "keys_held": !self.is_keyless(),
            "key_life_ms": self.keyring.life.map(|life| life.left_ms(self.now)),
            "key_actors_reachable": self.actors_reachable(),
            "key_actors": shared.map(|s| s.actors().len()),
            "key_threshold": shared.map(|s| s.key().threshold()),
        })
    }
}

impl Service {
    fn text(&self) -> (u32, String) {
        match (self.writes, self.reads) {
            (Ok(()), Ok(())) => (3, "full service: writing and reading".into()),
            (Err(why), Ok(())) => (
                2,
                format!("writing stops, reading of committed state goes on: {why}"),
            ),
            (_, Err(why)) => (1, format!("neither writing nor reading: {why}")),
        }
    }
}
