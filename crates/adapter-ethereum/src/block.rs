//! Blocks without mining: one block is one committed batch.
//!
//! A header has every field that Ethereum's has and its hash is Keccak-256 of its RLP, so clients
//! can check it. But the roots are *keyed commitments*: a plain receipts root of a block with one
//! transaction would let anybody confirm a guess about it. For the same reason the bloom is zero
//! and gas used is zero; both live where they are asked for under a policy.
//!
//! ```text
//! commitment(label, parts) = keccak256(key ‖ len(label) ‖ label ‖ (len(part) ‖ part)*)
//! transactionsRoot         = commitment("transactions", number, hashes)
//! receiptsRoot             = commitment("receipts", number, receipts)
//! stateRoot                = commitment("state", parent's stateRoot, number, transactionsRoot, receiptsRoot)
//! ```
//! A network of the setting `roots: plain` has Ethereum's own roots, gas used and bloom instead: everything
//! there is public, and [`crate::trie`] keeps what they are the roots of.
//!
//! The number is there so that two blocks with equal receipts do not show that they are equal.
//! Keccak is a sponge, so a key in front makes a sound authentication code. The state root commits
//! to the state through the history that led to it: execution is deterministic.

use adapter::{Batch, Exec, Filed, Lost, Outcome, Unit, View};
use alloy_consensus::Header;
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH};
use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_eips::Decodable2718;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B256, Bloom, Keccak256, Log, keccak256};
use alloy_rlp::Decodable;
use bytes::{BufMut, Bytes, BytesMut};
use types::{Digest, Height};

use crate::past;
use crate::receipt::Receipt;
use crate::settings::{Fork, Roots, Rules};
use crate::state::{HEADER, META, META_KEY};
use crate::transaction::Envelope;
use crate::trie;

/// Blocks whose headers are kept in the state besides the genesis: as far back as BLOCKHASH sees from the
/// head, which is where calls run, and the head.
pub(crate) const HEADERS_KEPT: u64 = 257;

/// A header and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub hash: B256,
    pub header: Header,
}

/// The block of this number, if it is the genesis or one of the latest.
///
/// # Errors
/// [`Lost`]: the state is gone.
pub fn header(view: &dyn View, number: u64) -> Result<Option<Stored>, Lost> {
    Ok(view.get(HEADER, &number.to_be_bytes())?.map(|bytes| {
        let (hash, mut rlp) = bytes.split_at(32);
        let header = Header::decode(&mut rlp).expect("headers are written by this adapter only");
        Stored {
            hash: B256::from_slice(hash),
            header,
        }
    }))
}

/// The hash of the block of this number, if it is the genesis or one of the latest.
pub(crate) fn hash_at(view: &dyn View, number: u64) -> Result<Option<B256>, Lost> {
    Ok(view
        .get(HEADER, &number.to_be_bytes())?
        .map(|bytes| B256::from_slice(&bytes[..32])))
}

/// The header from a batch's claim.
pub(crate) fn of_claim(batch: &Batch) -> Option<Stored> {
    let header = Header::decode(&mut batch.claim.bytes.as_ref()).ok()?;
    Some(Stored {
        hash: keccak256(&batch.claim.bytes),
        header,
    })
}

/// Writes block 0.
pub(crate) fn genesis(exec: &mut dyn Exec, rules: &Rules, timestamp: u64) {
    let entropy = exec.env().entropy;
    let key = keccak256([b"coco ethereum roots v1".as_slice(), &entropy].concat());
    exec.put(
        META,
        META_KEY.into(),
        Bytes::copy_from_slice(key.as_slice()),
    );
    let number = exec.env().height.0;
    let mut header = blank(rules, number, timestamp);
    header.state_root = commitment(
        &key,
        "state",
        [B256::ZERO.as_slice(), &number.to_be_bytes()],
    );
    header.transactions_root = EMPTY_ROOT_HASH;
    header.receipts_root = EMPTY_ROOT_HASH;
    store(exec, &header);
}

/// Where roots are plain: gives block 0 the root of the first state, once that is whole.
pub(crate) fn settle_genesis(exec: &mut dyn Exec, rules: &Rules) -> Result<(), Lost> {
    if rules.roots == Roots::Plain {
        let number = exec.env().height.0;
        let mut header = header(exec.view(), number)?.ok_or(Lost)?.header;
        header.state_root = trie::root(exec.view())?;
        store(exec, &header);
    }
    Ok(())
}

