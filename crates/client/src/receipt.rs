//! Receipts: fetched from a node, kept in a file, verified by whoever has the network's certificate.
//!
//! The file is the JSON that every protocol's front answers with: the COSE receipt, and the parts
//! from which its claim is computed again. Nothing in it is believed that verification does not
//! lead to the network identity; docs/receipts.md draws it.

use core::fmt;

use crypto::{Certificate, Hasher, sha256};
use ledger::{Kind, RECEIPT_BYTES_MAX, Receipt, verify_receipt_of_network};
use serde_json::{Value, json};
use types::{Digest, Height};

use crate::{Entrance, Http, Identity, Problem, Retry, Surface, Trust};

const FORMAT: &str = "coco-receipt/1";

/// Longest file: a unit of the largest size and its result, both in hexadecimal, and room.
const FILE_BYTES_MAX: usize = 64 << 20;

/// A receipt with the parts of its claim, as it came from a node or a file. Not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptFile {
    /// Name of the protocol: `ethereum`, `kv`.
    pub protocol: String,
    /// The batch (Ethereum: block number).
    pub height: Height,
    /// Place in the batch.
    pub position: u32,
    pub claim: Claim,
    /// COSE_Sign1, the CCF ledger profile.
    pub receipt: Vec<u8>,
}

