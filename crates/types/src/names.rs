//! Thirty-two byte names. Each is the SHA-256 of something, made by the crate that owns that thing.

use core::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

        impl $name {
            pub const ZERO: Self = Self([0; 32]);

            /// Reads exactly 32 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ZERO
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex::encode(&self.0[..4]))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }

        impl core::str::FromStr for $name {
            type Err = NotAName;
            fn from_str(text: &str) -> Result<Self, NotAName> {
                let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|_| NotAName)?;
                Self::from_slice(&bytes).ok_or(NotAName)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAName;
            fn try_from(text: String) -> Result<Self, NotAName> {
                text.parse()
            }
        }
    };
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits (32 bytes)")]
pub struct NotAName;

name! {
    /// A SHA-256 digest.
    Digest
}
name! {
    /// A network: the digest of its genesis constitution.
    NetworkId
}
name! {
    /// An actor (member or participant): the digest of its name, the same in every network.
    ActorId
}
name! {
    /// A unit of work of a blockchain protocol, such as an Ethereum transaction hash.
    UnitId
}