/// The header's parts that tell of everything in the block, as in Ethereum.
fn plain(
    header: &mut Header,
    exec: &dyn Exec,
    units: &[Unit],
    outcomes: &[Outcome],
) -> Result<(), Lost> {
    let mut envelopes = Vec::with_capacity(units.len());
    let mut receipts = Vec::with_capacity(units.len());
    for (unit, outcome) in units.iter().zip(outcomes) {
        let Outcome::Applied { receipt } = outcome else {
            continue;
        };
        let receipt = Receipt::decode(receipt).expect("receipts are written by this adapter only");
        let envelope =
            Envelope::decode_2718_exact(&unit.raw).expect("it was admitted and executed");
        header.gas_used += receipt.gas_used;
        receipts.push(receipt.envelope(envelope.tx_type(), header.gas_used));
        envelopes.push(envelope);
    }
    header.logs_bloom = receipts
        .iter()
        .fold(Bloom::ZERO, |all, receipt| all | *receipt.logs_bloom());
    header.transactions_root = calculate_transaction_root(&envelopes);
    header.receipts_root = calculate_receipt_root(&receipts);
    header.state_root = trie::root(exec.view())?;
    Ok(())
}

/// Closes the batch that `exec` holds and returns the RLP of its header.
pub(crate) fn seal(
    exec: &mut dyn Exec,
    rules: &Rules,
    timestamp: u64,
    units: &[Unit],
    outcomes: &[Outcome],
) -> Result<Bytes, Lost> {
    let number = exec.env().height.0;
    let key = B256::from_slice(&exec.get(META, META_KEY)?.expect("genesis writes the key"));
    let parent = header(exec.view(), number - 1)?.expect("every block has its parent");

    let receipts = || {
        outcomes.iter().map(|outcome| match outcome {
            Outcome::Applied { receipt } => receipt,
            Outcome::Rejected(_) | Outcome::Suspended(_) => {
                unreachable!("a batch holds applied units only")
            }
        })
    };
    let place = number.to_be_bytes();
    let placed = || std::iter::once(place.as_slice());
    let hashes = units.iter().map(|unit| unit.id.as_ref());
    let transactions = commitment(&key, "transactions", placed().chain(hashes));
    let results = receipts().map(|bytes| bytes.as_ref());
    let results = commitment(&key, "receipts", placed().chain(results));

    let mut header = blank(rules, number, timestamp);
    header.parent_hash = parent.hash;
    header.transactions_root = transactions;
    header.receipts_root = results;
    let parts: [&[u8]; 4] = [
        parent.header.state_root.as_slice(),
        &number.to_be_bytes(),
        transactions.as_slice(),
        results.as_slice(),
    ];
    header.state_root = commitment(&key, "state", parts);
    if rules.roots == Roots::Plain {
        plain(&mut header, exec, units, outcomes)?;
    }
    past::forget(rules, exec);
    if let Some(old) = number
        .checked_sub(HEADERS_KEPT + rules.states_kept)
        .filter(|old| *old > 0)
    {
        exec.delete(HEADER, Bytes::copy_from_slice(&old.to_be_bytes()));
    }
    Ok(store(exec, &header))
}

/// By what a block is found again: its hash, and a filter over the addresses and topics of its logs.
pub(crate) fn file(batch: &Batch) -> Filed {
    let mut filter = LogFilter::default();
    for (_, receipt) in &batch.units {
        // A follower believes the leader's bytes; what cannot be read holds nothing to be found.
        if let Some(receipt) = Receipt::decode(receipt) {
            receipt.logs.iter().for_each(|log| filter.add(log));
        }
    }
    Filed {
        name: Some(Digest(keccak256(&batch.claim.bytes).0)),
        note: filter.encode().unwrap_or_default(),
    }
}

