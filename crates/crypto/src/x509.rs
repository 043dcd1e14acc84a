//! X.509: actors come with certificates of their own; VNs get theirs from the network identity.

use core::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use types::Millis;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::{PublicKey, SigningKey, sha256};

const CERTIFICATE_BYTES_MAX: usize = 256 << 10;
const CHAIN_CERTIFICATES_MAX: usize = 6;

/// AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 5758).
const ECDSA_WITH_SHA256: &[u8] = &[0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// Why a certificate or a chain is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    #[error("not an X.509 certificate in DER with a P-256 key")]
    Shape,
    #[error("the certificate is not valid at this time")]
    Time,
    #[error("the certificate is not signed by its issuer")]
    Signature,
    #[error("the issuer is not a certificate authority")]
    NotAnAuthority,
    #[error("the chain does not lead to a certificate that is listed")]
    Unlisted,
}

/// A parsed certificate with a P-256 key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    key: PublicKey,
    subject: String,
    not_before: Millis,
    not_after: Millis,
    authority: bool,
}

/// A certificate to be issued.
#[derive(Debug, Clone)]
pub struct CertificateRequest<'a> {
    pub common_name: &'a str,
    pub dns_names: Vec<String>,
    pub not_before: Millis,
    pub not_after: Millis,
    pub authority: bool,
    pub extensions: Vec<Extension>,
    /// At most 20 bytes; unique per issuer.
    pub serial: [u8; 16],
}

/// A non-critical extension: object identifier and DER value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    pub oid: Vec<u64>,
    pub value: Vec<u8>,
}

struct Signer<'a>(&'a SigningKey);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public().as_sec1()
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(der_signature(&self.0.sign(bytes)))
    }
}

struct Subject<'a>(&'a PublicKey);

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_sec1()
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// ECDSA-Sig-Value (RFC 3279) of a fixed signature.
fn der_signature(fixed: &crate::Signature) -> Vec<u8> {
    fn integer(bytes: &[u8], out: &mut Vec<u8>) {
        let start = bytes
            .iter()
            .position(|b| *b != 0)
            .unwrap_or(bytes.len() - 1);
        let bytes = &bytes[start..];
        let pad = bytes[0] & 0x80 != 0;
        out.extend_from_slice(&[
            2,
            u8::try_from(bytes.len() + usize::from(pad)).expect("at most 33"),
        ]);
        if pad {
            out.push(0);
        }
        out.extend_from_slice(bytes);
    }
    let mut body = Vec::with_capacity(70);
    integer(&fixed[..32], &mut body);
    integer(&fixed[32..], &mut body);
    let mut der = vec![0x30, u8::try_from(body.len()).expect("at most 70")];
    der.append(&mut body);
    der
}

/// Issues a certificate for `subject`, signed by `issuer` (self-signed if its certificate is none).
///
/// # Panics
/// If a DNS name is not ASCII: whoever asks has checked it.
pub fn issue(
    subject: &PublicKey,
    request: &CertificateRequest<'_>,
    issuer: &SigningKey,
    issuer_certificate: Option<&Certificate>,
) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, request.common_name);
    params.subject_alt_names = request
        .dns_names
        .iter()
        .map(|name| match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(
                name.as_str()
                    .try_into()
                    .expect("the caller checked the name"),
            ),
        })
        .collect();
    params.not_before = date(request.not_before);
    params.not_after = date(request.not_after);
    params.serial_number = Some(SerialNumber::from_slice(&positive(request.serial)));
    if request.authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
    } else {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
    }
    params.custom_extensions = request
        .extensions
        .iter()
        .map(|e| CustomExtension::from_oid_content(&e.oid, e.value.clone()))
        .collect();
    let signer = Signer(issuer);
    let certificate = match issuer_certificate {
        Some(parent) => {
            let issuer = rcgen::Issuer::from_ca_cert_der(
                &CertificateDer::from(parent.der.as_slice()),
                signer,
            )
            .expect("a parsed certificate can be an issuer");
            params.signed_by(&Subject(subject), &issuer)
        }
        None => params.self_signed(&signer),
    };
    Certificate::from_der(certificate.expect("the parameters are complete").der())
        .expect("what was just made can be read")
}

fn positive(mut serial: [u8; 16]) -> [u8; 16] {
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

/// rcgen takes dates of the `time` crate; ours are milliseconds.
fn date(at: Millis) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(
        i64::try_from(at.0 / 1000)
            .unwrap_or(i64::MAX)
            .min(253_402_300_799),
    )
    .expect("clamped to the year 9999")
}

