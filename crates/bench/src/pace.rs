//! When requests go out.

use std::time::Duration;

/// When requests go out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// When fewer than this many are unanswered on their connection.
    Closed { in_flight: usize },
    /// One each interval, this many in all, whatever the answers do. Its time counts from when it was
    /// due, also if it could not be sent then: otherwise a network that stalls would hide its own
    /// delay (coordinated omission).
    Open { interval: Duration, arrivals: usize },
    /// As [`Pace::Open`], from clients that send nothing more until they are answered, as most do: each
    /// connection has one request at a time, and an arrival that finds none free waits, its time counting.
    Clients { interval: Duration, arrivals: usize },
    /// From such clients, as soon as fewer than this many requests of all are unanswered.
    Shared { in_flight: usize },
}

impl Pace {
    /// Interval and number of arrivals that come by themselves.
    pub(crate) fn arrivals(self) -> Option<(Duration, usize)> {
        match self {
            Self::Open { interval, arrivals } | Self::Clients { interval, arrivals } => {
                Some((interval, arrivals))
            }
            Self::Closed { .. } | Self::Shared { .. } => None,
        }
    }
}
