//! Signed transactions: from bytes to something that can be executed.
//!
//! EIP-2718 envelopes of types 0 (EIP-155), 1, 2 and 4; blobs (type 3) only under replay rules.
//! Senders are recovered with libsecp256k1, once, on the validating node that receives the
//! transaction; everybody else is told the address ([`adapter::Ticket::established`]).

use adapter::{Kind, Reject};
use alloy_consensus::{EthereumTxEnvelope, Transaction as _, TxEip4844};
use alloy_eips::Decodable2718;
use alloy_eips::eip7702::{RecoveredAuthority, RecoveredAuthorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Signature, U256, keccak256};
use bytes::Bytes;
use revm::context::TxEnv;
use revm::context_interface::either::Either;
use revm::context_interface::transaction::AccessList;
use revm::primitives::TxKind;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, SECP256K1};

use crate::settings::{Fork, Rules};

/// An EIP-2718 envelope without blob sidecars.
pub type Envelope = EthereumTxEnvelope<TxEip4844>;

/// Longest transaction: what geth's pool takes (4 slots of 32 KiB), enough for the largest init code.
pub const TRANSACTION_BYTES_MAX: usize = 128 << 10;

/// Most entries of an authorization list: each costs a signature recovery before gas is charged.
const AUTHORIZATIONS_MAX: usize = 256;

/// Half the order of secp256k1. EIP-2: a signature's s may not be larger.
pub(crate) const HALF_ORDER: U256 = U256::from_limbs([
    0xdfe9_2f46_681b_20a0,
    0x5d57_6e73_57a4_501d,
    0xffff_ffff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
]);

/// A decoded transaction with its sender.
#[derive(Debug)]
pub struct Transaction {
    pub hash: B256,
    pub sender: Address,
    pub envelope: Envelope,
    /// The same for the EVM, under the rules it was decoded for.
    pub(crate) env: TxEnv,
}

impl Transaction {
    /// Decodes and recovers the sender.
    ///
    /// # Errors
    /// [`Reject`] of kind `Malformed` or `Invalid`: the transaction can never be executed here.
    pub fn admit(raw: &Bytes, rules: &Rules) -> Result<Self, Reject> {
        let envelope = decode(raw, rules)?;
        let signature = signature(&envelope);
        if signature.s() > HALF_ORDER && rules.fork >= Fork::Homestead {
            return Err(malformed(
                "invalid signature: s is above half the group order (EIP-2)",
            ));
        }
        if envelope.is_legacy()
            && envelope.chain_id().is_some()
            && rules.fork < Fork::SpuriousDragon
        {
            return Err(malformed(
                "invalid signature: this fork does not know of chain ids (EIP-155)",
            ));
        }
        let sender = recover(signature, envelope.signature_hash())
            .ok_or_else(|| malformed("invalid signature: no sender can be recovered"))?;
        Ok(Self::assemble(raw, envelope, sender, rules))
    }

    /// Decodes a transaction whose sender another validating node recovered.
    ///
    /// # Errors
    /// As [`Transaction::admit`].
    pub fn established(raw: &Bytes, sender: Address, rules: &Rules) -> Result<Self, Reject> {
        Ok(Self::assemble(raw, decode(raw, rules)?, sender, rules))
    }

    fn assemble(raw: &Bytes, envelope: Envelope, sender: Address, rules: &Rules) -> Self {
        let env = environment(&envelope, sender, rules);
        Self {
            hash: keccak256(raw),
            sender,
            envelope,
            env,
        }
    }
}

fn malformed(text: impl Into<String>) -> Reject {
    Reject::new(Kind::Malformed, text)
}

