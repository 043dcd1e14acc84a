//! Receipts: the proof, for whoever was not there, that a transaction has its place in the ledger.
//!
//! Source: RFC 9942 (COSE receipts) and the CCF ledger profile for them. A receipt is the COSE
//! object of a signature entry with, in the unprotected header, the path from the transaction's
//! leaf to the signed root; Coco adds the place that the leaf binds, so that a receipt also proves
//! term, index and ledger time, and the certificate by which the network endorses the signer.
//!
//! Foreign verifiers of the profile (PyPI `ccf` 6.0.28) accept these bytes.

use coset::cbor::value::Value;
use coset::{CborSerializable, CoseSign1, Label, TaggedCborSerializable, iana};
use crypto::{Certificate, PublicKey};
use types::Digest;

use crate::entry::PLACE_BYTES;
use crate::leaf::combine;
use crate::root::verify_statement;
use crate::{BadRoot, Header, Leaf, Path, RootStatement, Side};

/// Label of the verifiable data proofs in the unprotected header (RFC 9942).
const VDP_LABEL: i64 = 396;
/// Label of inclusion proofs among them.
const INCLUSION_LABEL: i64 = -1;
const LEAF_LABEL: i64 = 1;
const PATH_LABEL: i64 = 2;
/// Label of the place that the leaf binds: 88 bytes of entry header, 4 of position.
const PLACE_LABEL: &str = "coco.place";

/// Longest receipt: a path of 64 steps, 36 bytes each, and a certificate with evidence.
pub const RECEIPT_BYTES_MAX: usize = 64 << 10;

/// What a receipt proves. Only verification makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    pub statement: RootStatement,
    /// The transaction's place, commit evidence and claim.
    pub leaf: Leaf,
    /// The VN key that signed the root.
    pub signer: PublicKey,
}

/// The bytes are no receipt for this claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReceipt {
    #[error("not a COSE receipt of the CCF ledger profile: {0}")]
    Shape(&'static str),
    #[error("the receipt is about another claim")]
    Claim,
    #[error("the place in the receipt is not the one that its leaf binds")]
    Place,
    #[error(transparent)]
    Root(BadRoot),
    #[error("the signer's certificate is not endorsed by the network: {0}")]
    Endorsement(crypto::BadCertificate),
}

/// Makes a receipt from the COSE object of a signature entry. `endorsement` is the certificate
/// (DER) that the network identity issued for the signer's key, for verifiers that know only the
/// network.
///
/// # Errors
/// [`BadReceipt::Shape`]: `cose` is not from a signature entry.
pub fn receipt(
    cose: &[u8],
    leaf: &Leaf,
    path: &Path,
    endorsement: Option<&[u8]>,
) -> Result<Vec<u8>, BadReceipt> {
    let bytes = |b: &[u8]| Value::Bytes(b.to_vec());
    let number = |n: i64| Value::Integer(n.into());
    let mut object = CoseSign1::from_tagged_slice(cose)
        .map_err(|_| BadReceipt::Shape("the root signature is not a COSE_Sign1"))?;
    let steps = path
        .0
        .iter()
        .map(|(side, other)| Value::Array(vec![Value::Bool(*side == Side::Left), bytes(&other.0)]));
    let proof = Value::Map(vec![
        (
            number(LEAF_LABEL),
            Value::Array(vec![
                bytes(&leaf.internal().0),
                Value::Text(leaf.evidence.clone()),
                bytes(&leaf.claim.0),
            ]),
        ),
        (number(PATH_LABEL), Value::Array(steps.collect())),
    ]);
    let proof = proof.to_vec().expect("encoding into memory succeeds");
    let proofs = Value::Map(vec![(
        number(INCLUSION_LABEL),
        Value::Array(vec![Value::Bytes(proof)]),
    )]);
    let mut place = leaf.header.place().to_vec();
    place.extend_from_slice(&leaf.position.to_be_bytes());
    let rest = &mut object.unprotected.rest;
    if let Some(certificate) = endorsement {
        rest.push((Label::Int(X5CHAIN_LABEL), bytes(certificate)));
    }
    rest.push((Label::Int(VDP_LABEL), proofs));
    rest.push((Label::Text(PLACE_LABEL.to_owned()), Value::Bytes(place)));
    Ok(object
        .to_tagged_vec()
        .expect("encoding into memory succeeds"))
}

/// Label of a certificate chain (RFC 9360).
const X5CHAIN_LABEL: i64 = iana::HeaderParameter::X5Chain as i64;

/// Checks a receipt for `claim` by the VN key that signed it.
///
/// # Errors
/// [`BadReceipt`]: whoever gave it.
pub fn verify_receipt(bytes: &[u8], key: &PublicKey, claim: Digest) -> Result<Receipt, BadReceipt> {
    verify(&parse(bytes)?, key, claim)
}

