//! When a unit that the machine rejected hears of it: once what it was judged on has happened.
//!
//! A leader executes on top of batches that are not committed yet. Whoever is told "no" because of one
//! of them learns of a change that no reader sees, and that may never happen. And a leader that was
//! deposed without knowing judges by a state that the others have left behind. So a refusal waits until
//! the state under it is committed and a majority has said, after the judgement, that it still has this
//! leader: what a linear read waits for (Raft thesis 6.4). If that state is taken back before, the unit
//! is judged anew.

use std::collections::VecDeque;

use adapter::Reject;
use boundary::WorkerToManager;
use boundary::worker_to_manager::Message as Out;
use types::{Height, UnitId};

use crate::core::{Core, send};

/// Requests of refusals are numbered from here on; exchanges number theirs from 1.
const REQUESTS_FROM: u64 = 1_000_000_000_000_000;

/// Refusals that wait.
#[derive(Default)]
pub(crate) struct Refusing {
    last: u64,
    judged: VecDeque<Judged>,
}

/// Units that were rejected together.
struct Judged {
    request: u64,
    /// What is committed up to here was under the judgement, or may have been.
    height: Height,
    confirmed: bool,
    units: Vec<(UnitId, Reject)>,
}

impl Core {
    /// Units, still in the pool as in flight, that were rejected on the state of this height.
    pub(crate) fn refuse(
        &mut self,
        height: Height,
        units: Vec<(UnitId, Reject)>,
        out: &mut Vec<WorkerToManager>,
    ) {
        if units.is_empty() {
            return;
        }
        self.refusing.last += 1;
        let request = REQUESTS_FROM + self.refusing.last;
        self.refusing.judged.push_back(Judged {
            request,
            height,
            confirmed: false,
            units,
        });
        send(out, Out::ReadIndex(boundary::ReadIndex { request }));
    }

    /// The answer to a read index; false if it was not asked for here.
    pub(crate) fn refusal_confirmed(&mut self, reply: &boundary::ReadIndexReply) -> bool {
        if reply.request < REQUESTS_FROM {
            return false;
        }
        let judged = &mut self.refusing.judged;
        if let Some(at) = judged.iter().position(|j| j.request == reply.request) {
            if reply.failure.is_empty() {
                judged[at].confirmed = true;
                judged[at].height = judged[at].height.max(Height(reply.height));
                self.release_refusals();
            } else if let Some(unconfirmed) = judged.remove(at) {
                self.judge_anew([unconfirmed]);
            }
        }
        true
    }

    /// Tells what may be told now.
    pub(crate) fn release_refusals(&mut self) {
        let committed = self.store.committed_height();
        let (told, waiting): (VecDeque<_>, _) = core::mem::take(&mut self.refusing.judged)
            .into_iter()
            .partition(|judged| judged.confirmed && judged.height <= committed);
        self.refusing.judged = waiting;
        for (id, reject) in told.into_iter().flat_map(|judged| judged.units) {
            if let Some(waiting) = self.pool.remove(&id) {
                self.reject(&waiting, reject);
            }
        }
    }

    /// What was judged on a state above this height was judged on nothing.
    pub(crate) fn take_back_refusals(&mut self, above: Height) {
        let (void, waiting): (VecDeque<_>, _) = core::mem::take(&mut self.refusing.judged)
            .into_iter()
            .partition(|judged| judged.height > above);
        self.refusing.judged = waiting;
        self.judge_anew(void);
    }

    /// Another leads, or this one anew.
    pub(crate) fn take_back_all_refusals(&mut self) {
        let all = core::mem::take(&mut self.refusing.judged);
        self.judge_anew(all);
    }

    fn judge_anew(&mut self, judged: impl IntoIterator<Item = Judged>) {
        for judged in judged {
            self.pool.put_back(judged.units.iter().map(|(id, _)| id));
        }
    }
}
