//! Randomness as an argument: ChaCha20 streams, the first from a seed that the platform gave.
//!
//! Source: D. J. Bernstein, "Fast-key-erasure random-number generators", 2017. Each answer takes the
//! next key from the same stream and forgets the one before it, so that who reads an enclave's memory
//! does not compute again what was drawn earlier: a session key that was forgotten stays so.

use core::fmt;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use zeroize::Zeroizing;

/// Where an enclave's secrets come from. Not `Clone`: a copy would give the same secrets twice.
pub struct Entropy(ChaCha20Rng);

impl Entropy {
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(*seed))
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
        let mut next = Zeroizing::new([0; 32]);
        self.0.fill_bytes(&mut *next);
        // In its place: key, counter and the blocks that were made are overwritten.
        self.0 = ChaCha20Rng::from_seed(*next);
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    pub fn secret(&mut self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.bytes())
    }

    pub fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that it holds: what it will give follows from that, and from nothing else.
    fn held(entropy: &Entropy) -> ([u8; 32], u128, u64) {
        let rng = &entropy.0;
        (rng.get_seed(), rng.get_word_pos(), rng.get_stream())
    }

    #[test]
    fn the_same_seed_gives_the_same_secrets_and_another_gives_others() {
        let secrets = |seed: u8| {
            let mut entropy = Entropy::new(&[seed; 32]);
            [entropy.secret(), entropy.secret(), entropy.secret()]
        };
        assert_eq!(secrets(1), secrets(1));
        assert_ne!(secrets(1)[0], secrets(2)[0]);
        assert_ne!(secrets(1)[0], secrets(1)[1]);
    }

    /// Whoever has the memory of now has what comes, and none of what was.
    #[test]
    fn memory_does_not_yield_what_was_drawn_before() {
        let mut entropy = Entropy::new(&[3; 32]);
        let before: Vec<_> = (0..100).map(|_| *entropy.secret()).collect();
        let (seed, at, stream) = held(&entropy);
        assert_eq!((at, stream), (0, 0), "no block of an earlier key is left");
        assert!(!before.contains(&seed) && seed != [3; 32]);

        let mut thief = Entropy::new(&seed);
        // From the beginning of the stream that its memory names, and whole: as a stream and as secrets.
        let mut stream = vec![0; 1 << 20];
        ChaCha20Rng::from_seed(seed).fill_bytes(&mut stream);
        let later: Vec<_> = (0..10_000).map(|_| *thief.secret()).collect();
        for secret in &before {
            assert!(!later.contains(secret));
            assert!(!stream.windows(32).any(|window| window == secret));
        }
        assert_eq!(*entropy.secret(), later[0], "it is all that is held");
    }

    #[test]
    fn a_long_answer_is_as_random_as_many_short_ones() {
        let mut entropy = Entropy::new(&[4; 32]);
        let mut bytes = vec![0; 10_000];
        entropy.fill(&mut bytes);
        let ones: u32 = bytes.iter().map(|b| b.count_ones()).sum();
        assert!((39_000..41_000).contains(&ones), "{ones} of 80000");
        assert_eq!(held(&entropy).1, 0);
    }
}
