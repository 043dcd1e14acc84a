//! The certificate of a VN: its key, the network that vouches for it, and its evidence.
//!
//! The network identity key issues it after the network has appraised the VN. Clients that want to judge
//! for themselves find the evidence in the extension id-pe-cmw (1.3.6.1.5.5.7.1.35, RFC 9999): a CMW in its
//! CBOR choice, an OCTET STRING that holds a collection of CMW records [media type, value, indicator]:
//!
//! ```text
//! { "network":      ["application/vnd.coco.network+cbor",      << [network id, restarts, issued] >>, 8],
//!   "evidence":     ["application/vnd.coco.evidence+cbor",     bytes for tee::appraise,           4],
//!   "endorsements": ["application/vnd.coco.endorsements",      bytes for tee::appraise,           2] }
//! ```
//!
//! `issued` is the ledger time of issue in milliseconds: the network judged the evidence then, so whoever
//! judges it again passes that time to `tee::appraise`, and compares its own clock with the certificate's
//! period. The indicator says what a record is: 2 endorsements, 4 evidence, 8 result (here: the issuer's word).

use crypto::{Certificate, CertificateRequest, Extension, PublicKey, SigningKey, issue};
use minicbor::{Decoder, Encoder};
use types::{Millis, NetworkId};

/// id-pe-cmw.
const CMW: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 35];

const NETWORK: Record = Record {
    label: "network",
    media: "application/vnd.coco.network+cbor",
    indicator: 8,
};
const EVIDENCE: Record = Record {
    label: "evidence",
    media: "application/vnd.coco.evidence+cbor",
    indicator: 4,
};
const ENDORSEMENTS: Record = Record {
    label: "endorsements",
    media: "application/vnd.coco.endorsements",
    indicator: 2,
};

/// Most bytes of evidence and endorsements together: a TLS certificate message holds 64 KiB.
const STATEMENT_BYTES_MAX: usize = 56 << 10;

/// Most names of a VN, and the longest (RFC 1035).
const NAMES_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 253;

struct Record {
    label: &'static str,
    media: &'static str,
    indicator: u8,
}

/// What a VN certificate says beside the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCertificate<'a> {
    /// The network.
    pub network: NetworkId,
    /// How often the network was restarted as a whole.
    pub restarts: u64,
    /// For people.
    pub common_name: &'a str,
    /// DNS names and IP addresses under which the VN is reached.
    pub names: &'a [String],
    /// What `tee::appraise` takes.
    pub evidence: &'a [u8],
    /// What `tee::appraise` takes.
    pub endorsements: &'a [u8],
    /// First moment of validity: the ledger time of issue.
    pub not_before: Millis,
    /// Last moment of validity.
    pub not_after: Millis,
    /// Random.
    pub serial: [u8; 16],
}

/// What was found in a VN certificate. It is as true as its issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatement {
    /// The network.
    pub network: NetworkId,
    /// Its restart count when the certificate was issued.
    pub restarts: u64,
    /// Ledger time of issue: the time at which to judge the evidence.
    pub issued: Millis,
    /// For `tee::appraise`.
    pub evidence: Vec<u8>,
    /// For `tee::appraise`.
    pub endorsements: Vec<u8>,
}

/// Why a certificate cannot be made. Whoever configured the VN must change it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStatement {
    #[error(
        "{0:?} is neither a DNS name nor an IP address, or there are more than {NAMES_MAX} names"
    )]
    Name(String),
    #[error(
        "evidence and endorsements have {0} bytes, more than the {STATEMENT_BYTES_MAX} that fit into a handshake"
    )]
    TooLong(usize),
}

/// The network identity's own certificate: what clients pin.
pub fn network_certificate(
    key: &SigningKey,
    name: &str,
    not_before: Millis,
    not_after: Millis,
    serial: [u8; 16],
) -> Certificate {
    let request = CertificateRequest {
        common_name: name,
        dns_names: Vec::new(),
        not_before,
        not_after,
        authority: true,
        extensions: Vec::new(),
        serial,
    };
    issue(key.public(), &request, key, None)
}

/// A VN's certificate, issued by the network identity.
///
/// # Errors
/// [`BadStatement`].
pub fn node_certificate(
    statement: &NodeCertificate<'_>,
    node: &PublicKey,
    network_key: &SigningKey,
    network: &Certificate,
) -> Result<Certificate, BadStatement> {
    Ok(issue(
        node,
        &statement.request()?,
        network_key,
        Some(network),
    ))
}

