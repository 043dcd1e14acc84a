//! The state as bytes, for a snapshot: the same on every node after the same entries.

use crypto::Zeroizing;
use types::NodeId;

use super::State;

/// Largest state: a constitution, 64 nodes, proposals and events at their limits.
const STATE_BYTES_MAX: usize = 64 << 20;

/// The bytes are no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no state of governance that this version writes")]
pub struct BadState;

impl State {
    /// The whole state, with the private key of the network identity: only for what is sealed.
    pub fn to_cbor(&self) -> Zeroizing<Vec<u8>> {
        // Measured first: a vector that grew would leave the key behind in what it outgrew.
        let mut length = Length(0);
        minicbor::encode(self, &mut length).expect("counting takes any length");
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
        minicbor::encode(self, &mut *bytes).expect("memory takes any length");
        bytes
    }

    /// Reads what [`State::to_cbor`] wrote. Whoever restores has checked the digest of the bytes;
    /// this checks that they are a state.
    ///
    /// # Errors
    /// [`BadState`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, BadState> {
        if bytes.len() > STATE_BYTES_MAX {
            return Err(BadState);
        }
        let state: Self = minicbor::decode(bytes).map_err(|_| BadState)?;
        let network_fits = state.network.as_ref().is_none_or(|n| {
            n.constitution.digest() == n.constitution_digest && n.constitution.validate().is_ok()
        });
        let known = |id: &NodeId| state.nodes.contains_key(id);
        let names_nodes = state.past.values().all(known)
            && state.configuration.nodes().all(|id| known(&id))
            && state.nodes.keys().all(|id| *id <= state.last_node);
        if network_fits && names_nodes && *state.to_cbor() == bytes {
            Ok(state)
        } else {
            Err(BadState)
        }
    }
}

struct Length(usize);

impl minicbor::encode::Write for Length {
    type Error = core::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0 += bytes.len();
        Ok(())
    }
}
