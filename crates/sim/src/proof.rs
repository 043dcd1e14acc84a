//! What a client checks of a receipt: with the network's certificate alone, as any outsider would.

use crypto::{Certificate, Hasher};
use types::Digest;

/// Where a write went, by the answer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub height: u64,
    pub position: u64,
    /// Identity of the transaction in its protocol.
    pub unit: String,
}

impl Written {
    /// Of the answer to a write, if it says so.
    pub fn of(answer: &[u8]) -> Option<Self> {
        let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
        Some(Self {
            height: answer["height"].as_u64()?,
            position: answer["position"].as_u64()?,
            unit: answer["unit"].as_str()?.to_owned(),
        })
    }

    /// Whether this answer proves that write to whoever knows the network's certificate.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn is_proven_by(
        &self,
        answer: &[u8],
        value: &str,
        network: &Certificate,
    ) -> Result<(), String> {
        let file: serde_json::Value =
            serde_json::from_slice(answer).map_err(|e| format!("no JSON: {e}"))?;
        let claim = &file["claim"];
        let bytes = |field: &serde_json::Value| {
            hex::decode(field.as_str().unwrap_or("no text")).map_err(|_| "no hexadecimal text")
        };
        let (unit, transaction) = (bytes(&claim["unit"])?, bytes(&claim["transaction"])?);
        if claim["unit"] != self.unit.as_str() {
            return Err(format!(
                "it is of {} and not of {}",
                claim["unit"], self.unit
            ));
        }
        let holds = |part: &[u8]| part == value.as_bytes();
        if !transaction.windows(value.len()).any(holds) {
            return Err("its transaction is not the one that was sent".into());
        }
        // adapter-kv, `Machine::claim_digest`
        let digest: Digest = Hasher::new()
            .raw(b"coco/kv/claim/1")
            .raw(&unit)
            .raw(&crypto::sha256(&transaction).0)
            .raw(&crypto::sha256(&bytes(&claim["result"])?).0)
            .finish();
        let receipt = bytes(&file["receipt"])?;
        ledger::verify_receipt_of_network(&receipt, network, digest)
            .map(|_| ())
            .map_err(|e| e.to_string())
    }
}
