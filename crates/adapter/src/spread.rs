//! Work side by side, by threads that an adapter does not have.

use std::fmt;

/// Whoever runs a machine may lend it more than one thread. What a machine makes of that never shows: a
/// batch comes to the same with any number of them, and with none.
pub trait Spread: fmt::Debug + Send + Sync {
    /// How many pieces of work run at once. With one there is nothing to gain.
    fn width(&self) -> usize;

    /// Calls `work` once with each number below `count`, on any thread and in any order, and returns when
    /// all calls have returned. One call must not wait for another.
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync));

    /// For measurements: so many units of a batch were executed ahead of their turn, and so many of them
    /// once more, because something that they had read was different in their turn.
    fn spent(&self, ahead: usize, again: usize) {
        let _ = (ahead, again);
    }
}
