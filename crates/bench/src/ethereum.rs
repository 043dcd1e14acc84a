//! Transfers of ether and of a token: accounts, genesis, signed transactions.
//!
//! Keys are Keccak-256 of a text and a number: everybody can derive them, and only a network that is
//! made for a measurement funds them. Each connection has senders of its own, so that nonces of one
//! sender arrive in order whatever connections do to one another.

use std::collections::BTreeMap;

use alloy_consensus::{SignableTransaction, Signed, TxEip1559, TxEnvelope, TxLegacy};
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

/// Accounts whose balance is asked for by calls.
const CALLED_MAX: usize = 1000;

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

    fn sign<T>(&self, transaction: T) -> Bytes
    where
        T: SignableTransaction<Signature>,
        TxEnvelope: From<Signed<T>>,
    {
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

/// Accounts that send, and what each of them sends in which order.
pub(crate) struct Senders<'a> {
    options: &'a Options,
    accounts: Vec<Account>,
}

impl<'a> Senders<'a> {
    /// At least one for each connection, at most `count`.
    pub(crate) fn new(options: &'a Options, count: usize) -> Self {
        let senders = options.senders.min(count).max(options.connections);
        Self {
            options,
            accounts: (0..senders).map(Account::number).collect(),
        }
    }

    pub(crate) fn addresses(&self) -> impl ExactSizeIterator<Item = Address> {
        self.accounts.iter().map(|account| account.address)
    }

    /// Who sends transaction `number` of a connection, and with which nonce: its senders take turns.
    pub(crate) fn turn(&self, lane: usize, number: usize) -> (usize, u64) {
        let own = (self.accounts.len() - lane).div_ceil(self.options.connections);
        let sender = lane + number % own * self.options.connections;
        let first = self.options.form.nonces.get(sender).copied();
        (sender, first.unwrap_or(0) + (number / own) as u64) // as wide
    }

    /// Transaction `number` of a connection, signed.
    pub(crate) fn transaction(&self, lane: usize, number: usize) -> Bytes {
        let (sender, nonce) = self.turn(lane, number);
        let form = &self.options.form;
        let receiver = self.accounts[(sender + 1) % self.accounts.len()].address;
        let (to, value, gas_limit, input) = match self.options.workload {
            Workload::Erc20 => {
                let input = token::transfer(&receiver, U256::ONE);
                (token::ADDRESS, U256::ZERO, TOKEN_GAS, input)
            }
            _ => (receiver, U256::ONE, 21_000, Input::new()),
        };
        let to = TxKind::Call(to);
        match form.gas_price_wei {
            None => self.accounts[sender].sign(TxEip1559 {
                chain_id: form.chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: FEE_MAX_WEI,
                max_priority_fee_per_gas: 0,
                to,
                value,
                input,
                ..TxEip1559::default()
            }),
            Some(gas_price) => self.accounts[sender].sign(TxLegacy {
                chain_id: Some(form.chain_id),
                nonce,
                gas_limit,
                gas_price,
                to,
                value,
                input,
            }),
        }
    }

    /// What the accounts, and the token where there is one, have in the first block.
    pub(crate) fn alloc(&self) -> Result<Map<String, Value>, Problem> {
        let mut alloc: Map<String, Value> = self
            .addresses()
            .map(|address| (address.to_string(), json!({ "balance": BALANCE_WEI })))
            .collect();
        if self.options.workload != Workload::Transfer {
            let contract = token::genesis(&load::data(self.options), &self.accounts)?;
            alloc.insert(token::ADDRESS.to_string(), contract);
        }
        Ok(alloc)
    }

    /// Settings of a network that is made for this measurement.
    pub(crate) fn genesis(&self) -> Result<BTreeMap<String, String>, Problem> {
        let mut settings = json!({ "chainId": CHAIN_ID, "alloc": self.alloc()? });
        if self.options.confidential {
            // The limits would end a measurement: one actor asks for everything here.
            settings["profile"] = json!({ "confidential": { "unchecked": "public", "limits": {
                "callsPerSecond": u32::MAX, "simulationGasPerSecond": u64::MAX >> 1,
            }}});
        }
        Ok(BTreeMap::from([(
            "ethereum".to_owned(),
            settings.to_string(),
        )]))
    }
}

/// Calls of `balanceOf`, with the accounts taking turns.
pub(crate) fn calls(options: &Options) -> Result<Load, Problem> {
    let senders = Senders::new(options, CALLED_MAX);
    let accounts = &senders.accounts;
    let mut body = |_: usize, places: std::ops::Range<usize>| {
        let params = places.map(|place| {
            let input = token::balance_of(&accounts[place % accounts.len()].address);
            format!(r#"{{"to":"{}","data":"{input}"}},"latest""#, token::ADDRESS)
        });
        load::calls(&options.form.path, "eth_call", params)
    };
    Ok(Load {
        genesis: senders.genesis()?,
        warm_up: load::cut(0, options.warm_up, options, &mut body),
        requests: load::cut(options.warm_up, options.transactions, options, &mut body),
        ..Load::default()
    })
}

pub(crate) fn prepare(options: &Options) -> Result<Load, Problem> {
    let count = options.warm_up + options.transactions;
    let senders = Senders::new(options, count);
    let mut sent = vec![0; options.connections];
    let mut hashes = Vec::with_capacity(count);
    let mut body = |lane: usize, places: std::ops::Range<usize>| {
        let raw: Vec<Bytes> = places
            .map(|_| {
                let raw = senders.transaction(lane, sent[lane]);
                sent[lane] += 1;
                hashes.push(keccak256(&raw).0);
                raw
            })
            .collect();
        load::send_raw(&options.form.path, raw.iter())
    };
    let warm_up = load::cut(0, options.warm_up, options, &mut body);
    let requests = load::cut(options.warm_up, options.transactions, options, &mut body);
    Ok(Load {
        genesis: senders.genesis()?,
        warm_up,
        requests,
        hashes,
        expected: None,
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
            warm_up: 2,
            batch: 3,
            connections: 3,
            senders,
            ..Options::new(workload, 12)
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
    fn an_older_node_gets_legacy_transactions_that_go_on_where_its_nonces_are() {
        let mut options = options(Workload::Transfer, 3);
        options.form = crate::Form {
            chain_id: 1337,
            gas_price_wei: Some(7),
            nonces: vec![5, 9],
            ..crate::Form::default()
        };
        let senders = Senders::new(&options, 14);
        for (lane, number, nonce) in [(0, 0, 5), (0, 1, 6), (1, 2, 11), (2, 0, 0)] {
            let raw = senders.transaction(lane, number);
            let envelope = TxEnvelope::decode_2718(&mut raw.as_ref()).expect("as sent");
            assert!(envelope.is_legacy());
            assert_eq!(envelope.nonce(), nonce);
            assert_eq!(
                (envelope.chain_id(), envelope.gas_price()),
                (Some(1337), Some(7))
            );
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
