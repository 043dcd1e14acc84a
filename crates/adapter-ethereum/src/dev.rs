//! Accounts for development: the ten that anvil and Hardhat know by their mnemonic
//! `test test test test test test test test test test test junk`.
//!
//! Their keys are public. A genesis that gives them anything is for a sandbox.

use alloy_consensus::{SignableTransaction, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Signature, U256, address, b256};
use bytes::Bytes;
use secp256k1::{Message, SECP256K1, SecretKey};

use crate::settings::{Alloc, Rules, Settings};

/// Chain id of anvil and Hardhat networks.
pub const CHAIN_ID: u64 = 31337;

/// An account whose key everybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub address: Address,
    pub key: [u8; 32],
}

macro_rules! accounts {
    ($($address:literal $key:literal),* $(,)?) => {
        [$(Account { address: address!($address), key: b256!($key).0 }),*]
    };
}

/// Derivation path m/44'/60'/0'/0/0 to 9.
pub const ACCOUNTS: [Account; 10] = accounts![
    "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266" "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "70997970C51812dc3A010C7d01b50e0d17dc79C8" "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "3C44CdDdB6a900fa2b585dd299e03d12FA4293BC" "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "90F79bf6EB2c4f870365E785982E1f101E93b906" "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "15d34AAf54267DB7D7c367839AAf71A00a2C6A65" "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "9965507D1a55bcC2695C58ba16FB37d819B0A4dc" "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    "976EA74026E726554dB657fA54763abd0C3a0aa9" "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    "14dC79964da2C08b23698B3D3cc7Ca32193d9955" "4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    "23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f" "dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    "a0Ee7A142d267C1f36714E4a8F75612F20a79720" "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
];

/// Settings of a sandbox: every account of [`ACCOUNTS`] has 10,000 ether.
pub fn settings(chain_id: u64) -> Settings {
    let ether = U256::from(10u64).pow(U256::from(18));
    let alloc = ACCOUNTS.map(|account| {
        (
            account.address,
            Alloc {
                balance: ether * U256::from(10_000),
                ..Alloc::default()
            },
        )
    });
    Settings {
        rules: Rules::network(chain_id),
        timestamp: 0,
        alloc: alloc.into(),
        codes: Default::default(),
    }
}

/// Signs a transaction; gives its EIP-2718 bytes.
///
/// # Panics
/// If `key` is zero or not below the order of secp256k1.
pub fn sign<T>(transaction: T, key: &[u8; 32]) -> Bytes
where
    T: SignableTransaction<Signature>,
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let key = SecretKey::from_byte_array(*key).expect("a secp256k1 key");
    let message = Message::from_digest(transaction.signature_hash().0);
    let (parity, compact) = SECP256K1
        .sign_ecdsa_recoverable(message, &key)
        .serialize_compact();
    let signature = Signature::from_bytes_and_parity(&compact, i32::from(parity) & 1 == 1);
    TxEnvelope::from(transaction.into_signed(signature))
        .encoded_2718()
        .into()
}

#[cfg(test)]
mod tests {
    use secp256k1::PublicKey;

    use super::*;

    #[test]
    fn keys_and_addresses_belong_together() {
        for account in ACCOUNTS {
            let key = SecretKey::from_byte_array(account.key).expect("a key");
            let public = PublicKey::from_secret_key(SECP256K1, &key).serialize_uncompressed();
            assert_eq!(Address::from_raw_public_key(&public[1..]), account.address);
        }
    }

    #[test]
    fn the_settings_return_through_json() {
        let settings = settings(CHAIN_ID);
        let read = Settings::parse(settings.to_json().as_bytes()).expect("well formed");
        assert_eq!(read.rules, settings.rules);
        assert_eq!(read.alloc.len(), 10);
    }
}
