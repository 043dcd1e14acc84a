//! Combination: M good partial decryptions give the message; a bad one names its holder.
//!
//! ```text
//! y^r = prod_j u_j^lambda_j over M holders j      lambda_j = prod_{m != j} m / (m - j)
//! m   = c xor H1(y^r)
//! ```
//!
//! Source: Shoup and Gennaro 2002, section 4: Lagrange in the exponent. Shares are not combined.

use std::collections::BTreeMap;

use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::traits::MultiscalarMul;
use zeroize::Zeroize;

use crate::encryption::Verified;
use crate::group::{Secret, lagrange};
use crate::partial::{BadPartial, Partial};
use crate::setup::ActorIndex;

/// Collects partial decryptions of one ciphertext as they arrive.
pub struct Combiner<'a> {
    ciphertext: Verified<'a>,
    /// Good ones, one for each holder, and no more than M.
    good: BTreeMap<ActorIndex, RistrettoPoint>,
}

impl<'a> Combiner<'a> {
    /// Starts with none.
    pub fn new(ciphertext: Verified<'a>) -> Self {
        Self {
            ciphertext,
            good: BTreeMap::new(),
        }
    }

    /// Checks a partial and keeps it if it is still needed.
    ///
    /// # Errors
    /// Whoever sent it misbehaved; it is dropped, and a good one of the same holder still counts.
    pub fn add(&mut self, partial: &Partial) -> Result<(), BadPartial> {
        partial.verify(&self.ciphertext)?;
        if self.missing() > 0 {
            self.good.insert(partial.holder(), *partial.power.point());
        }
        Ok(())
    }

    /// How many more holders it takes.
    pub fn missing(&self) -> usize {
        self.ciphertext.key().threshold() - self.good.len()
    }

    /// Opens the ciphertext.
    ///
    /// # Errors
    /// Fewer than M holders have given a good partial.
    pub fn open(&self) -> Result<Secret, TooFew> {
        if self.missing() > 0 {
            return Err(TooFew {
                missing: self.missing(),
            });
        }
        let indices: Vec<_> = self.good.keys().map(|j| j.number()).collect();
        let mut common = RistrettoPoint::multiscalar_mul(lagrange(&indices), self.good.values());
        let message = self.ciphertext.unmask(&common);
        common.zeroize();
        Ok(Secret::of(message))
    }
}

impl Drop for Combiner<'_> {
    fn drop(&mut self) {
        self.good.values_mut().for_each(Zeroize::zeroize);
    }
}

/// The ciphertext cannot be opened yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{missing} more partial decryptions are needed: ask further actors")]
pub struct TooFew {
    pub missing: usize,
}