/// Reads an envelope and checks what needs no state and no signature.
pub(crate) fn decode(raw: &[u8], rules: &Rules) -> Result<Envelope, Reject> {
    if raw.len() > TRANSACTION_BYTES_MAX && rules.replay.is_none() {
        return Err(malformed(format!(
            "oversized data: transaction size {}, limit {TRANSACTION_BYTES_MAX}",
            raw.len()
        )));
    }
    if rules.replay.is_none() && raw.first() == Some(&3) {
        return Err(Reject::new(
            Kind::Invalid,
            "transaction type not supported: this network has no blobs",
        ));
    }
    let envelope = Envelope::decode_2718_exact(raw)
        .map_err(|e| malformed(format!("cannot decode the transaction: {e}")))?;
    if rules.replay.is_some() {
        return Ok(envelope);
    }
    match envelope.chain_id() {
        None => {
            return Err(malformed(
                "only replay-protected (EIP-155) transactions allowed over RPC",
            ));
        }
        Some(id) if id != rules.chain_id => {
            return Err(Reject::new(
                Kind::Invalid,
                format!(
                    "invalid chain id for signer: have {id} want {}",
                    rules.chain_id
                ),
            ));
        }
        Some(_) => {}
    }
    if envelope.gas_limit() > rules.transaction_gas_max() {
        return Err(Reject::new(
            Kind::Invalid,
            format!(
                "transaction gas limit too high (cap: {}, tx: {})",
                rules.transaction_gas_max(),
                envelope.gas_limit()
            ),
        ));
    }
    if let Some(tip) = envelope.max_priority_fee_per_gas()
        && tip > envelope.max_fee_per_gas()
    {
        return Err(Reject::new(
            Kind::Invalid,
            format!(
                "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, maxFeePerGas: {}",
                envelope.max_fee_per_gas()
            ),
        ));
    }
    if envelope.nonce() == u64::MAX {
        // EIP-2681.
        return Err(Reject::new(
            Kind::Invalid,
            "nonce has max value: 18446744073709551615",
        ));
    }
    match envelope.authorization_list().map(<[_]>::len) {
        Some(0) => Err(Reject::new(
            Kind::Invalid,
            "EIP-7702 transaction with empty auth list",
        )),
        Some(n) if n > AUTHORIZATIONS_MAX => Err(Reject::new(
            Kind::Invalid,
            format!("authorization list has {n} entries, limit {AUTHORIZATIONS_MAX}"),
        )),
        _ => Ok(envelope),
    }
}

pub(crate) fn signature(envelope: &Envelope) -> &Signature {
    match envelope {
        Envelope::Legacy(tx) => tx.signature(),
        Envelope::Eip2930(tx) => tx.signature(),
        Envelope::Eip1559(tx) => tx.signature(),
        Envelope::Eip4844(tx) => tx.signature(),
        Envelope::Eip7702(tx) => tx.signature(),
    }
}

/// The address whose key signed `hash`.
pub(crate) fn recover(signature: &Signature, hash: B256) -> Option<Address> {
    let mut compact = [0; 64];
    compact[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    compact[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    let id = RecoveryId::try_from(i32::from(signature.v())).ok()?;
    let signature = RecoverableSignature::from_compact(&compact, id).ok()?;
    let key = SECP256K1
        .recover_ecdsa(Message::from_digest(hash.0), &signature)
        .ok()?;
    Some(Address::from_raw_public_key(
        &key.serialize_uncompressed()[1..],
    ))
}

/// EIP-7702: an authority that cannot be recovered makes its tuple void, not the transaction.
fn authority(authorization: &SignedAuthorization) -> RecoveredAuthority {
    authorization
        .signature()
        .ok()
        .filter(|signature| signature.s() <= HALF_ORDER)
        .and_then(|signature| recover(&signature, authorization.signature_hash()))
        .map_or(RecoveredAuthority::Invalid, RecoveredAuthority::Valid)
}

/// An authorization with the authority that signed it.
pub(crate) fn recovered(signed: &SignedAuthorization) -> RecoveredAuthorization {
    RecoveredAuthorization::new_unchecked(signed.inner().clone(), authority(signed))
}

fn environment(envelope: &Envelope, sender: Address, rules: &Rules) -> TxEnv {
    // A network charges no fees: the EVM sees a price of zero, whatever the signer offered.
    let charged = rules.replay.is_some();
    let tip = envelope.max_priority_fee_per_gas();
    TxEnv {
        tx_type: envelope.tx_type() as u8,
        caller: sender,
        gas_limit: envelope.gas_limit(),
        gas_price: if charged {
            envelope.max_fee_per_gas()
        } else {
            0
        },
        kind: match envelope.to() {
            Some(to) => TxKind::Call(to),
            None => TxKind::Create,
        },
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        access_list: envelope
            .access_list()
            .cloned()
            .unwrap_or_else(|| AccessList(Vec::new())),
        gas_priority_fee: if charged { tip } else { tip.map(|_| 0) },
        blob_hashes: envelope
            .blob_versioned_hashes()
            .map(<[_]>::to_vec)
            .unwrap_or_default(),
        max_fee_per_blob_gas: envelope.max_fee_per_blob_gas().unwrap_or_default(),
        authorization_list: envelope
            .authorization_list()
            .unwrap_or_default()
            .iter()
            .map(|signed| Either::Right(recovered(signed)))
            .collect(),
    }
}
