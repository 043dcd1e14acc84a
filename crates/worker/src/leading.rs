//! The leader's part: forms batches, executes them on top of what is in flight, and proposes them.
//!
//! A batch is closed when nothing more is waiting: there is no delay when idle, and under load the
//! batches in flight make the next one larger.

use std::collections::VecDeque;

use adapter::{Claim, Env, Event, ExternalCall, Kind, Lost, Outcome, Reject, Unit, View};
use boundary::WorkerToManager;
use boundary::worker_to_manager::Message as Out;
use bytes::{Bytes, BytesMut};
use kv::WriteSet;
use types::limits::{BATCHES_IN_FLIGHT_MAX, ENTRY_BYTES_MAX};
use types::{Height, Term, UnitId};

use crate::body::{Body, part_record};
use crate::catalogue::Part;
use crate::convert;
use crate::core::{Core, Role, send};
use crate::entropy::batch_entropy;
use crate::execution::{Executed, Execution};

/// Room that the manager needs around a body in an entry.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 256 << 10;

/// Credits of a leader, and what it has in flight.
pub(crate) struct Leading {
    pub(crate) term: Term,
    governance_version: u64,
    pub(crate) in_flight_max: usize,
    seed: [u8; 32],
    /// Proposed and not committed, ascending.
    pub(crate) in_flight: VecDeque<Made>,
    /// Tags of the batches made since one carried a part of the catalogue, that one's among them.
    since_part: usize,
    /// Why the state cannot be brought to the data format that the members voted: no batches are made.
    pub(crate) stuck: Option<String>,
}

/// A batch that was executed and proposed.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) env: Env,
    pub(crate) units: Vec<(Unit, Bytes)>,
    pub(crate) claim: Claim,
    pub(crate) events: Vec<Event>,
    pub(crate) body_bytes: usize,
    /// The data format that the state has with it, if it is a migration.
    pub(crate) format: Option<u32>,
    /// The part of the catalogue that it carries.
    pub(crate) part: Option<Part>,
}

impl Core {
    /// Leadership, or new credits within the same term.
    pub(crate) fn lead(&mut self, lead: &boundary::Lead, out: &mut Vec<WorkerToManager>) {
        let committed = self.store.committed_height();
        let Ok(seed) = <[u8; 32]>::try_from(&lead.entropy_seed[..]) else {
            return send(
                out,
                convert::log(1, "leadership came without 32 bytes of entropy"),
            );
        };
        if Height(lead.height) != committed {
            let text = format!(
                "leadership is for height {}, this state is at {committed}",
                lead.height
            );
            return send(out, convert::log(1, text));
        }
        let term = Term(lead.term);
        match &mut self.role {
            Role::Leading(leading) if leading.term == term => {
                leading.governance_version = lead.governance_version;
                leading.in_flight_max = lead.in_flight_max.min(BATCHES_IN_FLIGHT_MAX) as usize; // widening
                leading.seed = seed;
            }
            _ => {
                self.roll_back(committed);
                self.take_back_all_refusals();
                self.abandon_calls();
                self.role = Role::Leading(Leading {
                    term,
                    governance_version: lead.governance_version,
                    in_flight_max: lead.in_flight_max.min(BATCHES_IN_FLIGHT_MAX) as usize, // widening
                    seed,
                    in_flight: VecDeque::new(),
                    since_part: 0,
                    stuck: None,
                });
                self.pool.reset_lanes();
                // Who heard that the outcome is unknown may hear better now.
                self.changed
                    .extend(self.pool.local().map(|waiting| waiting.unit.id));
            }
        }
    }

    /// Forms batches as far as credits and waiting units go.
    pub(crate) fn form_batches(&mut self, out: &mut Vec<WorkerToManager>) {
        if self.voted_format > self.store.format() {
            return self.migrate(out);
        }
        let mut units_max = self.batch_units_max;
        loop {
            let Role::Leading(leading) = &self.role else {
                return;
            };
            if self.draining
                || leading.in_flight.len() >= leading.in_flight_max
                || !self.pool.has_ready()
            {
                return;
            }
            let units = self.pool.take(units_max, self.batch_bytes_max);
            let count = units.len();
            match self.make(units, out) {
                Ok(()) => units_max = self.batch_units_max,
                Err(NotMade::TooLong) => units_max = count.div_ceil(2),
                Err(NotMade::Lost) => return,
            }
        }
    }

