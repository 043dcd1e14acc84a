//! Tokens: what an account has proved, to be shown again on any VN.
//!
//! A token is sealed under a key that every VN of the network derives from its worker's key, so that
//! none keeps a list and all open it. It says who (accounts and their actor) and until when; whether that
//! still holds is asked of the registry each time, so a revocation counts at once.
//!
//! ```text
//! token  = "coco1" hex( nonce (24) ‖ XChaCha20-Poly1305(body) )
//! body   = version (1: 1) id (32) actor (32) expiry in ms (8) count (1) (address (20) generation (8))*
//! nonce of a challenge = hex( time in ms (8) ‖ dice (8) ‖ keccak256(key ‖ both)[..16] )
//! ```
//! A challenge is not remembered either: its nonce carries a code of its own, counts for five minutes,
//! and a token lives from the challenge on, so that using a challenge twice gains nothing.

use alloy_primitives::{Address, B256, keccak256};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use types::{ActorId, Millis};

/// How long a challenge can be answered.
pub(crate) const CHALLENGE_MS: u64 = 5 * 60 * 1000;

/// Most accounts of one token.
pub(crate) const ACCOUNTS_MAX: usize = 16;

const PREFIX: &str = "coco1";
const VERSION: u8 = 1;
const HEAD: usize = 1 + 32 + 32 + 8 + 1;
const EACH: usize = 28;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// For revocation.
    pub(crate) id: B256,
    pub(crate) actor: ActorId,
    pub(crate) expiry: Millis,
    /// Accounts, each with its generation in the registry when it was proved.
    pub(crate) accounts: Vec<(Address, u64)>,
}

/// The network's keys of challenges and tokens.
pub(crate) struct Keys {
    challenge: B256,
    seal: XChaCha20Poly1305,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// From the worker's key.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let derive = |label: &[u8]| keccak256([label, key].concat());
        Self {
            challenge: derive(b"coco ethereum challenge key v1"),
            seal: XChaCha20Poly1305::new(&derive(b"coco ethereum token key v1").0.into()),
        }
    }

    /// A nonce of now. `dice` is different each time.
    pub(crate) fn challenge(&self, now: Millis, dice: [u8; 8]) -> String {
        let mut out = now.0.to_be_bytes().to_vec();
        out.extend(dice);
        let code = self.code(&out);
        out.extend(code);
        hex::encode(out)
    }

    fn code(&self, head: &[u8]) -> [u8; 16] {
        let digest = keccak256([self.challenge.as_slice(), head].concat());
        *digest.first_chunk().expect("32 bytes have a first half")
    }

    /// When the nonce was given, if a VN of this network gave it and it still counts.
    pub(crate) fn challenged(&self, nonce: &str, now: Millis) -> Option<Millis> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(nonce, &mut bytes).ok()?;
        let (head, code) = bytes.split_at(16);
        let differs = self
            .code(head)
            .iter()
            .zip(code)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        let given = Millis(u64::from_be_bytes(*head.first_chunk()?));
        let fresh = given <= now.plus(CHALLENGE_MS) && now.since(given) < CHALLENGE_MS;
        (differs == 0 && fresh).then_some(given)
    }

    /// Seals a token. `nonce` is never used twice.
    pub(crate) fn seal(&self, token: &Token, nonce: [u8; 24]) -> String {
        let mut body = Vec::with_capacity(HEAD + EACH * token.accounts.len());
        body.push(VERSION);
        body.extend(token.id);
        body.extend(token.actor.0);
        body.extend(token.expiry.0.to_be_bytes());
        body.push(u8::try_from(token.accounts.len()).expect("at most ACCOUNTS_MAX"));
        for (account, generation) in &token.accounts {
            body.extend(account);
            body.extend(generation.to_be_bytes());
        }
        let sealed = self
            .seal
            .encrypt(&XNonce::from(nonce), body.as_slice())
            .expect("a short body is sealed");
        format!("{PREFIX}{}{}", hex::encode(nonce), hex::encode(sealed))
    }

    /// Opens what [`Keys::seal`] made.
    pub(crate) fn open(&self, text: &str) -> Option<Token> {
        let digits = text.strip_prefix(PREFIX)?;
        if digits.len() > 2 * (24 + 16 + HEAD + EACH * ACCOUNTS_MAX) {
            return None;
        }
        let bytes = hex::decode(digits).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<24>()?;
        let body = self.seal.decrypt(&XNonce::from(*nonce), sealed).ok()?;
        let mut rest = body.strip_prefix(&[VERSION])?;
        let id = B256::new(take(&mut rest)?);
        let actor = ActorId(take(&mut rest)?);
        let expiry = Millis(u64::from_be_bytes(take(&mut rest)?));
        let [count] = take(&mut rest)?;
        let accounts = (0..count)
            .map(|_| {
                let account = Address::new(take(&mut rest)?);
                Some((account, u64::from_be_bytes(take(&mut rest)?)))
            })
            .collect::<Option<Vec<_>>>()?;
        rest.is_empty().then_some(Token {
            id,
            actor,
            expiry,
            accounts,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        Token {
            id: B256::repeat_byte(1),
            actor: ActorId([2; 32]),
            expiry: Millis(9),
            accounts: vec![(Address::repeat_byte(3), 4), (Address::repeat_byte(5), 6)],
        }
    }

    #[test]
    fn every_node_of_the_network_opens_a_token_and_no_other() {
        let text = Keys::new(&[1; 32]).seal(&token(), [7; 24]);
        assert_eq!(Keys::new(&[1; 32]).open(&text), Some(token()));
        assert_eq!(Keys::new(&[2; 32]).open(&text), None);
    }

    proptest! {
        #[test]
        fn a_changed_token_is_none(at in 0usize..400, bit in 0u8..8) {
            let keys = Keys::new(&[1; 32]);
            let text = keys.seal(&token(), [7; 24]);
            let mut changed = text.clone().into_bytes();
            let at = at % changed.len();
            changed[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(changed) && !changed.eq_ignore_ascii_case(&text) {
                prop_assert_eq!(keys.open(&changed), None);
            }
        }
    }

    #[test]
    fn a_challenge_is_ours_and_fresh() {
        let keys = Keys::new(&[1; 32]);
        let (now, later) = (Millis(1_000_000), Millis(1_000_000 + CHALLENGE_MS));
        let nonce = keys.challenge(now, [3; 8]);
        assert_eq!(keys.challenged(&nonce, now), Some(now));
        assert_eq!(keys.challenged(&nonce, later), None);
        assert_eq!(Keys::new(&[2; 32]).challenged(&nonce, now), None);
        assert_eq!(keys.challenged(&nonce.replacen('0', "1", 1), now), None);
        assert_eq!(keys.challenged("", now), None);
    }
}
