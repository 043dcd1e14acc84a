//! AMD SEV-SNP: evidence is the raw attestation report of 1184 bytes that the secure processor signed.
//!
//! Endorsements are the certificate of the signing key and the intermediate above it, and a revocation list
//! if the manifest asks for one; the root (ARK) is in the manifest. Everything is our own code over a fixed
//! layout, because a verdict must be the same on every VN and for every later auditor.
//!
//! Source: AMD 56860 "SEV-SNP Firmware ABI", ATTESTATION_REPORT; AMD 57230 "VCEK certificate and KDS".

mod chain;
mod report;

use minicbor::{Decode, Encode};
use types::Millis;

use crate::{Accepted, Claims, Platform, Refused, Strength, exact};

/// What the untrusted host fetched from AMD (or from its cloud) for a report.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Endorsements {
    /// DER of the VCEK's or VLEK's certificate.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// DER of the ASK's or ASVK's certificate.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub intermediate: Vec<u8>,
    /// DER of AMD's revocation list for the product.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub crl: Option<Vec<u8>>,
}

impl Endorsements {
    /// The bytes that [`crate::appraise`] takes.
    pub fn to_bytes(&self) -> Vec<u8> {
        exact::encode(self)
    }
}

/// Checks form, chain, dates, revocation, signature, and that key and report speak of the same machine.
pub(crate) fn appraise(
    evidence: &[u8],
    endorsements: &[u8],
    accepted: &Accepted,
    now: Millis,
) -> Result<Claims, Refused> {
    let report = report::Report::parse(evidence)?;
    let endorsements: Endorsements = exact::decode(endorsements)
        .ok_or(Refused::Endorsements("not CBOR [key, intermediate, crl]"))?;
    let key = chain::verify(&endorsements, accepted, now)?;
    report.verify(&key)?;
    if report.vmpl > u32::from(accepted.vmpl_max) {
        return Err(Refused::Vmpl {
            found: report.vmpl,
            maximum: accepted.vmpl_max,
        });
    }
    Ok(Claims {
        platform: Platform::SevSnp,
        strength: Strength::Hardware,
        measurement: report.measurement.to_vec(),
        svn: u64::from(report.guest_svn),
        report_data: report.report_data,
        launch_data: report.host_data.to_vec(),
        debug: report.debug,
        migratable: report.migratable,
        tcb: report.tcb(&key),
        tcb_status: "UpToDate".into(),
        advisories: Vec::new(),
        valid_until: Some(key.valid_until),
        missing: Vec::new(),
        shared_user: false,
    })
}

/// The measurement in a report, unchecked.
pub(crate) fn measured(evidence: &[u8]) -> Option<Vec<u8>> {
    let report = report::Report::parse(evidence).ok()?;
    Some(report.measurement.to_vec())
}

#[cfg(test)]
mod forge;
#[cfg(test)]
mod tests;
