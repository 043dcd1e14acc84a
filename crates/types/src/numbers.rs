//! Counters, each its own type so that an index is never mistaken for a term.

use core::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub u64);

        impl $name {
            pub const ZERO: Self = Self(0);

            /// The following number.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a counter of events never reaches 2^64"))
            }

            /// The number before; zero stays zero.
            #[must_use]
            pub fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

number! {
    /// Milliseconds since 1970-01-01 UTC. Which clock it was read from is said where it is used.
    Millis
}
number! {
    /// Place of an entry in the ledger. The first entry (genesis) has index 1; 0 means "nothing yet".
    Index
}
number! {
    /// Term of a leader (Raft thesis 3.3).
    Term
}
number! {
    /// Epoch of session keys. The first is 1.
    Epoch
}
number! {
    /// How many batches a protocol has committed: an Ethereum block number. Genesis is 0.
    Height
}
number! {
    /// One incarnation of a validating node in a network. Given at admission, never used twice.
    NodeId
}

impl Index {
    /// The largest that is taken from a file or another node: counting on from it stays in range.
    pub const MAX: Self = Self(u64::MAX / 2);
}

impl Millis {
    /// Time from `earlier` until this, zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time and `millis` more.
    #[must_use]
    pub fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}
