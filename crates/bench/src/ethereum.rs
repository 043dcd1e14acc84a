//! Transfers of ether and of a token: accounts, genesis, signed transactions.
//!
//! Keys are Keccak-256 of a text and a number: everybody can derive them, and only a network that is
//! made for a measurement funds them. Each connection has senders of its own, so that nonces of one
//! sender arrive in order whatever connections do to one another.

use std::collections::BTreeMap;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, Bytes as Input, Signature, TxKind, U256, keccak256};
use bytes::Bytes;
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use serde_json::{Map, Value, json};

use crate::load::{self, Load};
use crate::{Options, Problem, Workload, token};

/// Chain id of the networks that are made here: that of development networks.
const CHAIN_ID: u64 = 31337;

/// What every account has at genesis, in wei: 10,000 ether.
const BALANCE_WEI: &str = "0x21e19e0c9bab2400000";

/// The most that a sender pays for gas; a Coco network charges nothing.
const FEE_MAX_WEI: u128 = 10_000_000_000;

/// Gas limit of a token transfer, which takes about 35,000.
const TOKEN_GAS: u64 = 100_000;

/// An account that sends.
pub(crate) struct Account {
    key: SecretKey,
    pub(crate) address: Address,
}

impl Account {
    fn number(number: usize) -> Self {
        let seed = [b"coco bench ".as_slice(), &(number as u64).to_be_bytes()].concat(); // as wide
        let key = SecretKey::from_byte_array(keccak256(seed).0)
            .expect("a hash is zero or above the order with probability 2^-128");
        let point = PublicKey::from_secret_key(SECP256K1, &key).serialize_uncompressed();
        Self {
            key,
            address: Address::from_raw_public_key(&point[1..]),
        }
    }

    fn sign(&self, transaction: TxEip1559) -> Bytes {
        let message = Message::from_digest(transaction.signature_hash().0);
        let (parity, compact) = SECP256K1
            .sign_ecdsa_recoverable(message, &self.key)
            .serialize_compact();
        let signature = Signature::from_bytes_and_parity(&compact, i32::from(parity) & 1 == 1);
        TxEnvelope::from(transaction.into_signed(signature))
            .encoded_2718()
            .into()
    }
}

