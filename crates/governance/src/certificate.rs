//! A certificate that a constitution or an entry lists: PEM in text, DER in canonical form.

use core::fmt;

use crypto::Certificate;
use serde::{Deserialize, Serialize};

/// A certificate that was parsed. In JSON and TOML it is one PEM block.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Listed(pub Certificate);

impl Listed {
    /// The lists of certificates that `crypto::verify_chain` and entries want.
    pub fn all(chain: &[Certificate]) -> Vec<Self> {
        chain.iter().cloned().map(Self).collect()
    }
}

/// The text is not one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected exactly one PEM block `-----BEGIN CERTIFICATE-----` with an X.509 certificate for a P-256 key; put each certificate into a string of its own"
)]
pub struct NotOneCertificate;

impl From<Listed> for String {
    fn from(listed: Listed) -> String {
        listed.0.to_pem().replace("\r\n", "\n")
    }
}

impl TryFrom<String> for Listed {
    type Error = NotOneCertificate;
    fn try_from(text: String) -> Result<Self, NotOneCertificate> {
        let mut chain = Certificate::chain_from_pem(&text).map_err(|_| NotOneCertificate)?;
        match (chain.pop(), chain.is_empty()) {
            (Some(one), true) => Ok(Self(one)),
            _ => Err(NotOneCertificate),
        }
    }
}

impl<C> minicbor::Encode<C> for Listed {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self.0.der())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Listed {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Certificate::from_der(d.bytes()?)
            .map(Self)
            .map_err(minicbor::decode::Error::custom)
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