/// What a receipt's claim digest is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub digest: Digest,
    /// Identity of the transaction in its protocol; Ethereum: its hash.
    pub unit: Digest,
    /// Who submitted it, if the protocol's identity of a transaction names that.
    pub actor: Option<Digest>,
    /// The transaction's bytes.
    pub transaction: Vec<u8>,
    /// What executing it came to, in the protocol's own encoding.
    pub result: Vec<u8>,
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("not a receipt file: {0}")]
    File(String),
    #[error(transparent)]
    Receipt(#[from] ledger::BadReceipt),
    #[error("the claim in the file is not that of its transaction and result: {0}")]
    Claim(&'static str),
    #[error("the receipt is for another place: {0}")]
    Place(&'static str),
}

impl ReceiptFile {
    /// # Errors
    /// [`Unproven::File`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Unproven> {
        let bad = |what: &str| Unproven::File(what.to_owned());
        if bytes.len() > FILE_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let json: Value = serde_json::from_slice(bytes)
            .map_err(|error| Unproven::File(format!("not JSON: {error}")))?;
        if json["format"] != FORMAT {
            return Err(bad("its `format` is not coco-receipt/1"));
        }
        let claim = &json["claim"];
        let bytes = |value: &Value, name: &str| {
            let text = value.as_str().unwrap_or("no text");
            hex::decode(text.strip_prefix("0x").unwrap_or(text))
                .map_err(|_| Unproven::File(format!("`{name}` is not hexadecimal text")))
        };
        let digest = |name: &str| {
            Digest::from_slice(&bytes(&claim[name], name)?)
                .ok_or_else(|| Unproven::File(format!("`{name}` has not 32 bytes")))
        };
        let number = |name: &str| {
            json[name]
                .as_u64()
                .ok_or_else(|| Unproven::File(format!("`{name}` is not a number")))
        };
        let receipt = bytes(&json["receipt"], "receipt")?;
        if receipt.len() > RECEIPT_BYTES_MAX {
            return Err(bad("the receipt is too long"));
        }
        Ok(Self {
            protocol: json["protocol"]
                .as_str()
                .ok_or_else(|| bad("it names no protocol"))?
                .to_owned(),
            height: Height(number("height")?),
            position: u32::try_from(number("position")?)
                .map_err(|_| bad("`position` is too large"))?,
            claim: Claim {
                digest: digest("digest")?,
                unit: digest("unit")?,
                actor: match claim["actor"] {
                    Value::Null => None,
                    _ => Some(digest("actor")?),
                },
                transaction: bytes(&claim["transaction"], "transaction")?,
                result: bytes(&claim["result"], "result")?,
            },
            receipt,
        })
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let mut claim = json!({
            "digest": self.claim.digest,
            "unit": self.claim.unit,
            "transaction": hex::encode(&self.claim.transaction),
            "result": hex::encode(&self.claim.result),
        });
        if let Some(actor) = &self.claim.actor {
            claim["actor"] = json!(actor);
        }
        let file = json!({
            "format": FORMAT,
            "protocol": self.protocol,
            "height": self.height,
            "position": self.position,
            "claim": claim,
            "receipt": hex::encode(&self.receipt),
        });
        serde_json::to_string_pretty(&file).expect("a value in memory has a form in JSON") + "\n"
    }

    /// Verifies all that the file says but one thing: that an Ethereum transaction's bytes have its
    /// hash, which takes Keccak.
    ///
    /// # Errors
    /// [`Unproven`].
    pub fn verify(&self, network: &Certificate) -> Result<Receipt, Unproven> {
        self.claim.check(&self.protocol)?;
        let proven = verify_receipt_of_network(&self.receipt, network, self.claim.digest)?;
        let leaf = &proven.leaf;
        match leaf.header.kind {
            Kind::Application { height, .. } if height == self.height => {}
            Kind::Application { .. } => return Err(Unproven::Place("`height` differs")),
            _ => return Err(Unproven::Place("the entry is not one of a protocol")),
        }
        if leaf.position != self.position {
            return Err(Unproven::Place("`position` differs"));
        }
        Ok(proven)
    }
}

impl Claim {
    /// Whether the digest is that of transaction and result, by the rules of the protocol.
    fn check(&self, protocol: &str) -> Result<(), Unproven> {
        let digest = match protocol {
            // adapter-ethereum, `Machine::claim_digest`
            "ethereum" => Hasher::new()
                .raw(b"coco ethereum claim v1")
                .raw(&self.unit.0)
                .raw(&sha256(&self.result).0)
                .finish(),
            // adapter-kv, `Machine::claim_digest`
            "kv" => {
                let actor = self.actor.ok_or(Unproven::Claim("it names no actor"))?;
                let request = self
                    .request_id()
                    .ok_or(Unproven::Claim("the transaction names no request"))?;
                let unit = Hasher::new()
                    .raw(b"coco/kv/request/1")
                    .raw(&actor.0)
                    .raw(request)
                    .finish();
                if unit != self.unit {
                    return Err(Unproven::Claim("its unit is not of that actor and request"));
                }
                Hasher::new()
                    .raw(b"coco/kv/claim/1")
                    .raw(&self.unit.0)
                    .raw(&sha256(&self.transaction).0)
                    .raw(&sha256(&self.result).0)
                    .finish()
            }
            _ => {
                return Err(Unproven::Claim(
                    "how this protocol makes claims is not known here: verify the receipt alone, with the claim digest",
                ));
            }
        };
        if digest == self.digest {
            Ok(())
        } else {
            Err(Unproven::Claim("the digest differs"))
        }
    }

    /// Key-value protocol: the id under which the client sent the request, or the front for it.
    pub fn request_id(&self) -> Option<&[u8]> {
        let (_, rest) = self.transaction.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        rest.get(..usize::from(u16::from_be_bytes(*length)))
    }
}

/// Which transaction a receipt is wanted of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Ethereum: by transaction hash.
    Transaction(Digest),
    /// Key-value protocol: by place.
    Place { height: Height, position: u32 },
    /// Key-value protocol: by the id that the same actor gave its request.
    Request(String),
}

/// Asks nodes for receipts.
pub struct Receipts {
    http: Http,
}

