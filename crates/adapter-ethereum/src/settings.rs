//! What a network decides about its Ethereum protocol, once, at genesis.
//!
//! The settings are one JSON document, shaped like the genesis file that other Ethereum clients
//! read (`chainId`, `alloc`, `gasLimit`, `timestamp`), and say two things: the first state, and the
//! [`Rules`]. Rules are data. A network's rules are fixed by `design`: no fees, no coinbase, random
//! PREVRANDAO. *Replay* rules give every number of a foreign block instead; conformance tests and
//! the benchmark need them, and a constitution must refuse them ([`Settings::is_replay`]).

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use revm::primitives::hardfork::SpecId;
use serde::{Deserialize, Serialize};

use crate::access::AccessSettings;

/// Most gas of one transaction that a network may allow: EIP-7825's cap, 2^24.
pub const TRANSACTION_GAS_CAP: u64 = 1 << 24;

/// Gas limit shown in block headers unless the settings say otherwise.
const GAS_LIMIT_DEFAULT: u64 = 60_000_000;

/// Rules of the EVM, named as the Ethereum forks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Fork {
    #[serde(alias = "Frontier")]
    Frontier,
    #[serde(alias = "Homestead")]
    Homestead,
    #[serde(alias = "TangerineWhistle", alias = "EIP150")]
    TangerineWhistle,
    #[serde(alias = "SpuriousDragon", alias = "EIP158")]
    SpuriousDragon,
    #[serde(alias = "Byzantium")]
    Byzantium,
    #[serde(alias = "Petersburg", alias = "ConstantinopleFix")]
    Petersburg,
    #[serde(alias = "Istanbul")]
    Istanbul,
    #[serde(alias = "Berlin")]
    Berlin,
    #[serde(alias = "London")]
    London,
    #[serde(alias = "Paris", alias = "Merge")]
    Paris,
    #[serde(alias = "Shanghai")]
    Shanghai,
    #[serde(alias = "Cancun")]
    Cancun,
    #[serde(alias = "Prague")]
    Prague,
    #[default]
    #[serde(alias = "Osaka")]
    Osaka,
}

impl Fork {
    /// The same in revm's words.
    pub fn spec(self) -> SpecId {
        match self {
            Self::Frontier => SpecId::FRONTIER,
            Self::Homestead => SpecId::HOMESTEAD,
            Self::TangerineWhistle => SpecId::TANGERINE,
            Self::SpuriousDragon => SpecId::SPURIOUS_DRAGON,
            Self::Byzantium => SpecId::BYZANTIUM,
            Self::Petersburg => SpecId::PETERSBURG,
            Self::Istanbul => SpecId::ISTANBUL,
            Self::Berlin => SpecId::BERLIN,
            Self::London => SpecId::LONDON,
            Self::Paris => SpecId::MERGE,
            Self::Shanghai => SpecId::SHANGHAI,
            Self::Cancun => SpecId::CANCUN,
            Self::Prague => SpecId::PRAGUE,
            Self::Osaka => SpecId::OSAKA,
        }
    }
}

/// Who may see what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Profile {
    /// Everything is public within the network.
    #[default]
    Transparent,
    /// Everybody sees what its accounts, its domains and the contracts' checks allow.
    Confidential(Box<AccessSettings>),
}

/// What the roots in a block's header are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Roots {
    /// Keyed commitments: they tell nothing to whoever guesses what a block holds.
    #[default]
    Keyed,
    /// Ethereum's own, of Merkle-Patricia tries, with gas used and bloom. For transparent networks only.
    Plain,
}

impl Roots {
    fn are_keyed(&self) -> bool {
        *self == Self::Keyed
    }
}

