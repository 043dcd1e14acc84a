//! Threads of an enclave besides the one that runs its loop.
//!
//! They are started while the process locks itself down: behind the walls that each thread has of its own,
//! and before the filter, after which no thread can be started. They wait for work and do nothing else: no
//! message, socket or clock reaches them.
#![allow(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::syscalls;

/// Most threads, the one that runs the loop among them.
pub const THREADS_MAX: usize = 64;

/// Who shares the processors with an enclave takes about one of them.
const CORES_FOR_OTHERS: usize = 1;

/// Most threads that are taken without being told.
const THREADS_OF_THEMSELVES_MAX: usize = 8;

/// Where nobody says how many: all cores but one, and one where that leaves one.
pub(crate) fn for_this_machine() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores - CORES_FOR_OTHERS.min(cores - 1)).min(THREADS_OF_THEMSELVES_MAX)
}

type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// The piece of work that all are at.
struct Job {
    work: &'static Work<'static>,
    next: usize,
    count: usize,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    /// Threads at a piece of it.
    busy: usize,
    /// Threads that have begun to wait for work.
    begun: usize,
}

impl State {
    fn take(&mut self) -> Option<(&'static Work<'static>, usize)> {
        let job = self.job.as_mut().filter(|job| job.next < job.count)?;
        job.next += 1;
        self.busy += 1;
        Some((job.work, job.next - 1))
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is work.
    work: Condvar,
    /// A thread has begun, or has done its piece.
    done: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, on: &Condvar, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        on.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) -> ! {
        let mut state = self.state();
        state.begun += 1;
        self.done.notify_all();
        loop {
            match state.take() {
                Some((work, piece)) => {
                    drop(state);
                    let busy = Busy(self);
                    work(piece);
                    drop(busy);
                    state = self.state();
                }
                None => state = self.wait(&self.work, state),
            }
        }
    }
}

/// A thread is at a piece of work until this is dropped.
struct Busy<'s>(&'s Shared);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.state().busy -= 1;
        self.0.done.notify_all();
    }
}

/// The work given out is not left before everybody has, be it by a panic.
struct Given<'s>(&'s Shared);

impl Drop for Given<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.job = None;
        while state.busy > 0 {
            state = self.0.wait(&self.0.done, state);
        }
    }
}

/// The threads of this process. One thread at a time gives them work.
#[derive(Clone)]
pub struct Threads {
    shared: Arc<Shared>,
    /// With the thread that gives the work.
    width: usize,
    giving: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} threads", self.width)
    }
}

impl Threads {
    /// Starts threads until there are `width`, or as many as can be had. They stay for the life of the process.
    pub fn start(width: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let wanted = width.clamp(1, THREADS_MAX) - 1;
        if wanted > 0 {
            syscalls::one_heap();
        }
        let started = (0..wanted)
            .map_while(|_| {
                let shared = shared.clone();
                let thread = std::thread::Builder::new().name("coco-work".into());
                thread.spawn(move || shared.run()).ok()
            })
            .count();
        // What a thread asks of the kernel when it starts, it has asked then.
        let mut state = shared.state();
        while state.begun < started {
            state = shared.wait(&shared.done, state);
        }
        drop(state);
        Self {
            shared,
            width: 1 + started,
            giving: Arc::default(),
        }
    }

    /// How many pieces of work run at once.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Calls `work` once with each number below `count`, here and on the other threads, and returns when all
    /// calls have returned.
    pub fn each(&self, count: usize, work: &Work<'_>) {
        let _giving = self.giving.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the two types differ in lifetimes only. Other threads get `work` from `Job` alone and keep it
        // no longer than they count as busy; `Given` takes the job back and waits until none is busy before
        // this function is left in whatever way, so `work` and what it borrows outlive each use.
        let work = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        let given = Given(&self.shared);
        self.shared.state().job = Some(Job {
            work,
            next: 0,
            count,
        });
        self.shared.work.notify_all();
        loop {
            let taken = self.shared.state().take();
            let Some((work, piece)) = taken else { break };
            let busy = Busy(&self.shared);
            work(piece);
            drop(busy);
        }
        drop(given);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_piece_is_done_once_and_all_before_it_returns() {
        let threads = Threads::start(4);
        assert_eq!(threads.width(), 4);
        for count in [0, 1, 3, 100] {
            let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            threads.each(count, &|piece| {
                done[piece].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|times| times.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn pieces_run_on_several_threads_at_once() {
        let threads = Threads::start(3);
        let barrier = std::sync::Barrier::new(3);
        threads.each(3, &|_| {
            barrier.wait();
        });
    }

    #[test]
    fn alone_everything_is_done_here() {
        let threads = Threads::start(0);
        let here = std::thread::current().id();
        threads.each(5, &|_| assert_eq!(std::thread::current().id(), here));
    }

    #[test]
    fn a_panic_does_not_leave_the_others_with_what_is_gone() {
        let threads = Threads::start(3);
        let counted = AtomicUsize::new(0);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let barrier = std::sync::Barrier::new(3);
            let here = std::thread::current().id();
            threads.each(3, &|_| {
                barrier.wait();
                assert_ne!(std::thread::current().id(), here, "the test asked for it");
                counted.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert!(result.is_err());
        assert_eq!(counted.load(Ordering::Relaxed), 2);
    }
}
