//! What dishonest actors send. For tests here and in the simulator; never in an enclave's build.

use crypto::Entropy;

use crate::deal::{Deal, DealerSecret};
use crate::dispute::Dispute;
use crate::setup::{ActorIndex, Setup, TransportKey};
use crate::wire::Message;

/// A deal that verifies, but gives `victim` a share that does not fit.
pub fn cheat(
    setup: &Setup,
    dealer: ActorIndex,
    victim: ActorIndex,
    entropy: &mut Entropy,
) -> (Deal, DealerSecret) {
    Deal::make_with(setup, dealer, entropy, |shares| {
        shares[victim.position()].0[0] ^= 1
    })
}

/// A dispute of whatever `dealer` dealt, with the true key of `receiver`.
pub fn dispute(
    setup: &Setup,
    deal: &Deal,
    receiver: ActorIndex,
    key: &TransportKey,
    entropy: &mut Entropy,
) -> Message {
    Message::Dispute(Dispute::make(setup.scope(), deal, receiver, key, entropy))
}
