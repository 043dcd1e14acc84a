//! Signature entries: a leader's VN key signs the root of the Merkle tree.
//!
//! The signature is a COSE_Sign1 (RFC 9052) with the root as detached payload, as the CCF profile
//! for COSE receipts wants it, so that a receipt is this very object with a path in its
//! unprotected header. The protected header also carries the digest of the entry before: one
//! signature thus binds the tree and the whole chain, public parts and ciphertexts included.
//!
//! A VN key signs other things, too, all of them with associated data that is not empty and
//! without header 395; so no signature made for one purpose is good for another.

use coset::cbor::value::{Integer, Value};
use coset::{
    CborSerializable, CoseSign1, CoseSign1Builder, Header as CoseHeader, HeaderBuilder, Label,
    TaggedCborSerializable, iana,
};
use crypto::{Context, PublicKey, SigningKey};
use minicbor::{Decode, Encode};
use types::{Digest, Epoch, Index, Millis, NetworkId, Term};

use crate::{Frontier, Header, Kind};

/// Label of the verifiable data structure (RFC 9942), and its value for the CCF ledger profile.
pub(crate) const VDS_LABEL: i64 = 395;
const VDS_CCF_LEDGER: i64 = 2;
/// Label of CWT claims in a COSE header (RFC 9597).
const CWT_LABEL: i64 = 15;
/// Label of Coco's own statement.
const COCO_LABEL: &str = "coco.v1";

/// Longest body of a signature entry: 64 digests and a COSE object of some 400 bytes.
const ROOT_BYTES_MAX: usize = 8 << 10;

/// What a root signature says besides the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootStatement {
    pub network: NetworkId,
    pub restarts: u32,
    pub term: Term,
    /// Index of the signature entry; the tree has the transactions of all entries before.
    pub index: Index,
    pub epoch: Epoch,
    pub time: Millis,
    /// How many leaves the tree has.
    pub size: u64,
    /// Digest of the entry before the signature entry.
    pub previous: Digest,
}

/// The public body of a signature entry, read and checked. Only [`verify_root`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootSignature {
    pub statement: RootStatement,
    /// The tree that was signed: its root is what the signature covers.
    pub frontier: Frontier,
    /// The COSE object that a receipt is made from.
    pub cose: Vec<u8>,
}

