//! The share-transport key of this VN's actor, as the owner's agent gave it.

use threshold::TransportKey;

/// What this VN holds for its actor.
#[derive(Default)]
pub struct Shares {
    transport: Option<TransportKey>,
}

impl Shares {
    /// The actor's share-transport key, once it was given.
    pub fn transport(&self) -> Option<&TransportKey> {
        self.transport.as_ref()
    }
}
