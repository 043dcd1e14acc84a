//! What nodes say to one another while the network has no quorum, and its encoding.

use governance::EpochSeal;
use minicbor::{Decode, Encode};
use threshold::Partial;
use types::{Digest, Epoch, Index, NetworkId};

use super::choice::Held;
use crate::wire::Credentials;

/// One message, within a frame of `wire`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[expect(clippy::large_enum_variant, reason = "one at a time, behind a pointer")]
pub enum Says {
    /// Who dialled: who are you? Appraise yourself to me.
    #[n(0)]
    Meet {
        #[n(0)]
        network: NetworkId,
        #[cbor(n(1), with = "minicbor::bytes")]
        nonce: [u8; 32],
    },
    /// Evidence over the dialler's nonce, and a nonce for the dialler's.
    #[n(1)]
    Greet {
        #[n(0)]
        credentials: Credentials,
        #[cbor(n(1), with = "minicbor::bytes")]
        nonce: [u8; 32],
    },
    /// The dialler's evidence. From here on both speak as they like.
    #[n(2)]
    Met {
        #[n(0)]
        credentials: Credentials,
    },
    #[n(3)]
    Present(#[n(0)] Present),
    /// Give me your partial decryptions of the keys of this epoch.
    #[n(4)]
    Ask {
        #[n(0)]
        epoch: Epoch,
        #[n(1)]
        seal: Box<EpochSeal>,
    },
    #[n(5)]
    Grant {
        #[n(0)]
        epoch: Epoch,
        #[n(1)]
        session_key: Partial,
        #[n(2)]
        history_key: Partial,
    },
    /// Lend me these entries, which my files lack.
    #[n(7)]
    Want {
        #[n(0)]
        first: Index,
        #[n(1)]
        last: Index,
    },
    #[n(8)]
    Lent {
        #[n(0)]
        first: Index,
        #[n(1)]
        entries: Vec<minicbor::bytes::ByteVec>,
    },
    /// What was asked for is not given.
    #[n(6)]
    Refused {
        #[n(0)]
        reason: String,
    },
}

/// Where the one that speaks stands. Said again whenever it changes, and every now and then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Present {
    #[n(0)]
    pub held: Held,
    /// It has opened and checked its whole ledger.
    #[n(1)]
    pub verified: bool,
    /// It is admitted and votes, and only lacks a leader.
    #[n(2)]
    pub runs: bool,
    /// It has its actor's share-transport key.
    #[n(3)]
    pub shares: bool,
    /// Pledges to it name this number; a higher one voids those of lower ones for good.
    #[n(4)]
    pub round: u64,
    /// Fingerprint and round of the one that it follows, and no other, if that goes on.
    #[n(5)]
    pub pledged: Option<(Digest, u64)>,
    /// It went on with the network: join.
    #[n(6)]
    pub restarted: bool,
    /// By its own ledger those that it met are enough to go on, and none of them reaches farther.
    #[n(7)]
    pub enough: bool,
}
