//! AMD's certificates: ARK (root, in the manifest) → ASK or ASVK → VCEK (one chip at one TCB) or VLEK
//! (loaded by a cloud, at one TCB).
//!
//! All are signed by RSASSA-PSS with SHA-384; the last carries a key on P-384 and AMD's own extensions.

use types::Millis;
use x509_parser::oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, Oid};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::snp::Endorsements;
use crate::{Accepted, Refused, Tcb};

/// Longest certificate and revocation list that are looked at.
const CERTIFICATE_BYTES_MAX: usize = 16 << 10;
const CRL_BYTES_MAX: usize = 256 << 10;

/// AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt. The trailer field
/// has one value; older AMD certificates spell it out, newer ones leave it away, as DER wants. No other
/// encoding is accepted.
pub(super) const RSA_PSS_SHA384: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x30,
];
const RSA_PSS_SHA384_TRAILER: &[u8] = &[
    0x30, 0x46, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x39, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x30, 0xa3, 0x03, 0x02, 0x01, 0x01,
];

/// AMD's extensions, below 1.3.6.1.4.1.3704.1.
const PRODUCT: &[u64] = &[2];
const HARDWARE_ID: &[u64] = &[4];
const CLOUD: &[u64] = &[5];
const PARTS: [(&str, &[u64]); 4] = [
    ("bootloader", &[3, 1]),
    ("tee", &[3, 2]),
    ("snp", &[3, 3]),
    ("microcode", &[3, 8]),
];
const FMC: &[u64] = &[3, 9];

/// A processor generation: they lay out their TCB versions differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    Milan,
    Genoa,
    Turin,
}

/// What kind of key signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signer {
    /// VCEK: derived from this chip's identity (Turin's eight bytes are padded with zeros).
    Chip([u8; 64]),
    /// VLEK: loaded by a cloud into many chips.
    Loaded,
}

/// The key that may sign reports, as AMD certified it.
#[derive(Debug)]
pub(super) struct EndorsedKey {
    pub(super) point: Vec<u8>,
    pub(super) signer: Signer,
    pub(super) product: Product,
    pub(super) tcb: Tcb,
    pub(super) valid_until: Millis,
}

/// Checks the chain up to a root of the manifest, dates and revocation.
pub(super) fn verify(
    given: &Endorsements,
    accepted: &Accepted,
    now: Millis,
) -> Result<EndorsedKey, Refused> {
    let key = parse(&given.key)?;
    let intermediate = parse(&given.intermediate)?;
    let authority = intermediate
        .basic_constraints()
        .ok()
        .flatten()
        .is_some_and(|c| c.value.ca);
    if !authority {
        return Err(Refused::Chain(
            "the intermediate is not a certificate authority".into(),
        ));
    }
    let (root_der, root) = accepted
        .roots
        .iter()
        .filter_map(|r| parse(&r.0).ok().map(|root| (&r.0, root)))
        .find(|(_, root)| {
            is_signed_by(&given.intermediate, root) && intermediate.issuer() == root.subject()
        })
        .ok_or_else(|| Refused::Chain("no ARK of the manifest signed the intermediate".into()))?;
    if !is_signed_by(&given.key, &intermediate) || key.issuer() != intermediate.subject() {
        return Err(Refused::Chain(
            "the intermediate did not sign the key's certificate".into(),
        ));
    }
    let mut valid_until = Millis(u64::MAX);
    for (name, certificate) in [
        ("key", &key),
        ("intermediate", &intermediate),
        ("root", &root),
    ] {
        let validity = certificate.validity();
        valid_until = valid_until.min(within(name, validity.not_before, validity.not_after, now)?);
    }
    for der in [&given.key, &given.intermediate, root_der] {
        if accepted.revoked.contains(&crypto::sha256(der)) {
            return Err(Refused::Revoked);
        }
    }
    match &given.crl {
        Some(crl) => valid_until = valid_until.min(not_revoked(crl, &intermediate, &root, now)?),
        None if accepted.require_crl => {
            return Err(Refused::Endorsements(
                "the manifest asks for AMD's revocation list, and there is none",
            ));
        }
        None => {}
    }
    endorsed(&key, &intermediate, valid_until)
}

/// Reads AMD's extensions.
fn endorsed(
    key: &X509Certificate<'_>,
    intermediate: &X509Certificate<'_>,
    valid_until: Millis,
) -> Result<EndorsedKey, Refused> {
    let unreadable = Refused::Endorsements("the key's certificate lacks AMD's extensions");
    let name = extension(key, PRODUCT)
        .and_then(|v| v.strip_prefix(&[0x16])?.get(1..))
        .ok_or(unreadable.clone())?;
    let product = match name {
        n if n.starts_with(b"Milan") => Product::Milan,
        n if n.starts_with(b"Genoa") || n.starts_with(b"Siena") || n.starts_with(b"Bergamo") => {
            Product::Genoa
        }
        n if n.starts_with(b"Turin") => Product::Turin,
        _ => {
            return Err(Refused::Endorsements(
                "the product is unknown in this version",
            ));
        }
    };
    let mut tcb = Tcb::new();
    for (part, oid) in PARTS {
        tcb.insert(
            part.into(),
            extension(key, oid)
                .and_then(small)
                .ok_or(unreadable.clone())?,
        );
    }
    if product == Product::Turin {
        tcb.insert(
            "fmc".into(),
            extension(key, FMC)
                .and_then(small)
                .ok_or(unreadable.clone())?,
        );
    }
    let vlek_issuer = intermediate
        .subject()
        .iter_common_name()
        .any(|n| n.as_str().is_ok_and(|n| n.starts_with("SEV-VLEK-")));
    let signer = match (extension(key, HARDWARE_ID), extension(key, CLOUD)) {
        (Some(id), None) if !vlek_issuer => {
            // Encoded raw; later firmware wraps it as an OCTET STRING.
            let id = match id {
                [4, 64, rest @ ..] if rest.len() == 64 => rest,
                [4, 8, rest @ ..] if rest.len() == 8 => rest,
                _ => id,
            };
            let mut chip = [0; 64];
            let expected = if product == Product::Turin { 8 } else { 64 };
            if id.len() != expected && id.len() != 64 {
                return Err(Refused::Endorsements(
                    "the chip's identity has an unknown length",
                ));
            }
            chip[..id.len()].copy_from_slice(id);
            Signer::Chip(chip)
        }
        (None, Some(_)) if vlek_issuer => Signer::Loaded,
        _ => {
            return Err(Refused::Endorsements(
                "the certificate is neither a VCEK's nor a VLEK's",
            ));
        }
    };
    if key.public_key().algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return Err(Refused::Endorsements("the key is not on P-384"));
    }
    Ok(EndorsedKey {
        point: key.public_key().subject_public_key.data.to_vec(),
        signer,
        product,
        tcb,
        valid_until,
    })
}