/// A VN's certificate for itself, as long as the network has not admitted it.
///
/// # Errors
/// [`BadStatement`].
pub fn self_signed_certificate(
    statement: &NodeCertificate<'_>,
    node: &SigningKey,
) -> Result<Certificate, BadStatement> {
    Ok(issue(node.public(), &statement.request()?, node, None))
}

/// Reads what a VN certificate says; `None` if it says nothing or something malformed.
pub fn statement_of(certificate: &Certificate) -> Option<CertificateStatement> {
    let value = certificate.extension(CMW)?;
    let cmw = octet_string(&value)?;
    let mut decoder = Decoder::new(cmw);
    if decoder.map().ok()?? != 3 {
        return None;
    }
    let network = NETWORK.read(&mut decoder)?;
    let evidence = EVIDENCE.read(&mut decoder)?;
    let endorsements = ENDORSEMENTS.read(&mut decoder)?;
    if decoder.position() != cmw.len() {
        return None;
    }
    let (network, restarts, issued): (NetworkId, u64, Millis) = minicbor::decode(network).ok()?;
    Some(CertificateStatement {
        network,
        restarts,
        issued,
        evidence: evidence.to_vec(),
        endorsements: endorsements.to_vec(),
    })
}

/// Evidence and endorsements of a VN certificate.
pub fn evidence_of(certificate: &Certificate) -> Option<(Vec<u8>, Vec<u8>)> {
    statement_of(certificate).map(|s| (s.evidence, s.endorsements))
}

impl NodeCertificate<'_> {
    fn request(&self) -> Result<CertificateRequest<'_>, BadStatement> {
        if let Some(name) = self.names.iter().find(|name| !is_name(name)) {
            return Err(BadStatement::Name(name.clone()));
        }
        if self.names.len() > NAMES_MAX {
            return Err(BadStatement::Name(self.names[NAMES_MAX].clone()));
        }
        let bytes = self.evidence.len().saturating_add(self.endorsements.len());
        if bytes > STATEMENT_BYTES_MAX {
            return Err(BadStatement::TooLong(bytes));
        }
        Ok(CertificateRequest {
            common_name: self.common_name,
            dns_names: self.names.to_vec(),
            not_before: self.not_before,
            not_after: self.not_after,
            authority: false,
            extensions: vec![Extension {
                oid: CMW.to_vec(),
                value: self.cmw(),
            }],
            serial: self.serial,
        })
    }

    fn cmw(&self) -> Vec<u8> {
        let network = minicbor::to_vec((self.network, self.restarts, self.not_before))
            .expect("a value in memory can be encoded");
        let mut encoder = Encoder::new(Vec::new());
        encoder.map(3).expect("a vector takes every byte");
        NETWORK.write(&network, &mut encoder);
        EVIDENCE.write(self.evidence, &mut encoder);
        ENDORSEMENTS.write(self.endorsements, &mut encoder);
        into_octet_string(&encoder.into_writer())
    }
}

impl Record {
    fn write(&self, value: &[u8], encoder: &mut Encoder<Vec<u8>>) {
        encoder
            .str(self.label)
            .and_then(|e| e.array(3))
            .and_then(|e| e.str(self.media))
            .and_then(|e| e.bytes(value))
            .and_then(|e| e.u8(self.indicator))
            .expect("a vector takes every byte");
    }

    fn read<'b>(&self, decoder: &mut Decoder<'b>) -> Option<&'b [u8]> {
        let known = decoder.str().ok()? == self.label
            && decoder.array().ok()? == Some(3)
            && decoder.str().ok()? == self.media;
        let value = decoder.bytes().ok()?;
        (known && decoder.u8().ok()? == self.indicator).then_some(value)
    }
}

fn is_name(name: &str) -> bool {
    name.parse::<core::net::IpAddr>().is_ok()
        || (!name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)))
}

/// DER of an OCTET STRING.
fn into_octet_string(content: &[u8]) -> Vec<u8> {
    let mut der = vec![4];
    if let Ok(short @ ..0x80) = u8::try_from(content.len()) {
        der.push(short);
    } else {
        let length = (content.len() as u64).to_be_bytes(); // usize is at most 64 bits
        let zeros = length.iter().take_while(|b| **b == 0).count();
        der.push(0x80 | (length.len() - zeros) as u8); // at most 8
        der.extend_from_slice(&length[zeros..]);
    }
    der.extend_from_slice(content);
    der
}

/// The content of exactly one OCTET STRING in DER.
fn octet_string(der: &[u8]) -> Option<&[u8]> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, content) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, content) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let long = bytes.len() > 4 || bytes.first().is_none_or(|b| *b == 0);
        let length = bytes.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
        if long || length < 0x80 {
            return None;
        }
        (length, content)
    };
    (tag == 4 && length == content.len()).then_some(content)
}