impl Certificate {
    /// # Errors
    /// [`BadCertificate::Shape`].
    pub fn from_der(der: &[u8]) -> Result<Self, BadCertificate> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(BadCertificate::Shape);
        }
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| BadCertificate::Shape)?;
        if !rest.is_empty() {
            return Err(BadCertificate::Shape);
        }
        let key = PublicKey::from_sec1(&parsed.public_key().subject_public_key.data)
            .map_err(|_| BadCertificate::Shape)?;
        let authority = parsed
            .basic_constraints()
            .map_err(|_| BadCertificate::Shape)?
            .is_some_and(|c| c.value.ca);
        let subject = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|n| n.as_str().ok())
            .unwrap_or_default()
            .to_owned();
        let millis = |t: ASN1Time| {
            Millis(
                u64::try_from(t.timestamp())
                    .unwrap_or(0)
                    .saturating_mul(1000),
            )
        };
        let validity = parsed.validity();
        Ok(Self {
            key,
            subject,
            authority,
            not_before: millis(validity.not_before),
            not_after: millis(validity.not_after),
            der: der.to_vec(),
        })
    }

    /// Reads all certificates of a PEM file, leaf first.
    ///
    /// # Errors
    /// [`BadCertificate::Shape`], also when there is none.
    pub fn chain_from_pem(text: &str) -> Result<Vec<Self>, BadCertificate> {
        let blocks = pem::parse_many(text).map_err(|_| BadCertificate::Shape)?;
        let chain: Vec<_> = blocks
            .iter()
            .filter(|b| b.tag() == "CERTIFICATE")
            .map(|b| Self::from_der(b.contents()))
            .collect::<Result<_, _>>()?;
        if chain.is_empty() || chain.len() > CHAIN_CERTIFICATES_MAX {
            Err(BadCertificate::Shape)
        } else {
            Ok(chain)
        }
    }

    pub fn to_pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.der.clone()))
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The subject's common name; only for people to read.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub fn is_authority(&self) -> bool {
        self.authority
    }

    pub fn fingerprint(&self) -> types::Digest {
        sha256(&self.der)
    }

    pub fn not_before(&self) -> Millis {
        self.not_before
    }

    pub fn not_after(&self) -> Millis {
        self.not_after
    }

    /// # Errors
    /// [`BadCertificate::Time`].
    pub fn valid_at(&self, now: Millis) -> Result<(), BadCertificate> {
        if self.not_before <= now && now <= self.not_after {
            Ok(())
        } else {
            Err(BadCertificate::Time)
        }
    }

    /// The value of a non-critical extension.
    pub fn extension(&self, oid: &[u64]) -> Option<Vec<u8>> {
        let (_, parsed) = X509Certificate::from_der(&self.der).expect("parsed when made");
        let wanted = x509_parser::oid_registry::Oid::from(oid).ok()?;
        parsed
            .get_extension_unique(&wanted)
            .ok()
            .flatten()
            .map(|e| e.value.to_vec())
    }

    /// Checks that `issuer` signed this.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn issued_by(&self, issuer: &Certificate) -> Result<(), BadCertificate> {
        if !issuer.authority {
            return Err(BadCertificate::NotAnAuthority);
        }
        let (_, child) = X509Certificate::from_der(&self.der).expect("parsed when made");
        let (_, parent) = X509Certificate::from_der(&issuer.der).expect("parsed when made");
        if child.issuer() != parent.subject() {
            return Err(BadCertificate::Signature);
        }
        // One encoding only (DER): what stands behind the signed part is compared byte by byte,
        // since the parser is more tolerant than a certificate that is pinned by digest may be.
        let signature = &child.signature_value.data;
        let tail = [
            ECDSA_WITH_SHA256,
            &[
                3,
                u8::try_from(signature.len() + 1).map_err(|_| BadCertificate::Signature)?,
                0,
            ],
            signature,
        ]
        .concat();
        let signed = child.tbs_certificate.as_ref();
        if !self.der.ends_with(&tail) || self.der.len() != 4 + signed.len() + tail.len() {
            return Err(BadCertificate::Signature);
        }
        let fixed =
            fixed_signature(&child.signature_value.data).ok_or(BadCertificate::Signature)?;
        issuer
            .key
            .verify(child.tbs_certificate.as_ref(), &fixed)
            .map_err(|_| BadCertificate::Signature)
    }
}

/// Reads an ECDSA-Sig-Value: two positive integers of at most 32 bytes.
fn fixed_signature(der: &[u8]) -> Option<crate::Signature> {
    fn integer(der: &[u8]) -> Option<([u8; 32], &[u8])> {
        let (&[tag, length], rest) = der.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        let value = value.strip_prefix(&[0]).unwrap_or(value);
        let mut fixed = [0; 32];
        fixed
            .get_mut(32usize.checked_sub(value.len())?..)?
            .copy_from_slice(value);
        (tag == 2).then_some((fixed, rest))
    }
    let (&[tag, length], body) = der.split_first_chunk::<2>()?;
    if tag != 0x30 || usize::from(length) != body.len() {
        return None;
    }
    let (r, rest) = integer(body)?;
    let (s, rest) = integer(rest)?;
    let mut fixed = [0; 64];
    fixed[..32].copy_from_slice(&r);
    fixed[32..].copy_from_slice(&s);
    rest.is_empty().then_some(fixed)
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} {:?})", self.subject, self.fingerprint())
    }
}