/// Most blocks of whose states what they changed may be kept.
pub const STATES_KEPT_MAX: u64 = 256;

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The environment of a foreign block, given instead of made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replay {
    #[serde(with = "quantity")]
    pub number: u64,
    #[serde(with = "quantity")]
    pub timestamp: u64,
    pub coinbase: Address,
    #[serde(with = "quantity", default)]
    pub base_fee_per_gas: u64,
    #[serde(default)]
    pub prev_randao: B256,
    #[serde(default)]
    pub difficulty: U256,
    #[serde(with = "quantity", default)]
    pub excess_blob_gas: u64,
    /// EIP-4844's divisor for this block; 0: the fork's own.
    #[serde(with = "quantity", default)]
    pub blob_base_fee_update_fraction: u64,
    #[serde(default)]
    pub parent_hash: B256,
    #[serde(default)]
    pub parent_beacon_block_root: B256,
    /// What BLOCKHASH knows, by decimal or hexadecimal number; everything else is zero.
    #[serde(default)]
    pub block_hashes: BTreeMap<String, B256>,
    /// Run the calls that the fork makes at both ends of a block (EIP-4788, 2935, 7002, 7251). The
    /// first ones run at genesis, so such a network has exactly one batch.
    #[serde(default)]
    pub system_calls: bool,
}

impl Replay {
    /// What BLOCKHASH gives for `number`.
    pub fn block_hash(&self, number: u64) -> B256 {
        self.block_hashes
            .get(&number.to_string())
            .or_else(|| self.block_hashes.get(&format!("{number:#x}")))
            .copied()
            .unwrap_or_default()
    }
}

/// What stays the same from genesis on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    #[serde(with = "quantity")]
    pub chain_id: u64,
    #[serde(default)]
    pub fork: Fork,
    /// Shown in headers, and the most gas that one transaction or call may ask for.
    #[serde(with = "quantity", default = "gas_limit_default")]
    pub gas_limit: u64,
    #[serde(default)]
    pub profile: Profile,
    #[serde(default, skip_serializing_if = "Roots::are_keyed")]
    pub roots: Roots,
    /// Blocks before the head whose states can be asked for, too: for traces, proofs and old balances.
    #[serde(with = "quantity", default, skip_serializing_if = "is_zero")]
    pub states_kept: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
}

fn gas_limit_default() -> u64 {
    GAS_LIMIT_DEFAULT
}

impl Rules {
    /// Rules of a network with the newest fork.
    pub fn network(chain_id: u64) -> Self {
        Self {
            chain_id,
            fork: Fork::default(),
            gas_limit: GAS_LIMIT_DEFAULT,
            profile: Profile::Transparent,
            roots: Roots::Keyed,
            states_kept: 0,
            replay: None,
        }
    }

    /// What a confidential network decided; `None`: everything is public.
    pub fn access(&self) -> Option<&AccessSettings> {
        match &self.profile {
            Profile::Transparent => None,
            Profile::Confidential(access) => Some(access),
        }
    }

    /// Most gas of one transaction.
    pub fn transaction_gas_max(&self) -> u64 {
        if self.fork >= Fork::Osaka {
            self.gas_limit.min(TRANSACTION_GAS_CAP)
        } else {
            self.gas_limit
        }
    }
}

/// One account of the first state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alloc {
    #[serde(default)]
    pub balance: U256,
    #[serde(with = "quantity", default)]
    pub nonce: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Bytes>,
    /// Instead of `code`: a key of [`Settings::codes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_hash: Option<B256>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<U256, U256>,
}

/// The whole document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    #[serde(flatten)]
    pub rules: Rules,
    /// Seconds since 1970 shown in block 0.
    #[serde(with = "quantity", default)]
    pub timestamp: u64,
    #[serde(default)]
    pub alloc: BTreeMap<Address, Alloc>,
    /// Bytecodes that several accounts share, by Keccak-256.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub codes: BTreeMap<B256, Bytes>,
}

/// The settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ethereum settings: {0}")]
pub struct Unusable(pub String);

