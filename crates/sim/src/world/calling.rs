//! Calls of a system outside, and the proof that nobody needs it a second time: every batch is executed
//! again from what the ledger keeps.

use std::collections::BTreeMap;

use adapter::{Env, Settings};
use boundary::{Opened, Surface, host_to_manager};
use kv::{Layout, Store};
use types::Height;
use worker::{Execution, State, replay};

use super::wires::Party;
use super::{Event, World};
use crate::network::{SETTINGS, START};
use crate::outside::{Manner, Says};

impl World {
    /// A node dials the system outside, whoever is there now.
    pub(super) fn call_outside(&mut self, place: usize, connection: u64) {
        let manner = match self.calm {
            true => Manner::Answers,
            false => *self.random.pick(&Manner::ALL),
        };
        let wire = self.wire_outside(place, connection);
        let kind = match manner {
            Manner::Answers => "oracle answers",
            Manner::AnswersLate => "oracle answers late",
            Manner::IsSilent => "oracle is silent",
            Manner::SaysTooMuch => "oracle says too much",
            Manner::TalksNonsense => "oracle talks nonsense",
            Manner::HangsUp => "oracle hangs up",
            Manner::IsAnother => "oracle is another",
        };
        self.fault(kind, &format!("on wire {wire} of node {place}"));
        let oracles = self.oracles.as_mut().expect("its address is listed");
        oracles.connected(wire, manner);
        let opened = Opened {
            connection,
            surface: Surface::Node.into(),
            protocol: String::new(),
            remote: "outside".into(),
        };
        self.tell(place, host_to_manager::Message::Opened(opened));
    }

    pub(super) fn outside_received(&mut self, wire: u64, data: &[u8]) {
        let Some(oracles) = &mut self.oracles else {
            return;
        };
        match oracles.received(wire, data) {
            Err(wrong) => self.failed = Some(wrong),
            Ok((flight, says)) => {
                if !flight.is_empty() {
                    self.transmit(wire, true, flight);
                }
                match says {
                    Says::Nothing => {}
                    Says::Now(reply) => self.transmit(wire, true, reply),
                    Says::Later => {
                        // Now and then too late.
                        let wait = self.random.between(100, 1_200);
                        self.schedule(wait, Event::Oracle { wire });
                    }
                    Says::HangsUp => self.end_wire(wire, true),
                }
            }
        }
    }

    pub(super) fn oracle_turn(&mut self, wire: u64) {
        if let Some(oracles) = &mut self.oracles {
            let reply = oracles.late_reply(wire);
            if !reply.is_empty() {
                self.transmit(wire, true, reply);
            }
        }
    }

    pub(super) fn outside_closed(&mut self, wire: u64) {
        if let Some(oracles) = &mut self.oracles {
            oracles.open.remove(&wire);
        }
    }

    /// A node ends: were units waiting there?
    pub(super) fn count_lost_calls(&mut self, wires: &BTreeMap<u64, (u64, bool)>) {
        let Some(oracles) = &self.oracles else {
            return;
        };
        if wires
            .values()
            .any(|(wire, _)| oracles.open.contains_key(wire))
        {
            self.fault("leader lost while it calls", "");
        }
    }

    /// Executes every committed batch again and compares it, and the state in the end, with what the nodes
    /// have. Nobody is asked anything.
    pub(super) fn replay_batches(&mut self) -> Result<(), String> {
        let Some(oracles) = &self.oracles else {
            return Ok(());
        };
        self.report.calls_repeated = oracles.repeated();
        let mut batches = BTreeMap::new();
        for (height, body) in self.nodes.iter().flat_map(|node| &node.batches) {
            if batches
                .insert(*height, body.clone())
                .is_some_and(|b| b != *body)
            {
                return Err(format!(
                    "two nodes have different batches of height {height}"
                ));
            }
        }
        let machine = self.consortium.machine();
        let domains = machine.describe().domains.into_iter().map(|spec| {
            let layout = match spec.layout {
                adapter::Layout::Hashed => Layout::Hashed,
                adapter::Layout::Ordered => Layout::Ordered,
            };
            (spec.domain, layout)
        });
        let mut state = State::new(Store::new(domains));
        let env = Env {
            height: Height::ZERO,
            time: START,
            entropy: [0; 32],
        };
        let mut genesis = Execution::genesis(state.committed(), env);
        let settings = Settings {
            bytes: SETTINGS.into(),
        };
        let made = machine.genesis(&settings, &mut genesis);
        made.map_err(|reject| reject.message)?;
        let writes = genesis.finish().writes;
        state.genesis(&writes).map_err(|e| e.to_string())?;
        for (height, body) in batches {
            let writes = replay(&*machine, &state, body)
                .map_err(|mismatch| format!("batch {height} does not replay: {mismatch}"))?;
            state
                .apply(Height(height), &writes)
                .map_err(|e| format!("batch {height}: {e}"))?;
            self.report.batches_replayed += 1;
        }
        let nodes = self.nodes[0].worker().expect("they are compared before");
        for &(domain, _) in state.domains().iter() {
            if state.entries(domain) != nodes.state().entries(domain) {
                return Err("the replayed state is not the nodes' state".into());
            }
        }
        Ok(())
    }

    fn wire_outside(&mut self, place: usize, connection: u64) -> u64 {
        let dialler = Party::Node {
            place,
            incarnation: self.nodes[place].incarnation,
            connection,
        };
        let wire = self.new_wire(dialler, Party::Outside);
        self.nodes[place].wires.insert(connection, (wire, true));
        wire
    }
}
