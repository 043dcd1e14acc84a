//! Arguments of JSON-RPC methods.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::envelope::RpcError;

/// Most arguments of one call; no method takes more than four.
const ARGUMENTS_MAX: usize = 16;

/// The arguments of one call.
#[derive(Debug)]
pub(crate) struct Params<'a>(Vec<&'a RawValue>);

impl<'a> Params<'a> {
    pub(crate) fn parse(raw: Option<&'a RawValue>) -> Result<Self, RpcError> {
        let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
            return Ok(Self(Vec::new()));
        };
        let list: Vec<&RawValue> = serde_json::from_str(raw.get())
            .map_err(|_| RpcError::invalid_params("non-array args: params must be an array"))?;
        if list.len() > ARGUMENTS_MAX {
            return Err(RpcError::invalid_params(format!(
                "too many arguments, want at most {ARGUMENTS_MAX}"
            )));
        }
        Ok(Self(list))
    }

    /// The argument at `i`, unless it is absent or null.
    pub(crate) fn optional<T: DeserializeOwned>(&self, i: usize) -> Result<Option<T>, RpcError> {
        match self.0.get(i) {
            Some(raw) if raw.get() != "null" => {
                serde_json::from_str(raw.get()).map(Some).map_err(|e| {
                    RpcError::invalid_params(format!("invalid argument {i}: {}", brief(&e)))
                })
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn required<T: DeserializeOwned>(&self, i: usize) -> Result<T, RpcError> {
        self.optional(i)?.ok_or_else(|| {
            RpcError::invalid_params(format!("missing value for required argument {i}"))
        })
    }

    /// A hexadecimal byte string, decoded without a detour.
    pub(crate) fn hex(&self, i: usize) -> Result<bytes::Bytes, RpcError> {
        let bad = |what| RpcError::invalid_params(format!("invalid argument {i}: {what}"));
        let raw = self.0.get(i).ok_or_else(|| {
            RpcError::invalid_params(format!("missing value for required argument {i}"))
        })?;
        let text = raw
            .get()
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .ok_or_else(|| bad("expected a hexadecimal string"))?;
        let digits = text
            .strip_prefix("0x")
            .ok_or_else(|| bad("hex string without 0x prefix"))?;
        // This decoder is fast, and would take a second prefix.
        let decoded = match digits.starts_with("0x") {
            true => None,
            false => alloy_primitives::hex::decode(digits).ok(),
        };
        decoded
            .map(Into::into)
            .ok_or_else(|| bad("not an even number of hexadecimal digits"))
    }
}

/// serde's message without its place in a text that the caller never saw.
fn brief(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((head, _)) => head.to_owned(),
        None => text,
    }
}

/// A number: 0x-hexadecimal text, or a plain JSON number as some clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantity(pub(crate) u64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = U256::deserialize(from)?;
        u64::try_from(value)
            .map(Self)
            .map_err(|_| D::Error::custom("number larger than 64 bits"))
    }
}

/// The key of a storage slot: up to 32 bytes as hexadecimal text, leading zeros or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(pub(crate) U256);

impl<'de> Deserialize<'de> for Slot {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        if digits.len() > 64 {
            return Err(D::Error::custom(
                "storage key too long (want at most 32 bytes)",
            ));
        }
        U256::from_str_radix(digits, 16)
            .map(Self)
            .map_err(|_| D::Error::custom("invalid hex in storage key"))
    }
}

/// Which block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockId {
    /// latest, safe, finalized and pending: only committed state is served.
    Head,
    Number(u64),
    Hash(B256),
}