/// Checks a receipt for `claim` when only the network's certificate is known: the receipt carries
/// the certificate that the network identity issued for the signer, and it was valid at the ledger
/// time of the signature.
///
/// # Errors
/// [`BadReceipt`]: whoever gave it, or it has no endorsement.
pub fn verify_receipt_of_network(
    bytes: &[u8],
    network: &Certificate,
    claim: Digest,
) -> Result<Receipt, BadReceipt> {
    let object = parse(bytes)?;
    let der = unprotected(&object, &Label::Int(X5CHAIN_LABEL))
        .and_then(Value::as_bytes)
        .ok_or(BadReceipt::Shape("no certificate of the signer in it"))?;
    let signer = Certificate::from_der(der).map_err(BadReceipt::Endorsement)?;
    signer.issued_by(network).map_err(BadReceipt::Endorsement)?;
    let receipt = verify(&object, signer.key(), claim)?;
    signer
        .valid_at(receipt.statement.time)
        .map_err(BadReceipt::Endorsement)?;
    Ok(receipt)
}

fn parse(bytes: &[u8]) -> Result<CoseSign1, BadReceipt> {
    if bytes.len() > RECEIPT_BYTES_MAX {
        return Err(BadReceipt::Shape("too long"));
    }
    CoseSign1::from_tagged_slice(bytes).map_err(|_| BadReceipt::Shape("not a COSE_Sign1"))
}

fn unprotected<'a>(object: &'a CoseSign1, label: &Label) -> Option<&'a Value> {
    object
        .unprotected
        .rest
        .iter()
        .find(|(l, _)| l == label)
        .map(|(_, value)| value)
}

fn verify(object: &CoseSign1, key: &PublicKey, claim: Digest) -> Result<Receipt, BadReceipt> {
    let place = unprotected(object, &Label::Text(PLACE_LABEL.to_owned()))
        .and_then(Value::as_bytes)
        .ok_or(BadReceipt::Shape("no place in it"))?;
    let (header, position) = read_place(place)?;
    let proof = only_inclusion_proof(object).ok_or(BadReceipt::Shape("not one inclusion proof"))?;
    let proof = Value::from_slice(proof).map_err(|_| BadReceipt::Shape("the proof is no CBOR"))?;
    let (internal, evidence, stated, path) =
        read_proof(&proof).ok_or(BadReceipt::Shape("the proof is not a leaf and a path"))?;
    if stated != claim {
        return Err(BadReceipt::Claim);
    }
    let leaf = Leaf {
        header,
        position,
        evidence: evidence.to_owned(),
        claim,
    };
    if leaf.internal() != internal {
        return Err(BadReceipt::Place);
    }
    let root = path.root(combine(internal, evidence, claim));
    let statement = verify_statement(key, object, root).map_err(BadReceipt::Root)?;
    if header.index >= statement.index || header.term > statement.term {
        return Err(BadReceipt::Place);
    }
    Ok(Receipt {
        statement,
        leaf,
        signer: *key,
    })
}

fn read_place(place: &[u8]) -> Result<(Header, u32), BadReceipt> {
    let (place, position) = place
        .split_first_chunk::<PLACE_BYTES>()
        .ok_or(BadReceipt::Shape("the place is too short"))?;
    let position: [u8; 4] = position
        .try_into()
        .map_err(|_| BadReceipt::Shape("the place has another length"))?;
    let header =
        Header::from_place(place).map_err(|_| BadReceipt::Shape("the place is no entry header"))?;
    Ok((header, u32::from_be_bytes(position)))
}

fn only_inclusion_proof(object: &CoseSign1) -> Option<&Vec<u8>> {
    let [(label, proofs)] = unprotected(object, &Label::Int(VDP_LABEL))?
        .as_map()?
        .as_slice()
    else {
        return None;
    };
    let [proof] = proofs.as_array()?.as_slice() else {
        return None;
    };
    (*label == Value::Integer(INCLUSION_LABEL.into()))
        .then(|| proof.as_bytes())
        .flatten()
}

fn read_proof(proof: &Value) -> Option<(Digest, &str, Digest, Path)> {
    let [(leaf_label, leaf), (path_label, path)] = proof.as_map()?.as_slice() else {
        return None;
    };
    let labels = [leaf_label, path_label] == [&Value::from(LEAF_LABEL), &Value::from(PATH_LABEL)];
    let [internal, evidence, claim] = leaf.as_array()?.as_slice() else {
        return None;
    };
    let digest = |value: &Value| Digest::from_slice(value.as_bytes()?);
    let steps = path.as_array()?.iter().map(|step| {
        let [left, other] = step.as_array()?.as_slice() else {
            return None;
        };
        let side = if left.as_bool()? {
            Side::Left
        } else {
            Side::Right
        };
        Some((side, digest(other)?))
    });
    let path = Path(steps.collect::<Option<_>>()?);
    let short = path.0.len() <= 64;
    (labels && short).then_some((digest(internal)?, evidence.as_text()?, digest(claim)?, path))
}