/// Checks a chain (leaf first) at `now` and finds which of `listed` it leads to: the leaf itself is
/// listed, or a listed authority issued a certificate of the chain. Gives the place in `listed`.
///
/// # Errors
/// [`BadCertificate`] names the first thing that is wrong.
pub fn verify_chain(
    chain: &[Certificate],
    listed: &[Certificate],
    now: Millis,
) -> Result<usize, BadCertificate> {
    let Some(leaf) = chain.first() else {
        return Err(BadCertificate::Shape);
    };
    if chain.len() > CHAIN_CERTIFICATES_MAX {
        return Err(BadCertificate::Shape);
    }
    leaf.valid_at(now)?;
    if let Some(place) = listed.iter().position(|c| c.der == leaf.der) {
        return Ok(place);
    }
    for (depth, certificate) in chain.iter().enumerate() {
        certificate.valid_at(now)?;
        for (place, authority) in listed.iter().enumerate() {
            if authority.authority && certificate.issued_by(authority).is_ok() {
                authority.valid_at(now)?;
                return Ok(place);
            }
        }
        if let Some(next) = chain.get(depth + 1) {
            certificate.issued_by(next)?;
        }
    }
    Err(BadCertificate::Unlisted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entropy;

    const DAY: u64 = 86_400_000;

    fn make(
        name: &str,
        seed: u8,
        authority: bool,
        parent: Option<(&SigningKey, &Certificate)>,
    ) -> (SigningKey, Certificate) {
        let key = SigningKey::generate(&mut Entropy::new(&[seed; 32]));
        let request = CertificateRequest {
            common_name: name,
            dns_names: vec!["localhost".into()],
            not_before: Millis(DAY),
            not_after: Millis(100 * DAY),
            authority,
            extensions: vec![Extension {
                oid: vec![1, 3, 6, 1, 4, 1, 99999, 1],
                value: vec![4, 1, seed],
            }],
            serial: [seed; 16],
        };
        let certificate = match parent {
            Some((parent_key, parent)) => issue(key.public(), &request, parent_key, Some(parent)),
            None => issue(key.public(), &request, &key, None),
        };
        (key, certificate)
    }

    #[test]
    fn a_leaf_under_a_listed_intermediate_is_found_and_others_are_refused() {
        let (ca_key, ca) = make("ca", 1, true, None);
        let (mid_key, mid) = make("mid", 2, true, Some((&ca_key, &ca)));
        let (leaf_key, leaf) = make("leaf", 3, false, Some((&mid_key, &mid)));
        let (_, forged) = make("forged", 4, false, Some((&leaf_key, &leaf)));
        let (_, stranger) = make("stranger", 5, false, None);
        let now = Millis(2 * DAY);
        let listed = [stranger.clone(), ca.clone()];
        assert_eq!(
            verify_chain(&[leaf.clone(), mid.clone()], &listed, now),
            Ok(1)
        );
        assert_eq!(
            verify_chain(std::slice::from_ref(&stranger), &listed, now),
            Ok(0)
        );
        assert_eq!(
            verify_chain(std::slice::from_ref(&leaf), &listed, now),
            Err(BadCertificate::Unlisted),
            "intermediate missing"
        );
        assert_eq!(
            verify_chain(&[forged, leaf.clone(), mid.clone()], &listed, now),
            Err(BadCertificate::NotAnAuthority)
        );
        assert_eq!(
            verify_chain(&[leaf.clone(), mid.clone()], &listed, Millis(0)),
            Err(BadCertificate::Time)
        );
        assert_eq!(
            leaf.extension(&[1, 3, 6, 1, 4, 1, 99999, 1]),
            Some(vec![4, 1, 3])
        );
    }

    #[test]
    fn any_flipped_byte_breaks_a_leaf() {
        let (ca_key, ca) = make("ca", 1, true, None);
        let (_, leaf) = make("leaf", 3, false, Some((&ca_key, &ca)));
        for at in 0..leaf.der().len() {
            let mut der = leaf.der().to_vec();
            der[at] ^= 1;
            let verdict = Certificate::from_der(&der)
                .and_then(|c| verify_chain(&[c], std::slice::from_ref(&ca), Millis(2 * DAY)));
            assert!(verdict.is_err(), "byte {at}");
        }
    }
}
