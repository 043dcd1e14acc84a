//! What executing a transaction left, as the ledger keeps it.
//!
//! ```text
//! receipt  = version (1: 1) flags (1) gas used (8) [created address (20)] logs reason
//! logs     = count (4) log*
//! log      = address (20) topic count (1) topic (32)* length (4) data
//! reason   = length (4) bytes      revert data, or the name of what halted the EVM
//! ```
//! Numbers are big-endian. Flags: 1 success, 2 created a contract, 4 halted (out of gas and the
//! like). Output of a success is not kept: nobody can ask for it later.

use alloy_consensus::{Eip658Value, ReceiptEnvelope, ReceiptWithBloom, TxType};
use alloy_primitives::{Address, B256, Log, LogData};
use bytes::{BufMut, Bytes, BytesMut};
use revm::context::result::{ExecutionResult, Output};

const VERSION: u8 = 1;
const FLAG_SUCCESS: u8 = 1;
const FLAG_CREATED: u8 = 2;
const FLAG_HALTED: u8 = 4;

/// How an executed transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Success,
    /// The contract said no; its data.
    Reverted(Bytes),
    /// The EVM stopped it; why, in words.
    Halted(String),
}

/// A receipt, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub status: Status,
    pub gas_used: u64,
    pub created: Option<Address>,
    pub logs: Vec<Log>,
}

impl Receipt {
    /// True if the transaction did what it was to do.
    pub fn success(&self) -> bool {
        self.status == Status::Success
    }

    /// Of an execution's result.
    pub fn of(result: ExecutionResult) -> Self {
        let gas_used = result.tx_gas_used();
        match result {
            ExecutionResult::Success { logs, output, .. } => Self {
                status: Status::Success,
                gas_used,
                created: match output {
                    Output::Create(_, address) => address,
                    Output::Call(_) => None,
                },
                logs,
            },
            // A failed transaction's logs are void.
            ExecutionResult::Revert { output, .. } => Self {
                status: Status::Reverted(output.0),
                gas_used,
                created: None,
                logs: Vec::new(),
            },
            ExecutionResult::Halt { reason, .. } => Self {
                status: Status::Halted(format!("{reason:?}")),
                gas_used,
                created: None,
                logs: Vec::new(),
            },
        }
    }

    /// As Ethereum's receipts trie has it.
    pub(crate) fn envelope(&self, kind: TxType, cumulative_gas_used: u64) -> ReceiptEnvelope {
        let receipt = ReceiptWithBloom::from(alloy_consensus::Receipt {
            status: Eip658Value::Eip658(self.success()),
            cumulative_gas_used,
            logs: self.logs.clone(),
        });
        ReceiptEnvelope::from_typed(kind, receipt)
    }

    /// As drawn above.
    pub fn encode(&self) -> Bytes {
        let (mut flags, reason): (u8, &[u8]) = match &self.status {
            Status::Success => (FLAG_SUCCESS, &[]),
            Status::Reverted(data) => (0, data),
            Status::Halted(reason) => (FLAG_HALTED, reason.as_bytes()),
        };
        if self.created.is_some() {
            flags |= FLAG_CREATED;
        }
        let logs: usize = self
            .logs
            .iter()
            .map(|log| 25 + 32 * log.data.topics().len() + log.data.data.len())
            .sum();
        let mut out = BytesMut::with_capacity(38 + logs + reason.len());
        out.put_u8(VERSION);
        out.put_u8(flags);
        out.put_u64(self.gas_used);
        if let Some(address) = &self.created {
            out.put_slice(address.as_slice());
        }
        out.put_u32(length(self.logs.len()));
        for log in &self.logs {
            out.put_slice(log.address.as_slice());
            out.put_u8(
                u8::try_from(log.data.topics().len()).expect("the EVM gives at most four topics"),
            );
            for topic in log.data.topics() {
                out.put_slice(topic.as_slice());
            }
            out.put_u32(length(log.data.data.len()));
            out.put_slice(&log.data.data);
        }
        out.put_u32(length(reason.len()));
        out.put_slice(reason);
        out.freeze()
    }