impl Settings {
    /// Reads and checks the document.
    ///
    /// # Errors
    /// [`Unusable`] names the field and what it should be.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        let settings: Self = serde_json::from_slice(bytes).map_err(|e| Unusable(e.to_string()))?;
        settings.check()?;
        Ok(settings)
    }

    /// True if blocks get a foreign environment. Only tests and the benchmark may use that.
    pub fn is_replay(&self) -> bool {
        self.rules.replay.is_some()
    }

    /// The document as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("maps with text keys and finite numbers only")
    }

    fn check(&self) -> Result<(), Unusable> {
        let bad = |text: String| Err(Unusable(text));
        if self.rules.chain_id == 0 || self.rules.chain_id > u64::MAX / 2 - 36 {
            return bad("chainId must be between 1 and 2^63 - 37 (EIP-2294)".into());
        }
        if !self.is_replay() && !(21_000..=1 << 40).contains(&self.rules.gas_limit) {
            return bad("gasLimit must be between 21000 and 2^40".into());
        }
        if self.rules.roots == Roots::Plain && self.rules.access().is_some() {
            return bad(
                "roots must be keyed on a confidential network: a plain root confirms guesses"
                    .into(),
            );
        }
        if self.rules.states_kept > STATES_KEPT_MAX {
            return bad(format!("statesKept may be at most {STATES_KEPT_MAX}"));
        }
        if self.is_replay() && self.rules.access().is_some() {
            return bad("profile must be transparent under replay rules".into());
        }
        if self.rules.replay.is_none() && self.rules.fork < Fork::Cancun {
            return bad("fork must be cancun, prague or osaka".into());
        }
        for (hash, code) in &self.codes {
            if keccak256(code) != *hash {
                return bad(format!(
                    "codes: the bytecode under {hash} has another Keccak-256"
                ));
            }
        }
        for (address, account) in &self.alloc {
            let empty_code = account.code.as_ref().is_none_or(|code| code.is_empty());
            if !self.is_replay()
                && !account.storage.is_empty()
                && account.nonce == 0
                && empty_code
                && account.code_hash.is_none()
            {
                // A contract could be created over it (EIP-7610).
                return bad(format!("alloc {address}: storage needs code or a nonce"));
            }
            if account.code.is_some() && account.code_hash.is_some() {
                return bad(format!("alloc {address}: give code or codeHash, not both"));
            }
            if let Some(hash) = account.code_hash
                && !self.is_replay()
                && !self.codes.contains_key(&hash)
            {
                return bad(format!("alloc {address}: codes has no entry {hash}"));
            }
        }
        Ok(())
    }
}

/// A number as JSON number, decimal text or 0x-hexadecimal text; written as 0x-hexadecimal.
pub(crate) mod quantity {
    use alloy_primitives::U256;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:#x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let value = U256::deserialize(from)?;
        u64::try_from(value).map_err(|_| D::Error::custom("number does not fit into 64 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_genesis_file_of_other_clients_is_understood() {
        let settings = Settings::parse(
            br#"{"chainId": 31337, "gasLimit": "0x1c9c380", "config": {"x": 1},
                "alloc": {"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266":
                  {"balance": "0x10", "nonce": "0x1", "storage": {"0x00": "0x0000000000000000000000000000000000000000000000000000000000000007"}}}}"#,
        )
        .expect("well formed");
        assert_eq!(
            (settings.rules.chain_id, settings.rules.gas_limit),
            (31337, 30_000_000)
        );
        assert_eq!(settings.rules.fork, Fork::Osaka);
        assert!(!settings.is_replay());
        let account = settings.alloc.values().next().expect("one account");
        assert_eq!(account.storage[&U256::ZERO], U256::from(7));
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let refuse = |json: &str, expected: &str| {
            let error = Settings::parse(json.as_bytes())
                .expect_err(json)
                .to_string();
            assert!(error.contains(expected), "{error}");
        };
        refuse(r#"{}"#, "chainId");
        refuse(r#"{"chainId": 0}"#, "chainId");
        refuse(r#"{"chainId": 1, "fork": "london"}"#, "fork");
        refuse(r#"{"chainId": 1, "gasLimit": 5}"#, "gasLimit");
        refuse(r#"{"chainId": 1, "fork": "tomorrow"}"#, "tomorrow");
        refuse(r#"{"chainId": 1, "statesKept": 9999}"#, "statesKept");
        let plain = r#"{"chainId": 1, "roots": "plain", "profile": {"confidential": {}}}"#;
        refuse(plain, "keyed");
        let hash = B256::ZERO;
        refuse(
            &format!(r#"{{"chainId": 1, "codes": {{"{hash}": "0x60"}}}}"#),
            "Keccak",
        );
        refuse(
            &format!(
                r#"{{"chainId": 1, "alloc": {{"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266": {{"codeHash": "{hash}"}}}}}}"#
            ),
            "no entry",
        );
    }
}