impl Receipts {
    /// Connects to the first of `addresses` that is there and is believed.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn open(
        identity: &Identity,
        trust: Trust,
        protocol: &str,
        addresses: Vec<String>,
    ) -> Result<Self, Problem> {
        let entrance = Entrance::new(identity, trust, &Surface::Application(protocol.to_owned()))?;
        Ok(Self {
            http: Http::open(entrance, addresses)?,
        })
    }

    /// The receipt of a committed transaction; waits for its signature. It is not verified yet.
    ///
    /// # Errors
    /// [`Problem::Refused`] also when there is no such transaction.
    pub fn fetch(&mut self, wanted: &Wanted) -> Result<ReceiptFile, Problem> {
        let response = match wanted {
            Wanted::Transaction(hash) => {
                let call = json!({
                    "jsonrpc": "2.0", "id": 1, "method": "coco_getReceipt",
                    "params": [format!("0x{hash}")],
                });
                self.http.request(
                    "POST",
                    "/",
                    &[("content-type", "application/json")],
                    call.to_string().as_bytes(),
                    Retry::Idempotent,
                )
            }
            Wanted::Place { height, position } => {
                let target = format!("/receipt/{height}/{position}");
                self.http
                    .request("GET", &target, &[], &[], Retry::Idempotent)
            }
            Wanted::Request(id) => {
                let target = format!("/receipt/request/{}", Escaped(id));
                self.http
                    .request("GET", &target, &[], &[], Retry::Idempotent)
            }
        }?;
        let address = self
            .http
            .connection()
            .map(|c| c.address().to_owned())
            .unwrap_or_default();
        let refused = |text: &str| Problem::Refused {
            address: address.clone(),
            status: response.status,
            text: text
                .chars()
                .filter(|c| !c.is_control())
                .take(1000)
                .collect(),
        };
        let misbehaved = |reason: String| Problem::Misbehaved {
            address: address.clone(),
            reason,
        };
        let answer: Value = serde_json::from_slice(&response.body)
            .map_err(|error| misbehaved(format!("not JSON: {error}")))?;
        if let Some(message) = answer["error"]["message"].as_str() {
            return Err(refused(message));
        }
        let file = match wanted {
            Wanted::Transaction(_) if answer["result"].is_null() => {
                return Err(refused("no transaction with this hash is committed there"));
            }
            Wanted::Transaction(_) => answer["result"].to_string().into_bytes(),
            Wanted::Place { .. } | Wanted::Request(_) => response.body.to_vec(),
        };
        ReceiptFile::parse(&file).map_err(|bad| misbehaved(bad.to_string()))
    }
}