/// Checks AMD's revocation list: signed by the root, current, and without the intermediate.
fn not_revoked(
    der: &[u8],
    intermediate: &X509Certificate<'_>,
    root: &X509Certificate<'_>,
    now: Millis,
) -> Result<Millis, Refused> {
    if der.len() > CRL_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let (_, crl) = CertificateRevocationList::from_der(der)
        .map_err(|_| Refused::Endorsements("the revocation list is unreadable"))?;
    if crl.issuer() != root.subject() || !is_signed_by(der, root) {
        return Err(Refused::Chain(
            "the revocation list is not by the chain's root".into(),
        ));
    }
    let next = crl.next_update().ok_or(Refused::Endorsements(
        "the revocation list does not say when it ends",
    ))?;
    let until = within("revocation list", crl.last_update(), next, now)?;
    let revoked = crl
        .iter_revoked_certificates()
        .any(|r| r.raw_serial() == intermediate.raw_serial());
    if revoked {
        Err(Refused::Revoked)
    } else {
        Ok(until)
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Refused> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(Refused::Endorsements("a certificate is unreadable")),
    }
}

/// Whether the key of `issuer` signed this certificate or revocation list.
fn is_signed_by(der: &[u8], issuer: &X509Certificate<'_>) -> bool {
    let key = issuer.public_key();
    key.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION
        && signed_parts(der).is_some_and(|(content, signature)| {
            crypto::verify_rsa_pss(&key.subject_public_key.data, content, signature).is_ok()
        })
}

/// Takes SEQUENCE { content, RSASSA-PSS, BIT STRING } apart, leaving no byte of it unread.
fn signed_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (whole, body, rest) = element(der, 0x30)?;
    let (content, _, after) = element(body, 0x30)?;
    let after = [RSA_PSS_SHA384, RSA_PSS_SHA384_TRAILER]
        .iter()
        .find_map(|algorithm| after.strip_prefix(*algorithm))?;
    let (_, bits, end) = element(after, 0x03)?;
    let signature = bits.strip_prefix(&[0])?;
    (whole.len() == der.len() && rest.is_empty() && end.is_empty()).then_some((content, signature))
}

/// One DER element with this tag: the whole of it, its content, and what follows.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8], &[u8])> {
    let (&[found, first], after) = der.split_first_chunk::<2>()?;
    let (header, length) = match first {
        0..=0x7f => (2, usize::from(first)),
        0x81 => (3, usize::from(*after.first()?)),
        0x82 => (4, usize::from(u16::from_be_bytes(*after.first_chunk()?))),
        0x83 => (
            5,
            after
                .first_chunk::<3>()?
                .iter()
                .fold(0, |n, b| n << 8 | usize::from(*b)),
        ),
        _ => return None,
    };
    let minimal = match header {
        3 => length >= 0x80,
        4 => length >= 0x100,
        5 => length >= 0x1_0000,
        _ => true,
    };
    let (whole, rest) = der.split_at_checked(header + length)?;
    (found == tag && minimal).then_some((whole, &whole[header..], rest))
}

/// Checks a period and gives its end.
fn within(name: &str, from: ASN1Time, until: ASN1Time, now: Millis) -> Result<Millis, Refused> {
    let seconds = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    if seconds < from.timestamp() || seconds > until.timestamp() {
        return Err(Refused::Time(format!(
            "the {name} is valid from {from} to {until}"
        )));
    }
    Ok(Millis(
        u64::try_from(until.timestamp())
            .unwrap_or(0)
            .saturating_mul(1000),
    ))
}

/// The value of one of AMD's extensions.
fn extension<'a>(certificate: &X509Certificate<'a>, place: &[u64]) -> Option<&'a [u8]> {
    let oid = [&[1, 3, 6, 1, 4, 1, 3704, 1], place].concat();
    let oid = Oid::from(&oid).ok()?;
    certificate
        .get_extension_unique(&oid)
        .ok()
        .flatten()
        .map(|e| e.value)
}

/// A DER INTEGER from 0 to 255.
fn small(der: &[u8]) -> Option<u64> {
    match der {
        [2, 1, value @ 0..=0x7f] | [2, 2, 0, value @ 0x80..=0xff] => Some(u64::from(*value)),
        _ => None,
    }
}
