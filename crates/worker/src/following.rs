//! The follower's part: applies the leader's batches without executing them, and forwards to the leader what
//! clients submitted here, until it is committed.

use std::sync::Arc;

use adapter::Batch;
use boundary::WorkerToManager;
use boundary::worker_to_manager::Message as Out;
use kv::{Malformed, WriteSet};
use types::{Height, Index, Millis, Term, UnitId};

use crate::body::Body;
use crate::catalogue::Part;
use crate::convert;
use crate::core::{Core, Place, Role, placed, send};
use crate::pool::Pool;

/// Without a leader for this long, clients hear that the outcome is unknown.
const LEADERLESS_MS: u64 = 5_000;

/// A unit that waits for longer and may be lost on its way is forwarded again, as often. It does no harm: ids are
/// unique. A leader that was just elected cannot take units yet and drops them, so this bounds what a client feels
/// of a change of leaders; a unit that is not lost commits in a tenth of it, unless there is too much work.
const FORWARD_AGAIN_MS: u64 = 1_000;

/// What the leader had no room for is forwarded again after so long.
const HELD_MS: u64 = 100;

/// Most bytes of units in one message to the leader.
const FORWARD_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct Following {
    leader_known: bool,
    since: Millis,
    told_unknown: bool,
    unforwarded: Vec<UnitId>,
    /// When everything that waited was forwarded. Units that come later do not move it, so that a lost
    /// one is not forgotten while others go on.
    forwarded_at: Millis,
    /// [`Pool::newest_committed`] then.
    newest_committed: u64,
    /// What the leader had no room for. It stays: whoever sent it was not told no, and the leader will have room.
    held: Vec<UnitId>,
    held_until: Millis,
}

impl Following {
    /// Of no leader yet, from this moment on.
    pub(crate) fn since(since: Millis) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }

    /// A client submitted it here.
    pub(crate) fn came(&mut self, id: UnitId) {
        self.unforwarded.push(id);
    }

    /// When there is something to do for units that wait though nothing comes in.
    pub(crate) fn next_wake(&self) -> Option<Millis> {
        if !self.leader_known {
            return (!self.told_unknown).then(|| self.since.plus(LEADERLESS_MS));
        }
        let again = self.forwarded_at.plus(FORWARD_AGAIN_MS);
        let held = (!self.held.is_empty()).then_some(self.held_until);
        Some(held.map_or(again, |until| until.min(again)))
    }
}

impl Core {
    /// This VN follows, or the leader is not known.
    pub(crate) fn follow(&mut self, follow: boundary::Follow) {
        self.roll_back(self.store.committed_height());
        self.take_back_all_refusals();
        self.abandon_calls();
        self.pool.drop_foreign();
        let (known_before, since) = match &self.role {
            Role::Following(following) => (following.leader_known, following.since),
            Role::Leading(_) => (true, self.now),
        };
        let since = if follow.leader_known || known_before {
            self.now
        } else {
            since
        };
        let unforwarded = if follow.leader_known {
            self.pool.local().map(|w| w.unit.id).collect()
        } else {
            Vec::new()
        };
        self.role = Role::Following(Following {
            leader_known: follow.leader_known,
            since,
            told_unknown: false,
            unforwarded,
            forwarded_at: self.now,
            newest_committed: self.pool.newest_committed,
            ..Following::default()
        });
        if !known_before && follow.leader_known {
            self.changed.extend(self.pool.local().map(|w| w.unit.id));
        }
    }

    /// A batch of another leader. `None` if it is not the next one (stale, or applied before).
    pub(crate) fn apply(
        &mut self,
        apply: boundary::Apply,
        out: &mut Vec<WorkerToManager>,
    ) -> Option<Arc<Batch>> {
        let height = Height(apply.height);
        if self.stays.is_some() {
            return None;
        }
        if height != self.store.committed_height().next() {
            if height > self.store.committed_height() {
                let text = format!(
                    "batch {height} skips over {}",
                    self.store.committed_height().next()
                );
                send(out, convert::log(1, text));
            }
            return None;
        }
        self.roll_back(self.store.committed_height());
        let bytes = apply.body.len();
        let decoded = Body::decode(apply.body).and_then(|body| {
            let writes = WriteSet::decode(body.writes.clone())?;
            Ok((writes, self.carried(&body)?, body))
        });
        let (writes, part, body) = match decoded {
            Ok((.., body)) if body.env.height != height => {
                send(
                    out,
                    convert::log(1, format!("batch {height} says it is {}", body.env.height)),
                );
                return None;
            }
            Ok((.., body)) if !self.goes_along(&body, out) => return None,
            Ok(decoded) => decoded,
            Err(malformed) => {
                send(
                    out,
                    convert::log(1, format!("batch {height} cannot be applied: {malformed}")),
                );
                return None;
            }
        };
        if let Err(error) = self.store.apply(height, &writes) {
            send(
                out,
                convert::log(1, format!("batch {height} cannot be applied: {error}")),
            );
            return None;
        }
        if let Some(migration) = body.migration {
            self.store.set_format(migration.to);
        }
        let place = Place {
            index: Index(apply.index),
            term: Term(apply.term),
            time: Millis(apply.time),
        };
        let batch = Arc::new(placed(body, place));
        self.settle_committed(&batch, part.as_ref(), bytes);
        Some(batch)
    }