/// The body is not a root signature of this node at this place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRoot {
    #[error("not the body of a signature entry: {0}")]
    Shape(&'static str),
    #[error("the root signature states {0} otherwise than its entry's header")]
    Header(&'static str),
    #[error("the root signature was not made by the entry's sealer, or not over this root")]
    Signature,
}

#[derive(Encode, Decode)]
struct Body {
    #[n(0)]
    frontier: Frontier,
    #[cbor(n(1), with = "minicbor::bytes")]
    cose: Vec<u8>,
}

/// Makes the public body of the signature entry with this header, over all transactions before.
///
/// # Panics
/// When the header is not that of a signature entry.
pub fn sign_root(
    key: &SigningKey,
    network: NetworkId,
    header: &Header,
    frontier: &Frontier,
) -> Vec<u8> {
    assert_eq!(
        header.kind,
        Kind::Signature,
        "roots are signed in signature entries"
    );
    let statement = statement(network, header, frontier);
    let cose = CoseSign1Builder::new()
        .protected(protected(key.public(), &statement))
        .create_detached_signature(&frontier.root().0, &[], |content| {
            key.sign(content).to_vec()
        })
        .build()
        .to_tagged_vec()
        .expect("an object in memory can be encoded");
    let body = Body {
        frontier: frontier.clone(),
        cose,
    };
    minicbor::to_vec(body).expect("encoding into memory succeeds")
}

/// Checks the public body of a signature entry: signed by `key`, over this root, for this place.
///
/// # Errors
/// [`BadRoot`]: whoever sealed the entry, or changed it since.
pub fn verify_root(
    key: &PublicKey,
    header: &Header,
    body: &[u8],
) -> Result<RootSignature, BadRoot> {
    if body.len() > ROOT_BYTES_MAX {
        return Err(BadRoot::Shape("too long"));
    }
    let read: Body =
        minicbor::decode(body).map_err(|_| BadRoot::Shape("not a frontier and a COSE object"))?;
    if minicbor::to_vec(&read).is_ok_and(|again| again != body) {
        return Err(BadRoot::Shape("not the one encoding of a root signature"));
    }
    let Body { frontier, cose } = read;
    frontier
        .check()
        .map_err(|_| BadRoot::Shape("digests and length of the frontier differ"))?;
    let object =
        CoseSign1::from_tagged_slice(&cose).map_err(|_| BadRoot::Shape("not a COSE_Sign1"))?;
    let exact = object
        .clone()
        .to_tagged_vec()
        .is_ok_and(|again| again == cose);
    if !exact || !object.unprotected.is_empty() {
        return Err(BadRoot::Shape("not the one encoding of a root signature"));
    }
    let found = verify_statement(key, &object, frontier.root())?;
    let expected = statement(found.network, header, &frontier);
    for (same, what) in [
        (found.term == expected.term, "the term"),
        (found.index == expected.index, "the index"),
        (found.restarts == expected.restarts, "the restart count"),
        (found.epoch == expected.epoch, "the epoch"),
        (found.time == expected.time, "the time"),
        (found.previous == expected.previous, "the entry before"),
        (found.size == expected.size, "the number of leaves"),
    ] {
        if !same {
            return Err(BadRoot::Header(what));
        }
    }
    Ok(RootSignature {
        statement: found,
        frontier,
        cose,
    })
}

/// Checks a COSE object over a root and gives its statement.
pub(crate) fn verify_statement(
    key: &PublicKey,
    object: &CoseSign1,
    root: Digest,
) -> Result<RootStatement, BadRoot> {
    let statement = read(&object.protected.header).ok_or(BadRoot::Shape(
        "the protected header is not that of a root signature",
    ))?;
    // Only one encoding is ours: nothing is stated that was not looked at.
    let exact = protected(key, &statement).to_vec().ok();
    if object.payload.is_some() || object.protected.original_data != exact {
        return Err(BadRoot::Shape(
            "the protected header is not that of this key",
        ));
    }
    object
        .verify_detached_signature(&root.0, &[], |signature, content| {
            key.verify(content, signature)
        })
        .map_err(|_| BadRoot::Signature)?;
    Ok(statement)
}

fn statement(network: NetworkId, header: &Header, frontier: &Frontier) -> RootStatement {
    RootStatement {
        network,
        restarts: header.restarts,
        term: header.term,
        index: header.index,
        epoch: header.epoch,
        time: header.time,
        size: frontier.len(),
        previous: header.previous,
    }
}

fn protected(key: &PublicKey, statement: &RootStatement) -> CoseHeader {
    let number = |n: u64| Value::Integer(Integer::from(n));
    let text = |t: &str| Value::Text(t.to_owned());
    let sub = core::str::from_utf8(Context::LedgerRoot.bytes()).expect("contexts are ASCII");
    let cwt = vec![
        (number(1), text(&statement.network.to_string())), // iss
        (number(2), text(sub)),
        (number(6), number(statement.time.0 / 1000)), // iat, in seconds
    ];
    let coco = vec![
        (text("size"), number(statement.size)),
        (text("term"), number(statement.term.0)),
        (text("time"), number(statement.time.0)),
        (text("epoch"), number(statement.epoch.0)),
        (text("index"), number(statement.index.0)),
        (
            text("previous"),
            Value::Bytes(statement.previous.0.to_vec()),
        ),
        (text("restarts"), number(u64::from(statement.restarts))),
    ];
    HeaderBuilder::new()
        .algorithm(iana::Algorithm::ES256)
        .key_id(key.fingerprint().to_string().into_bytes())
        .value(CWT_LABEL, Value::Map(cwt))
        .value(VDS_LABEL, Value::Integer(VDS_CCF_LEDGER.into()))
        .text_value(COCO_LABEL.to_owned(), Value::Map(coco))
        .build()
}

/// Reads the statement. Whether the header has anything else is asked by encoding it again.
fn read(header: &CoseHeader) -> Option<RootStatement> {
    let map = |label: &Label| {
        header
            .rest
            .iter()
            .find(|(l, _)| l == label)
            .and_then(|(_, value)| value.as_map())
    };
    let cwt = map(&Label::Int(CWT_LABEL))?;
    let coco = map(&Label::Text(COCO_LABEL.to_owned()))?;
    let field = |name: &str| {
        coco.iter()
            .find(|(key, _)| key.as_text() == Some(name))
            .map(|(_, value)| value)
    };
    let number = |name: &str| -> Option<u64> { field(name)?.as_integer()?.try_into().ok() };
    let issuer = cwt
        .iter()
        .find(|(key, _)| *key == Value::Integer(1.into()))?;
    Some(RootStatement {
        network: issuer.1.as_text()?.parse().ok()?,
        restarts: number("restarts")?.try_into().ok()?,
        term: Term(number("term")?),
        index: Index(number("index")?),
        epoch: Epoch(number("epoch")?),
        time: Millis(number("time")?),
        size: number("size")?,
        previous: Digest::from_slice(field("previous")?.as_bytes()?)?,
    })
}
