//! Threads lent to a machine, and a count of what it made of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adapter::Spread;

/// So many threads, started for each batch.
#[derive(Debug)]
pub struct Threads {
    width: usize,
    ahead: AtomicUsize,
    again: AtomicUsize,
}

impl Threads {
    pub fn new(width: usize) -> Arc<Self> {
        Arc::new(Self {
            width,
            ahead: AtomicUsize::new(0),
            again: AtomicUsize::new(0),
        })
    }

    /// Units executed ahead of their turn, and those of them that were executed again.
    pub fn counts(&self) -> (usize, usize) {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (of(&self.ahead), of(&self.again))
    }
}

impl Spread for Threads {
    fn width(&self) -> usize {
        self.width
    }

    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.width {
                scope.spawn(|| {
                    loop {
                        let piece = next.fetch_add(1, Ordering::Relaxed);
                        if piece >= count {
                            return;
                        }
                        work(piece);
                    }
                });
            }
        });
    }

    fn spent(&self, ahead: usize, again: usize) {
        self.ahead.fetch_add(ahead, Ordering::Relaxed);
        self.again.fetch_add(again, Ordering::Relaxed);
    }
}