    /// Reads what [`Receipt::encode`] wrote; `None` if it did not. Data shares `bytes`.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let mut from = Cursor { bytes, at: 0 };
        if from.byte()? != VERSION {
            return None;
        }
        let flags = from.byte()?;
        let gas_used = u64::from_be_bytes(from.array()?);
        let created = if flags & FLAG_CREATED != 0 {
            Some(Address::from(from.array()?))
        } else {
            None
        };
        let count = from.length()?;
        // Each log takes at least 25 bytes, so a false count cannot size anything.
        if count > from.rest() / 25 {
            return None;
        }
        let mut logs = Vec::with_capacity(count);
        for _ in 0..count {
            let address = Address::from(from.array()?);
            let topics = (0..from.byte()?.min(5))
                .map(|_| from.array().map(B256::from))
                .collect::<Option<_>>()?;
            let data = from.slice()?;
            logs.push(Log {
                address,
                data: LogData::new(topics, data.into())?,
            });
        }
        let reason = from.slice()?;
        if from.rest() != 0 {
            return None;
        }
        let status = if flags & FLAG_SUCCESS != 0 {
            Status::Success
        } else if flags & FLAG_HALTED != 0 {
            Status::Halted(String::from_utf8(reason.to_vec()).ok()?)
        } else {
            Status::Reverted(reason)
        };
        Some(Self {
            status,
            gas_used,
            created,
            logs,
        })
    }
}

/// Lengths are bounded by gas, far below 4 GiB.
fn length(n: usize) -> u32 {
    u32::try_from(n).expect("gas bounds logs and return data far below 4 GiB")
}

struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let found = *self.bytes[self.at..].first_chunk()?;
        self.at += N;
        Some(found)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn length(&mut self) -> Option<usize> {
        // u32 fits into usize on every machine that runs this.
        self.array().map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    fn slice(&mut self) -> Option<Bytes> {
        let length = self.length()?;
        if length > self.rest() {
            return None;
        }
        let found = self.bytes.slice(self.at..self.at + length);
        self.at += length;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logs() -> impl Strategy<Value = Vec<Log>> {
        let log = (
            any::<[u8; 20]>(),
            prop::collection::vec(any::<[u8; 32]>(), 0..=4),
            any::<Vec<u8>>(),
        );
        prop::collection::vec(
            log.prop_map(|(address, topics, data)| {
                Log::new_unchecked(
                    Address::from(address),
                    topics.into_iter().map(B256::from).collect(),
                    data.into(),
                )
            }),
            0..4,
        )
    }

    proptest! {
        #[test]
        fn receipts_return(logs in logs(), created: Option<[u8; 20]>, gas_used: u64, which in 0..3, reason: Vec<u8>) {
            let status = match which {
                0 => Status::Success,
                1 => Status::Reverted(reason.into()),
                _ => Status::Halted("OutOfGas".into()),
            };
            let receipt = Receipt { status, gas_used, created: created.map(Address::from), logs };
            prop_assert_eq!(Receipt::decode(&receipt.encode()), Some(receipt));
        }

        #[test]
        fn any_bytes_decode_without_a_panic(mut bytes: Vec<u8>) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = Receipt::decode(&bytes.into());
        }
    }

    #[test]
    fn the_encoding_is_fixed() {
        let receipt = Receipt {
            status: Status::Reverted(Bytes::from_static(&[0xab])),
            gas_used: 0x1234,
            created: None,
            logs: vec![Log::new_unchecked(
                Address::repeat_byte(1),
                vec![B256::repeat_byte(2)],
                vec![9].into(),
            )],
        };
        assert_eq!(
            hex::encode(receipt.encode()),
            format!(
                "0100{:016x}00000001{}01{}0000000109{}",
                0x1234,
                "01".repeat(20),
                "02".repeat(32),
                "00000001ab"
            )
        );
    }
}