    /// The part of the catalogue that a batch of another leader carries: it must be the one that would be made here.
    fn carried(&self, body: &Body) -> Result<Option<Part>, Malformed> {
        let Some(bytes) = &body.part else {
            return Ok(None);
        };
        let part = Part::decode(bytes.clone())?;
        match self.catalogue.is_next(&part) {
            true => Ok(Some(part)),
            false => Err(Malformed(
                "the part of the catalogue that it carries is not the next one",
            )),
        }
    }

    /// The leader refused units that this VN had forwarded.
    pub(crate) fn refused(&mut self, refused: boundary::Refused) {
        for unit in refused.units {
            let held = unit.kind == convert::NO_ROOM;
            let Some((id, reject)) = convert::reject(unit) else {
                continue;
            };
            match &mut self.role {
                Role::Following(following) if held => {
                    // From the first on: others that come meanwhile do not put it off.
                    if following.held.is_empty() {
                        following.held_until = self.now.plus(HELD_MS);
                    }
                    if self.pool.get(&id).is_some() {
                        following.held.push(id);
                    }
                }
                Role::Leading(_) if held => {}
                _ => {
                    if let Some(waiting) = self.pool.remove(&id) {
                        self.reject(&waiting, reject);
                    }
                }
            }
        }
    }

    /// There has been no leader for so long that nobody knows what becomes of what waits.
    pub(crate) fn leaderless(&self) -> bool {
        match &self.role {
            Role::Leading(_) => false,
            Role::Following(following) => {
                !following.leader_known && self.now.since(following.since) >= LEADERLESS_MS
            }
        }
    }

    /// Clients hear that there is no leader, once.
    pub(crate) fn tell_leaderless(&mut self) {
        let leaderless = self.leaderless();
        if let Role::Following(following) = &mut self.role
            && leaderless
            && !following.told_unknown
        {
            following.told_unknown = true;
            self.changed.extend(self.pool.local().map(|w| w.unit.id));
        }
    }

    /// Forwards what came in, and again what may be lost or had no room, if there is a leader.
    pub(crate) fn forward_waiting(&mut self, out: &mut Vec<WorkerToManager>) {
        if let Role::Following(following) = &mut self.role
            && following.leader_known
        {
            if self.pool.len() == 0 {
                following.forwarded_at = self.now;
            } else if self.now.since(following.forwarded_at) >= FORWARD_AGAIN_MS {
                let before = following.newest_committed;
                let lost = self.pool.lost(self.now, FORWARD_AGAIN_MS, before);
                following
                    .unforwarded
                    .extend(lost.map(|waiting| waiting.unit.id));
                following.newest_committed = self.pool.newest_committed;
                following.forwarded_at = self.now;
            }
            if !following.held.is_empty() && self.now >= following.held_until {
                following.unforwarded.append(&mut following.held);
            }
            if !following.unforwarded.is_empty() {
                let height = self.store.committed_height();
                let ids = core::mem::take(&mut following.unforwarded);
                forward(&self.pool, height, ids, out);
            }
        }
    }
}

fn forward(pool: &Pool, height: Height, ids: Vec<UnitId>, out: &mut Vec<WorkerToManager>) {
    let mut units = Vec::new();
    let mut bytes = 0;
    for waiting in ids.iter().filter_map(|id| pool.get(id)) {
        let unit = waiting.forwarded();
        if bytes + unit.raw.len() > FORWARD_BYTES_MAX && !units.is_empty() {
            send(
                out,
                Out::Forward(boundary::Forward {
                    units: core::mem::take(&mut units),
                    height: height.0,
                }),
            );
            bytes = 0;
        }
        bytes += unit.raw.len();
        units.push(unit);
    }
    if !units.is_empty() {
        let height = height.0;
        send(out, Out::Forward(boundary::Forward { units, height }));
    }
}
