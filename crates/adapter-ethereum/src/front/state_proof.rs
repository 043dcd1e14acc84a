//! `eth_getProof`: Merkle-Patricia proofs of accounts and slots, where a network's roots are plain.

use adapter::Context;
use alloy_consensus::constants::{EMPTY_ROOT_HASH, KECCAK_EMPTY};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable as _;
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::Session;
use super::envelope::{RpcError, Stop};
use super::json::{lower, quantity};
use super::lookup::find;
use super::params::{BlockId, Params, Slot};
use crate::settings::{Roots, Rules};
use crate::trie::Trie;

/// Most slots of one call.
const SLOTS_MAX: usize = 1024;

/// The account, and the proofs against the block's `stateRoot`. Nodes of tries are never deleted, so every
/// block whose header is found has its proofs.
pub(crate) fn answer(
    _: &Session,
    context: &mut dyn Context,
    rules: &Rules,
    params: &Params<'_>,
) -> Result<Value, Stop> {
    if rules.roots != Roots::Plain {
        return Err(RpcError::new(
            -32004,
            "eth_getProof is not available on this network: its roots are keyed commitments; coco_getReceipt gives proofs",
        )
        .into());
    }
    let address: Address = params.required(0)?;
    let slots: Vec<Key> = params.optional(1)?.unwrap_or_default();
    if slots.len() > SLOTS_MAX {
        let text = format!("too many slots: at most {SLOTS_MAX} in one call");
        return Err(RpcError::invalid_params(text).into());
    }
    let id: Option<BlockId> = params.optional(2)?;
    let block = find(context, id.unwrap_or(BlockId::Head))?
        .ok_or_else(|| RpcError::server("header not found"))?;
    let trie = Trie::new(context.view());
    let root = block.header.state_root;
    let (proof, _) = trie.prove(root, &keccak256(address))?;
    let account = trie.account(root, &address)?;
    let storage_root = account.map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
    let mut shown = Vec::with_capacity(slots.len());
    for Key { slot, is_whole } in slots {
        let (proof, value) = trie.prove(storage_root, &keccak256(B256::from(slot)))?;
        // As it was asked for: all 32 bytes, or a number.
        let key = if is_whole {
            json!(B256::from(slot))
        } else {
            quantity(slot)
        };
        let value = match value {
            Some(rlp) => U256::decode(&mut rlp.as_slice()).map_err(|_| adapter::Lost)?,
            None => U256::ZERO,
        };
        shown.push(json!({"key": key, "value": quantity(value), "proof": texts(proof)}));
    }
    Ok(json!({
        "address": lower(&address),
        "accountProof": texts(proof),
        "balance": quantity(account.map_or(U256::ZERO, |account| account.balance)),
        "codeHash": account.map_or(KECCAK_EMPTY, |account| account.code_hash),
        "nonce": quantity(account.map_or(0, |account| account.nonce)),
        "storageHash": storage_root,
        "storageProof": shown,
    }))
}

/// A slot, and whether it was written with all of its bytes.
struct Key {
    slot: U256,
    is_whole: bool,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let is_whole = text.len() == 66;
        let Slot(slot) = Slot::deserialize(text.into_deserializer())?;
        Ok(Self { slot, is_whole })
    }
}

fn texts(proof: Vec<bytes::Bytes>) -> Vec<Bytes> {
    proof.into_iter().map(Bytes::from).collect()
}
