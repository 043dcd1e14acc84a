//! Linear reads: a worker asks once for all its clients that wait, consensus says which entry they must
//! see, and the worker is told the height of that when it is applied.

use boundary::manager_to_worker;
use consensus::Engine;
use types::{Height, Index, Millis};

use crate::Output;
use crate::node::Node;
use crate::workers::send_worker;

/// A linear read that a worker asked for.
pub struct Linear {
    worker: u64,
    place: usize,
    request: u64,
    /// Known once consensus answered; the state at this entry is the one to wait for.
    index: Option<Index>,
}

/// Most linear reads under way; a worker asks once for all its clients that wait.
const LINEAR_MAX: usize = 4096;

impl Node {
    /// A worker asks what height is the state that a linear read needs.
    pub fn read_linear(&mut self, worker: u64, place: usize, asked: u64, out: &mut Vec<Output>) {
        if self.linear.len() >= LINEAR_MAX {
            return answer_linear(
                out,
                self.clock,
                worker,
                asked,
                Err("too many linear reads are under way"),
            );
        }
        let request = self.request();
        self.linear.insert(
            request,
            Linear {
                worker,
                place,
                request: asked,
                index: None,
            },
        );
        if self
            .with_engine(|engine, effects| engine.read_index(request, effects))
            .is_none()
        {
            self.read_refused(request, out);
        }
    }

    pub fn read_ready(&mut self, request: u64, index: Index, out: &mut Vec<Output>) {
        if let Some(linear) = self.linear.get_mut(&request) {
            linear.index = Some(index);
            self.linear_reads(out);
        }
    }

    pub fn read_refused(&mut self, request: u64, out: &mut Vec<Output>) {
        if let Some(linear) = self.linear.remove(&request) {
            answer_linear(
                out,
                self.clock,
                linear.worker,
                linear.request,
                Err("there is no leader to confirm the read: ask again"),
            );
        }
    }

    /// Answers the linear reads whose state has been applied.
    pub fn linear_reads(&mut self, out: &mut Vec<Output>) {
        let committed = self.order.committed;
        let ready: Vec<u64> = self
            .linear
            .iter()
            .filter(|(_, l)| l.index.is_some_and(|i| i <= committed))
            .map(|(request, _)| *request)
            .collect();
        for request in ready {
            let linear = self.linear.remove(&request).expect("found above");
            let index = linear.index.expect("found above");
            let height = self.protocols[linear.place].height_at(index);
            answer_linear(out, self.clock, linear.worker, linear.request, Ok(height));
        }
    }
}

fn answer_linear(
    out: &mut Vec<Output>,
    now: Millis,
    worker: u64,
    request: u64,
    answer: Result<Height, &str>,
) {
    let reply = match answer {
        Ok(height) => boundary::ReadIndexReply {
            request,
            height: height.0,
            failure: String::new(),
        },
        Err(failure) => boundary::ReadIndexReply {
            request,
            height: 0,
            failure: failure.into(),
        },
    };
    send_worker(
        out,
        now,
        worker,
        manager_to_worker::Message::ReadIndex(reply),
    );
}