/// Text in one segment of a path.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crypto::{CertificateRequest, Entropy, SigningKey, Zeroizing, issue};
    use ledger::{
        Content, Header, SealKeyring, Sealer, Tree, inspect, receipt, sign_root, verify_root,
    };
    use types::{Epoch, Index, Millis, NetworkId, NodeId, Term};

    use super::*;

    fn certificate(
        subject: &SigningKey,
        issuer: &SigningKey,
        parent: Option<&Certificate>,
    ) -> Certificate {
        let request = CertificateRequest {
            common_name: "test",
            dns_names: Vec::new(),
            not_before: Millis(0),
            not_after: Millis(1_000_000),
            authority: parent.is_none(),
            extensions: Vec::new(),
            serial: [1; 16],
        };
        issue(subject.public(), &request, issuer, parent)
    }

    /// The receipt of the second of two transactions of batch 5, and the network's certificate.
    fn made() -> (ReceiptFile, Certificate) {
        let (vn, root) = [1, 2]
            .map(|n| SigningKey::generate(&mut Entropy::new(&[n; 32])))
            .into();
        let network = certificate(&root, &root, None);
        let endorsed = certificate(&vn, &root, Some(&network));
        let mut keyring = SealKeyring::new();
        keyring.insert(Epoch(1), Zeroizing::new([3; 32]));
        let mut sealer = Sealer::new(NodeId(1), vn.public());
        let header = |index, kind| Header {
            kind,
            restarts: 0,
            term: Term(2),
            index: Index(index),
            epoch: Epoch(1),
            time: Millis(5000),
            sealer: NodeId(1),
            previous: Digest::ZERO,
        };
        let transaction = b"\x01\x01\x00\x07order-7\x00\x01...".to_vec();
        let actor = sha256(b"ada");
        let unit = Hasher::new()
            .raw(b"coco/kv/request/1")
            .raw(&actor.0)
            .raw(b"order-7")
            .finish();
        let digest = Hasher::new()
            .raw(b"coco/kv/claim/1")
            .raw(&unit.0)
            .raw(&sha256(&transaction).0)
            .raw(&sha256(&[1]).0)
            .finish();
        let batch = header(
            9,
            Kind::Application {
                protocol: 1,
                height: Height(5),
            },
        );
        let claims = [sha256(b"other"), digest];
        let content = Content {
            claims: &claims,
            ..Content::default()
        };
        let sealed = sealer.seal(&keyring, &batch, content).expect("small");
        let mut tree = Tree::default();
        tree.append(Index(9), sealed.leaves);
        let signature = header(10, Kind::Signature);
        let body = sign_root(&vn, NetworkId([7; 32]), &signature, tree.frontier());
        let content = Content {
            public: &[&body],
            ..Content::default()
        };
        let sealed = sealer.seal(&keyring, &signature, content).expect("small");
        let entry = inspect(&sealed.bytes).expect("just made");
        let signed = verify_root(vn.public(), &signature, &entry.public).expect("just signed");
        let leaf = keyring
            .evidence(&batch)
            .expect("held")
            .leaf(&batch, 1, digest);
        let path = tree.path(Index(9), 1, 2).expect("kept");
        let file = ReceiptFile {
            protocol: "kv".into(),
            height: Height(5),
            position: 1,
            claim: Claim {
                digest,
                unit,
                actor: Some(actor),
                transaction,
                result: vec![1],
            },
            receipt: receipt(&signed.cose, &leaf, &path, Some(endorsed.der())).expect("own"),
        };
        (file, network)
    }

    #[test]
    fn a_file_returns_and_proves_what_it_says() {
        let (file, network) = made();
        let again = ReceiptFile::parse(file.to_json().as_bytes());
        assert_eq!(again.as_ref(), Ok(&file));
        let proven = file.verify(&network).expect("made so");
        assert_eq!(
            (proven.leaf.header.index, proven.statement.index),
            (Index(9), Index(10))
        );
        assert_eq!(file.claim.request_id(), Some(&b"order-7"[..]));
    }

    #[test]
    fn whatever_is_changed_in_a_file_is_named() {
        let (_, network) = made();
        let changed = |change: &dyn Fn(&mut ReceiptFile)| {
            let (mut file, _) = made();
            change(&mut file);
            file.verify(&network).expect_err("changed").to_string()
        };
        let claim = "the claim in the file is not that of its transaction and result: ";
        for (text, change) in [
            (
                "the digest differs",
                &(|f: &mut ReceiptFile| f.claim.result = vec![0]) as &dyn Fn(&mut ReceiptFile),
            ),
            ("the digest differs", &|f| f.claim.digest.0[0] ^= 1),
            ("the digest differs", &|f| f.claim.transaction.push(0)),
            ("its unit is not of that actor and request", &|f| {
                f.claim.transaction[4] ^= 1
            }),
            ("its unit is not of that actor and request", &|f| {
                f.claim.unit.0[0] ^= 1
            }),
            ("it names no actor", &|f| f.claim.actor = None),
        ] {
            assert_eq!(changed(change), format!("{claim}{text}"));
        }
        let place = "the receipt is for another place: ";
        assert_eq!(
            changed(&|f| f.height = Height(6)),
            format!("{place}`height` differs")
        );
        assert_eq!(
            changed(&|f| f.position = 0),
            format!("{place}`position` differs")
        );
        assert!(changed(&|f| f.protocol = "ethereum".into()).contains("the digest differs"));
        let (file, _) = made();
        let key = SigningKey::generate(&mut Entropy::new(&[9; 32]));
        let foreign = certificate(&key, &key, None);
        let refused = file.verify(&foreign).expect_err("another network");
        assert!(refused.to_string().contains("not endorsed"), "{refused}");
    }

    #[test]
    fn a_file_that_is_none_is_told_from_one_that_proves_nothing() {
        let text = made().0.to_json();
        for (from, to) in [
            ("coco-receipt/1", "coco-receipt/2"),
            ("\"height\": 5", "\"height\": -5"),
            ("\"position\": 1", "\"position\": 4294967296"),
            ("\"receipt\": \"", "\"receipt\": \"x"),
            ("\"unit\": \"", "\"unit\": \"00"),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text);
            let parsed = ReceiptFile::parse(bad.as_bytes());
            assert!(matches!(parsed, Err(Unproven::File(_))), "{parsed:?}");
        }
        for cut in (0..text.len() - 1).step_by(7) {
            assert!(ReceiptFile::parse(&text.as_bytes()[..cut]).is_err());
        }
    }
}