fn blank(rules: &Rules, number: u64, timestamp: u64) -> Header {
    let since = |fork| rules.fork >= fork;
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        number,
        gas_limit: rules.gas_limit,
        timestamp,
        base_fee_per_gas: since(Fork::London).then_some(0),
        withdrawals_root: since(Fork::Shanghai).then_some(EMPTY_ROOT_HASH),
        blob_gas_used: since(Fork::Cancun).then_some(0),
        excess_blob_gas: since(Fork::Cancun).then_some(0),
        parent_beacon_block_root: since(Fork::Cancun).then_some(B256::ZERO),
        requests_hash: since(Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

fn store(exec: &mut dyn Exec, header: &Header) -> Bytes {
    let rlp = Bytes::from(alloy_rlp::encode(header));
    let hash = keccak256(&rlp);
    let mut stored = BytesMut::with_capacity(32 + rlp.len());
    stored.put_slice(hash.as_slice());
    stored.put_slice(&rlp);
    let number = Bytes::copy_from_slice(&header.number.to_be_bytes());
    exec.put(HEADER, number, stored.freeze());
    rlp
}

fn commitment<'a>(key: &B256, label: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update(key);
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes()); // usize is at most 64 bits wide
        hasher.update(bytes);
    };
    field(label.as_bytes());
    parts.into_iter().for_each(field);
    hasher.finalize()
}

/// Seconds of the block at `height`: the ledger's time, never before the parent's.
pub(crate) fn timestamp(view: &dyn View, height: Height, now_ms: u64) -> Result<u64, Lost> {
    let parent = match height.0.checked_sub(1) {
        Some(number) => header(view, number)?.map_or(0, |stored| stored.header.timestamp),
        None => 0,
    };
    Ok(parent.max(now_ms / 1000))
}

/// A Bloom filter over the addresses and topics of a block's logs, filed with the block and never served, so that a search over many blocks opens only those that may hold a match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogFilter([u64; 32]);

/// Above this many set bits the whole filter is shorter than its list of bits.
const SPARSE_BITS_MAX: u32 = 127;

impl LogFilter {
    pub(crate) fn add(&mut self, log: &Log) {
        self.add_item(log.address.as_slice());
        for topic in log.data.topics() {
            self.add_item(topic.as_slice());
        }
    }

    fn add_item(&mut self, item: &[u8]) {
        for bit in bits(item) {
            self.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// False: no log of the block has `item` as its address or one of its topics.
    pub(crate) fn may_hold(&self, item: &[u8]) -> bool {
        bits(item)
            .into_iter()
            .all(|bit| self.0[bit / 64] & (1 << (bit % 64)) != 0)
    }

    /// `None`: no logs. A list of 16-bit bit numbers if that is shorter than 256 bytes.
    pub(crate) fn encode(&self) -> Option<Bytes> {
        let ones: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        if ones == 0 {
            return None;
        }
        let mut out = BytesMut::new();
        if ones > SPARSE_BITS_MAX {
            self.0.iter().for_each(|word| out.put_u64(*word));
        } else {
            for bit in
                (0..2048u16).filter(|bit| self.0[usize::from(bit / 64)] & (1 << (bit % 64)) != 0)
            {
                out.put_u16(bit);
            }
        }
        Some(out.freeze())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut words = [0; 32];
        if bytes.len() == 256 {
            for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *word = u64::from_be_bytes(*chunk);
            }
        } else {
            for chunk in bytes.as_chunks::<2>().0 {
                let bit = usize::from(u16::from_be_bytes(*chunk)) % 2048;
                words[bit / 64] |= 1 << (bit % 64);
            }
        }
        Self(words)
    }
}

/// Three bits of an item, by FNV-1a. A forged collision costs one needless look into a block.
fn bits(item: &[u8]) -> [usize; 3] {
    let hash = item.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = hash ^ (hash >> 29);
    [0, 11, 22].map(|shift| ((hash >> shift) & 2047) as usize) // eleven bits
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn log_filters_never_miss(items in prop::collection::vec(any::<[u8; 20]>(), 1..120)) {
            let mut filter = LogFilter::default();
            for item in &items {
                filter.add(&Log::new_unchecked(Address::from(*item), vec![], Default::default()));
            }
            let bytes = filter.encode().expect("not empty");
            prop_assert!(bytes.len() <= 256);
            let read = LogFilter::decode(&bytes);
            prop_assert_eq!(&read, &filter);
            prop_assert!(items.iter().all(|item| read.may_hold(item)));
        }
    }

    #[test]
    fn commitments_separate_their_parts() {
        let key = B256::repeat_byte(1);
        let of = |parts: &[&[u8]]| commitment(&key, "x", parts.iter().copied());
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[]), of(&[b""]));
        assert_ne!(of(&[b"a"]), commitment(&B256::ZERO, "x", [b"a".as_slice()]));
    }
}
