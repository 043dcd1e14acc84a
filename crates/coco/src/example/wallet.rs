//! An account and its key. In the example all of them are development keys, or keys that live for a run.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Signature, TxKind, U256};
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};

use super::abi::hexadecimal;
use crate::dev;
use crate::failure::Failure;

/// Gas limit of every transaction here; Trade's costliest function takes about 200,000.
const GAS: u64 = 3_000_000;

/// Signs transactions of one account.
pub(crate) struct Wallet {
    key: SecretKey,
    address: Address,
}

impl Wallet {
    /// The development account at a place.
    pub(crate) fn development(place: usize) -> Self {
        let key = hex::decode(&dev::ACCOUNTS[place].private_key[2..]).expect("a constant");
        Self::from_bytes(key.try_into().expect("32 bytes")).expect("a constant")
    }

    /// A fresh one.
    pub(crate) fn random() -> Result<Self, Failure> {
        let bytes = crate::keys::entropy()?.bytes();
        Self::from_bytes(bytes).ok_or_else(|| Failure::machine("the random numbers are no key"))
    }

    fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        let key = SecretKey::from_byte_array(bytes).ok()?;
        let point = PublicKey::from_secret_key(SECP256K1, &key).serialize_uncompressed();
        let address = Address::from_raw_public_key(&point[1..]);
        Some(Self { key, address })
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// A signed transaction, as JSON-RPC takes it.
    pub(crate) fn sign(&self, nonce: u64, to: TxKind, input: Vec<u8>) -> String {
        let transaction = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            nonce,
            gas_limit: GAS,
            max_fee_per_gas: 1,
            max_priority_fee_per_gas: 0,
            to,
            value: U256::ZERO,
            input: input.into(),
            ..TxEip1559::default()
        };
        let message = Message::from_digest(transaction.signature_hash().0);
        let (parity, compact) = SECP256K1
            .sign_ecdsa_recoverable(message, &self.key)
            .serialize_compact();
        let signature = Signature::from_bytes_and_parity(&compact, i32::from(parity) & 1 == 1);
        hexadecimal(&TxEnvelope::from(transaction.into_signed(signature)).encoded_2718())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_development_wallet_has_its_address() {
        for (place, account) in dev::ACCOUNTS.iter().enumerate() {
            assert_eq!(
                Wallet::development(place).address().to_string(),
                account.address
            );
        }
        assert_ne!(
            Wallet::random().expect("drawn").address(),
            Wallet::random().expect("drawn").address()
        );
    }
}