    /// What the next batch may know.
    pub(crate) fn next_env(&self, leading: &Leading) -> Env {
        let height = self.store.top_height().next();
        let below = leading
            .in_flight
            .back()
            .map_or(self.committed_time, |made| made.env.time);
        Env {
            height,
            time: self.manager_now.max(below),
            entropy: batch_entropy(&leading.seed, height),
        }
    }

    /// Executes and proposes one batch of units that were taken from the pool.
    fn make(
        &mut self,
        mut units: Vec<Unit>,
        out: &mut Vec<WorkerToManager>,
    ) -> Result<(), NotMade> {
        let Role::Leading(leading) = &self.role else {
            return Err(NotMade::Lost);
        };
        let env = self.next_env(leading);
        let below_height = self.store.top_height();
        let height = env.height;
        let format = self.store.format();
        let mut aside = Aside::default();
        loop {
            let mut execution = Execution::recording(self.store.top(), env.clone());
            execution = execution.in_format(format);
            let outcomes = match self.machine.execute_all(&units, &mut execution) {
                Ok(outcomes) => outcomes,
                Err(Lost) => return Err(self.give_up(&units, &aside, out)),
            };
            assert_eq!(
                outcomes.len(),
                units.len(),
                "a machine gives one outcome for each unit"
            );
            let is_applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied { .. });
            let all = outcomes.iter().all(is_applied);
            let none = !outcomes.iter().any(is_applied);
            if none || (!all && execution.has_records()) {
                // What a rejected unit had recorded must not be replayed: once more without it.
                drop(execution);
                units = self.settle_unapplied(units, outcomes, &mut aside);
                if units.is_empty() {
                    self.lay_aside(below_height, aside, out);
                    return Ok(());
                }
                continue;
            }
            let (applied, applied_outcomes): (Vec<Unit>, Vec<Outcome>) = units
                .iter()
                .zip(&outcomes)
                .filter(|(_, outcome)| matches!(outcome, Outcome::Applied { .. }))
                .map(|(unit, outcome)| (unit.clone(), outcome.clone()))
                .unzip();
            let claim = match self
                .machine
                .seal(&applied, &applied_outcomes, &mut execution)
            {
                Ok(claim) => claim,
                Err(Lost) => return Err(self.give_up(&units, &aside, out)),
            };
            let mut executed = execution.finish();
            let receipts: Vec<(Unit, Bytes)> = applied
                .into_iter()
                .zip(applied_outcomes.into_iter().filter_map(receipt))
                .collect();
            let encode = |executed: &Executed| {
                let Executed {
                    events,
                    recorded,
                    writes,
                    ..
                } = executed;
                Body::encode(&env, &receipts, &claim, events, recorded, writes)
            };
            let is_too_long = |body: &Bytes| body.len() > ENTRY_BYTES_MAX - ENTRY_OVERHEAD_BYTES;
            let mut part = self.part_due();
            let carried = part.iter().map(|part| part_record(part.bytes().clone()));
            executed.recorded.extend(carried);
            let mut body = encode(&executed);
            if is_too_long(&body) && part.take().is_some() {
                executed.recorded.pop();
                body = encode(&executed);
            }
            if is_too_long(&body) {
                if units.len() > 1 {
                    self.put_back(&units, &aside);
                    return Err(NotMade::TooLong);
                }
                let reject = Reject::new(
                    Kind::Invalid,
                    "it changes more than one ledger entry can hold",
                );
                let outcomes = vec![Outcome::Rejected(reject)];
                self.settle_unapplied(units, outcomes, &mut aside);
                self.lay_aside(below_height, aside, out);
                return Ok(());
            }
            // What earlier batches had deferred may be tried again on the state that this one made.
            self.pool.retry_deferred();
            self.settle_unapplied(units, outcomes, &mut aside);
            self.propose(receipts, claim, executed, part, body, out);
            self.lay_aside(height, aside, out);
            return Ok(());
        }
    }

    /// The part of the catalogue for the next batch to carry.
    fn part_due(&self) -> Option<Part> {
        let Role::Leading(leading) = &self.role else {
            return None;
        };
        if leading.since_part < self.catalogue.part_every() {
            return None;
        }
        let mut in_flight = leading.in_flight.iter().rev();
        let cursor = in_flight
            .find_map(|made| made.part.as_ref())
            .map_or(self.catalogue.next_part(), |part| {
                part.cursor.after(part.last)
            });
        self.catalogue.due(cursor)
    }

    fn propose(
        &mut self,
        units: Vec<(Unit, Bytes)>,
        claim: Claim,
        executed: Executed,
        part: Option<Part>,
        body: Bytes,
        out: &mut Vec<WorkerToManager>,
    ) {
        let Role::Leading(leading) = &mut self.role else {
            unreachable!("only a leader makes batches")
        };
        let before = part.as_ref().map_or(leading.since_part, |_| 0);
        leading.since_part = before + units.len() + 1;
        let mut claims = BytesMut::with_capacity(units.len() * 32);
        for (unit, receipt) in &units {
            self.pool.applied(&unit.id);
            claims.extend_from_slice(&self.machine.claim_digest(unit, receipt).0);
        }
        let Executed {
            env,
            writes,
            events,
            ..
        } = executed;
        let made = Made {
            env,
            units,
            claim,
            events,
            body_bytes: body.len(),
            format: None,
            part,
        };
        self.send_proposal(made, &writes, claims.freeze(), body, out);
    }

    /// Proposes what was made.
    pub(crate) fn send_proposal(
        &mut self,
        made: Made,
        writes: &WriteSet,
        claims: Bytes,
        body: Bytes,
        out: &mut Vec<WorkerToManager>,
    ) {
        let env = &made.env;
        self.store
            .push(env.height, writes)
            .expect("made on top, of domains that were declared");
        let Role::Leading(leading) = &mut self.role else {
            unreachable!("only a leader makes batches")
        };
        send(
            out,
            Out::Propose(boundary::Propose {
                term: leading.term.0,
                height: env.height.0,
                governance_version: leading.governance_version,
                time: env.time.0,
                claims,
                body,
            }),
        );
        leading.in_flight.push_back(made);
    }

    /// Deals with units that were not applied: those to be refused and those that call a system outside are
    /// laid aside. What is left is returned.
    fn settle_unapplied(
        &mut self,
        units: Vec<Unit>,
        outcomes: Vec<Outcome>,
        aside: &mut Aside,
    ) -> Vec<Unit> {
        let mut left = Vec::new();
        for (unit, outcome) in units.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Applied { .. } => left.push(unit),
                Outcome::Rejected(reject) if reject.kind == Kind::Later => {
                    if let Some(waiting) = self.pool.later(&unit.id) {
                        self.reject(&waiting, reject);
                    }
                }
                Outcome::Rejected(reject) => aside.refused.push((unit.id, reject)),
                Outcome::Suspended(call) => aside.suspended.push((unit.id, *call)),
            }
        }
        left
    }

    /// What was laid aside rests on the state of `height`: it is acted on when that is committed.
    fn lay_aside(&mut self, height: Height, aside: Aside, out: &mut Vec<WorkerToManager>) {
        for (id, call) in aside.suspended {
            self.suspend(&id, call, height);
        }
        self.refuse(height, aside.refused, out);
    }

    fn put_back(&mut self, units: &[Unit], aside: &Aside) {
        self.pool.put_back(units.iter().map(|unit| &unit.id));
        self.pool.put_back(aside.ids());
    }

    /// The machine lost its state in the middle, which only happens when this VN is being stopped.
    fn give_up(
        &mut self,
        units: &[Unit],
        aside: &Aside,
        out: &mut Vec<WorkerToManager>,
    ) -> NotMade {
        self.put_back(units, aside);
        send(
            out,
            convert::log(
                1,
                "the machine could not execute a batch: its state is gone",
            ),
        );
        NotMade::Lost
    }
}

fn receipt(outcome: Outcome) -> Option<Bytes> {
    match outcome {
        Outcome::Applied { receipt } => Some(receipt),
        Outcome::Rejected(_) | Outcome::Suspended(_) => None,
    }
}

/// Units of a batch that are not part of what it comes to.
#[derive(Default)]
struct Aside {
    refused: Vec<(UnitId, Reject)>,
    suspended: Vec<(UnitId, ExternalCall)>,
}

impl Aside {
    fn ids(&self) -> impl Iterator<Item = &UnitId> {
        let refused = self.refused.iter().map(|(id, _)| id);
        refused.chain(self.suspended.iter().map(|(id, _)| id))
    }
}

/// Why a batch was not made; its units are in the pool again.
enum NotMade {
    TooLong,
    Lost,
}
