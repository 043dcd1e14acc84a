//! Partial decryption: what a holder gives of its share, once, for one ciphertext.
//!
//! ```text
//! u_j = u^x_j                                     proof: log_g V_j = log_u u_j
//! e_j = H4(j, e, g, V_j, u, u_j, g^s, u^s)        f_j = s + x_j e_j
//! ```
//!
//! Source: Shoup and Gennaro 2002, section 4. e of the ciphertext is bound as well, so a partial is
//! good for one ciphertext and label. A partial is no secret of its holder (x_j stays hidden), but
//! M of them open the ciphertext: they travel on attested channels or sealed.

use core::fmt;

use crypto::{Context, Entropy};
use minicbor::{Decode, Encode};
use types::Digest;

use crate::encryption::Verified;
use crate::group::{Element, G};
use crate::key::KeyShare;
use crate::proof::{Proof, SameLogarithm};
use crate::setup::ActorIndex;

/// A holder's part of a decryption. 96 bytes of content.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Partial {
    #[n(0)]
    pub(crate) session: Digest,
    #[n(1)]
    pub(crate) holder: ActorIndex,
    #[n(2)]
    pub(crate) power: Element,
    #[n(3)]
    pub(crate) proof: Proof,
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partial({})", self.holder)
    }
}

impl KeyShare {
    /// Decrypts in part. Whether the asker may have it is for the caller to decide first.
    ///
    /// # Panics
    /// If the ciphertext is of another session: the caller picked the wrong share.
    pub fn decrypt(&self, ciphertext: &Verified<'_>, entropy: &mut Entropy) -> Partial {
        let key = ciphertext.key();
        assert_eq!(
            self.session,
            key.session(),
            "a share decrypts for its own session"
        );
        let verification = key
            .verification(self.holder)
            .expect("a holder is an actor of its session");
        let power = Element::of(ciphertext.u().point() * self.secret.value());
        let proof = statement(ciphertext, &[self.holder.number()], verification, &power)
            .prove(self.secret.value(), entropy);
        Partial {
            session: self.session,
            holder: self.holder,
            power,
            proof,
        }
    }
}

impl Partial {
    /// Who gave it.
    pub fn holder(&self) -> ActorIndex {
        self.holder
    }

    /// Whether it was made with its holder's share for this ciphertext.
    ///
    /// # Errors
    /// Whoever sent it misbehaved.
    pub fn verify(&self, ciphertext: &Verified<'_>) -> Result<(), BadPartial> {
        let bad = BadPartial {
            holder: self.holder,
        };
        let verification = ciphertext.key().verification(self.holder).ok_or(bad)?;
        if self.session != ciphertext.key().session() {
            return Err(bad);
        }
        let indices = [self.holder.number()];
        let statement = statement(ciphertext, &indices, verification, &self.power);
        if statement.holds(&self.proof) {
            Ok(())
        } else {
            Err(bad)
        }
    }
}

fn statement<'a>(
    ciphertext: &Verified<'a>,
    indices: &'a [u8],
    verification: &'a Element,
    power: &'a Element,
) -> SameLogarithm<'a> {
    SameLogarithm {
        context: Context::ThresholdPartial,
        scope: &ciphertext.key().scope,
        indices,
        bound: ciphertext.name(),
        first: (&G, verification),
        second: (ciphertext.u(), power),
    }
}

/// A partial decryption that its named holder did not make for this ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the partial decryption of {holder} does not verify: drop it and ask another actor")]
pub struct BadPartial {
    pub holder: ActorIndex,
}