impl<'de> Deserialize<'de> for BlockId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        /// EIP-1898.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Object {
            block_number: Option<String>,
            block_hash: Option<B256>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Number(u64),
            Object(Object),
        }
        let text = match Form::deserialize(from)? {
            Form::Number(number) => return Ok(Self::Number(number)),
            Form::Object(Object {
                block_hash: Some(hash),
                block_number: None,
            }) => return Ok(Self::Hash(hash)),
            Form::Object(Object {
                block_hash: None,
                block_number: Some(text),
            }) => text,
            Form::Object(_) => {
                return Err(D::Error::custom(
                    "expected blockHash or blockNumber, not both",
                ));
            }
            Form::Text(text) => text,
        };
        match text.as_str() {
            "latest" | "safe" | "finalized" | "pending" => Ok(Self::Head),
            "earliest" => Ok(Self::Number(0)),
            text => {
                let digits = text.strip_prefix("0x").filter(|digits| !digits.is_empty());
                let digits = digits.ok_or_else(|| {
                    D::Error::custom("expected a block number with 0x prefix, or latest, earliest, pending, safe, finalized")
                })?;
                if digits.len() == 64 {
                    return digits
                        .parse()
                        .map(Self::Hash)
                        .map_err(|_| D::Error::custom("not hexadecimal"));
                }
                u64::from_str_radix(digits, 16)
                    .map(Self::Number)
                    .map_err(|_| {
                        D::Error::custom("block number larger than 64 bits or not hexadecimal")
                    })
            }
        }
    }
}

/// A transaction as `eth_call` and its kin take it. Where no fees are charged, prices are read and ignored.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallRequest {
    pub(crate) from: Option<Address>,
    pub(crate) to: Option<Address>,
    pub(crate) gas: Option<Quantity>,
    pub(crate) value: Option<U256>,
    data: Option<Bytes>,
    input: Option<Bytes>,
    pub(crate) nonce: Option<Quantity>,
    pub(crate) chain_id: Option<Quantity>,
    pub(crate) gas_price: Option<U256>,
    pub(crate) max_fee_per_gas: Option<U256>,
    pub(crate) max_priority_fee_per_gas: Option<U256>,
    pub(crate) blob_versioned_hashes: Option<Vec<B256>>,
    pub(crate) access_list: Option<alloy_eips::eip2930::AccessList>,
    pub(crate) authorization_list: Option<Vec<alloy_eips::eip7702::SignedAuthorization>>,
}

impl CallRequest {
    /// What the transaction would carry, before [`CallRequest::take_input`].
    pub(crate) fn peek_input(&self) -> Option<&Bytes> {
        self.input.as_ref().or(self.data.as_ref())
    }

    pub(crate) fn take_input(&mut self) -> Result<Bytes, RpcError> {
        match (self.data.take(), self.input.take()) {
            (Some(data), Some(input)) if data != input => Err(RpcError::invalid_params(
                "both \"data\" and \"input\" are set and not equal: use \"input\"",
            )),
            (data, input) => Ok(input.or(data).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_named_in_every_way_that_clients_use() {
        let read = |json: &str| serde_json::from_str::<BlockId>(json).map_err(|_| ());
        let hash = B256::repeat_byte(7);
        assert_eq!(read(r#""latest""#), Ok(BlockId::Head));
        assert_eq!(read(r#""0x1f""#), Ok(BlockId::Number(31)));
        assert_eq!(read(r#"{"blockNumber":"0x2"}"#), Ok(BlockId::Number(2)));
        assert_eq!(
            read(&format!(
                r#"{{"blockHash":"{hash}","requireCanonical":true}}"#
            )),
            Ok(BlockId::Hash(hash))
        );
        assert_eq!(read(r#""17""#), Err(()));
        assert_eq!(read(r#""0x""#), Err(()));
        assert_eq!(read(r#""0x10000000000000000""#), Err(()));
        assert_eq!(read("[]"), Err(()));
    }

    #[test]
    fn bytes_need_their_prefix_and_whole_bytes() {
        let read = |json: &str| {
            let raw: Box<RawValue> = serde_json::from_str(json).expect("json");
            Params::parse(Some(&raw))
                .and_then(|params| params.hex(0))
                .map_err(|e| e.message)
        };
        assert_eq!(
            read(r#"["0x0102"]"#),
            Ok(bytes::Bytes::from_static(&[1, 2]))
        );
        assert_eq!(
            read(r#"["0102"]"#),
            Err("invalid argument 0: hex string without 0x prefix".into())
        );
        assert!(
            read(r#"["0x012"]"#).is_err()
                && read(r#"["0x0x01"]"#).is_err()
                && read("[7]").is_err()
                && read("[]").is_err()
                && read("{}").is_err()
        );
    }
}