/// Calls of `balanceOf`, with the accounts taking turns.
pub(crate) fn calls(options: &Options) -> Result<Load, Problem> {
    let accounts: Vec<Account> = (0..options.senders.min(1000))
        .map(Account::number)
        .collect();
    let contract = token::genesis(&load::data(options), &accounts)?;
    let alloc = json!({ token::ADDRESS.to_string(): contract });
    let genesis = json!({ "chainId": CHAIN_ID, "alloc": alloc }).to_string();
    let mut body = |_: usize, places: std::ops::Range<usize>| {
        let params = places.map(|place| {
            let input = token::balance_of(&accounts[place % accounts.len()].address);
            format!(r#"{{"to":"{}","data":"{input}"}},"latest""#, token::ADDRESS)
        });
        load::calls("eth_call", params)
    };
    Ok(Load {
        genesis: BTreeMap::from([("ethereum".to_owned(), genesis)]),
        warm_up: load::cut(0, options.warm_up, options, &mut body),
        requests: load::cut(options.warm_up, options.transactions, options, &mut body),
        ..Load::default()
    })
}

pub(crate) fn prepare(options: &Options) -> Result<Load, Problem> {
    let count = options.warm_up + options.transactions;
    // At least one for each connection.
    let senders = options.senders.min(count).max(options.connections);
    let accounts: Vec<Account> = (0..senders).map(Account::number).collect();
    let mut alloc: Map<String, Value> = accounts
        .iter()
        .map(|account| {
            (
                account.address.to_string(),
                json!({ "balance": BALANCE_WEI }),
            )
        })
        .collect();
    if options.workload == Workload::Erc20 {
        let contract = token::genesis(&load::data(options), &accounts)?;
        alloc.insert(token::ADDRESS.to_string(), contract);
    }
    let genesis = json!({ "chainId": CHAIN_ID, "alloc": alloc }).to_string();

    let mut sent = vec![0; options.connections];
    let mut hashes = Vec::with_capacity(count);
    let mut body = |lane: usize, places: std::ops::Range<usize>| {
        let raw: Vec<Bytes> = places
            .map(|_| {
                let raw = next(options, &accounts, lane, &mut sent[lane]);
                hashes.push(keccak256(&raw).0);
                raw
            })
            .collect();
        load::send_raw(raw.iter())
    };
    let warm_up = load::cut(0, options.warm_up, options, &mut body);
    let requests = load::cut(options.warm_up, options.transactions, options, &mut body);
    Ok(Load {
        genesis: BTreeMap::from([("ethereum".to_owned(), genesis)]),
        warm_up,
        requests,
        hashes,
        expected: None,
    })
}

/// The next transaction of a connection: its senders take turns.
fn next(options: &Options, accounts: &[Account], lane: usize, sent: &mut usize) -> Bytes {
    let own = (accounts.len() - lane).div_ceil(options.connections);
    let (turn, nonce) = (*sent % own, *sent / own);
    *sent += 1;
    let sender = lane + turn * options.connections;
    let receiver = accounts[(sender + 1) % accounts.len()].address;
    let (to, value, gas_limit, input) = match options.workload {
        Workload::Erc20 => {
            let input = token::transfer(&receiver, U256::ONE);
            (token::ADDRESS, U256::ZERO, TOKEN_GAS, input)
        }
        _ => (receiver, U256::ONE, 21_000, Input::new()),
    };
    accounts[sender].sign(TxEip1559 {
        chain_id: CHAIN_ID,
        nonce: nonce as u64, // as wide
        gas_limit,
        max_fee_per_gas: FEE_MAX_WEI,
        max_priority_fee_per_gas: 0,
        to: TxKind::Call(to),
        value,
        input,
        ..TxEip1559::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use adapter_ethereum::{Settings, Transaction};
    use alloy_consensus::Transaction as _;
    use alloy_eips::Decodable2718;
    use std::collections::BTreeSet;

    fn options(workload: Workload, senders: usize) -> Options {
        Options {
            workload,
            transactions: 12,
            warm_up: 2,
            batch: 3,
            connections: 3,
            in_flight: 1,
            via: crate::Via::All,
            rate: None,
            senders,
            value_bytes: 0,
            data: None,
        }
    }

    #[test]
    fn the_protocol_admits_what_is_sent_and_nonces_of_a_sender_stay_on_one_connection() {
        for workload in [Workload::Transfer, Workload::Erc20] {
            let load = prepare(&options(workload, 4)).expect("prepared");
            let settings = Settings::parse(load.genesis["ethereum"].as_bytes()).expect("usable");
            let mut next: BTreeMap<Address, (usize, u64)> = BTreeMap::new();
            let mut hashes = Vec::new();
            for request in load.warm_up.iter().chain(&load.requests) {
                let text = String::from_utf8(request.bytes.to_vec()).expect("text");
                for raw in text.split("[\"0x").skip(1) {
                    let raw = raw.split('"').next().expect("a string");
                    let raw = Bytes::from(hex::decode(raw).expect("hexadecimal"));
                    let transaction = Transaction::admit(&raw, &settings.rules).expect("admitted");
                    assert!(settings.alloc.contains_key(&transaction.sender));
                    let (lane, nonce) = next.entry(transaction.sender).or_insert((request.lane, 0));
                    let envelope = TxEnvelope::decode_2718(&mut raw.as_ref()).expect("as sent");
                    assert_eq!((*lane, *nonce), (request.lane, envelope.nonce()));
                    *nonce += 1;
                    hashes.push(transaction.hash.0);
                }
            }
            assert_eq!(hashes, load.hashes);
            assert_eq!(next.len(), 4);
        }
    }

    #[test]
    fn with_enough_senders_each_sends_once() {
        let accounts: BTreeSet<Address> = (0..14).map(|n| Account::number(n).address).collect();
        assert_eq!(accounts.len(), 14);
        let load = prepare(&options(Workload::Transfer, 1000)).expect("prepared");
        let settings = Settings::parse(load.genesis["ethereum"].as_bytes()).expect("usable");
        assert_eq!(settings.alloc.len(), 14);
    }
}
