//! What a leader knows about one follower, and how much it may send to it.
//!
//! Two states (as in etcd's raft): a probe finds where the logs agree with one message at a time;
//! then messages are sent ahead of their answers, bounded in count and bytes. A lost message shows
//! in the follower's refusal of the next one, and the leader probes again from the follower's hint.

use std::collections::VecDeque;

use types::{Index, Millis};

/// Messages sent ahead. At one batch a millisecond this covers 100 ms between two sites.
const IN_FLIGHT_MESSAGES_MAX: usize = 128;
/// Bytes sent ahead: 1 Gbit/s over 60 ms, and what a leader buffers for a stalled follower.
const IN_FLIGHT_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Where the logs agree is being asked; `sent` while an answer is awaited.
    Probe { sent: bool },
    /// Everything before `next` has been sent.
    Pipeline,
}

#[derive(Debug)]
pub(crate) struct Progress {
    /// Known to be on the follower's disk, and equal to the leader's log.
    pub(crate) matched: Index,
    /// Next index to send; always above `matched`.
    pub(crate) next: Index,
    pub(crate) pace: Pace,
    /// Last index and bytes of each message not yet acknowledged.
    in_flight: VecDeque<(Index, usize)>,
    in_flight_bytes: usize,
    /// When an answer of this term came last.
    pub(crate) heard: Millis,
    /// The newest round (see `reads`) that was answered.
    pub(crate) round: u64,
    /// The driver was asked at this time for entries that are no longer in memory.
    pub(crate) loading: Option<Millis>,
}

impl Progress {
    pub(crate) fn new(last: Index, now: Millis) -> Self {
        Self {
            matched: Index::ZERO,
            next: last.next(),
            pace: Pace::Probe { sent: false },
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            heard: now,
            round: 0,
            loading: None,
        }
    }

    /// Whether a message with entries may leave now.
    pub(crate) fn may_send(&self) -> bool {
        match self.pace {
            Pace::Probe { sent } => !sent,
            Pace::Pipeline => {
                self.in_flight.is_empty()
                    || (self.in_flight.len() < IN_FLIGHT_MESSAGES_MAX
                        && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX)
            }
        }
    }

    /// A message with entries up to `last` left.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize) {
        match &mut self.pace {
            Pace::Probe { sent } => *sent = true,
            Pace::Pipeline => {
                self.next = last.next();
                self.in_flight.push_back((last, bytes));
                self.in_flight_bytes += bytes;
            }
        }
    }

    /// The follower has entries up to `received`, those up to `matched` on disk. Tells whether
    /// `matched` grew.
    pub(crate) fn accepted(&mut self, matched: Index, received: Index) -> bool {
        let grew = matched > self.matched;
        self.matched = self.matched.max(matched);
        while self
            .in_flight
            .front()
            .is_some_and(|(last, _)| *last <= self.matched)
        {
            self.in_flight_bytes -= self.in_flight.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        if received.next() >= self.next {
            self.pace = Pace::Pipeline;
            self.next = received.next();
        }
        grew
    }

    /// The follower has no such entry as the one before `rejected + 1`; `agreement` is where the
    /// logs may agree. Tells whether that is news: a late refusal changes nothing.
    pub(crate) fn rejected(&mut self, rejected: Index, agreement: Index) -> bool {
        let news = match self.pace {
            Pace::Probe { .. } => rejected == self.next.previous(),
            Pace::Pipeline => rejected < self.next,
        };
        if rejected <= self.matched || !news {
            return false;
        }
        self.next = agreement.min(rejected.previous()).max(self.matched).next();
        self.pace = Pace::Probe { sent: false };
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.loading = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipelined() -> Progress {
        let mut progress = Progress::new(Index(4), Millis(0));
        assert!(progress.accepted(Index(4), Index(4)));
        progress
    }

    #[test]
    fn the_window_is_bounded_in_count_and_in_bytes() {
        for (bytes, expected) in [
            (1, IN_FLIGHT_MESSAGES_MAX),
            (IN_FLIGHT_BYTES_MAX / 2, 2),
            (1 << 30, 1),
        ] {
            let mut progress = pipelined();
            let mut count = 0;
            while progress.may_send() {
                progress.sent(progress.next, bytes);
                count += 1;
            }
            assert_eq!(count, expected);
            progress.accepted(Index(5), Index(5));
            assert!(progress.may_send(), "an acknowledgement makes room");
        }
    }

    #[test]
    fn a_stale_refusal_changes_nothing() {
        let mut progress = pipelined();
        assert!(!progress.rejected(Index(3), Index(0)));
        assert!(!progress.rejected(Index(4), Index(0)));
        assert_eq!(
            (progress.matched, progress.next, progress.pace),
            (Index(4), Index(5), Pace::Pipeline)
        );
    }

    #[test]
    fn one_loss_is_one_step_back() {
        let mut progress = pipelined();
        for last in 5..=8 {
            progress.sent(Index(last), 10);
        }
        assert!(progress.rejected(Index(6), Index(5)));
        assert_eq!(
            (progress.next, progress.pace),
            (Index(6), Pace::Probe { sent: false })
        );
        assert!(
            !progress.rejected(Index(7), Index(5)),
            "the messages after the lost one are refused, too"
        );
    }
}
