//! The one way from evidence to [`Attested`].

use minicbor::{Decode, Encode};
use types::Millis;

use crate::{
    Accepted, Claims, CodeIdentity, CodeManifest, Manifest, Platform, dcap, exact, snp, software,
};

/// Longest evidence: the longest real one here is an Azure report of some 10 KiB.
const EVIDENCE_BYTES_MAX: usize = 256 << 10;

/// Longest endorsements: Intel collateral is some 40 KiB, its revocation lists can grow.
const ENDORSEMENTS_BYTES_MAX: usize = 1 << 20;

/// Evidence as it travels and is recorded: CBOR [platform, what the platform said].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Evidence {
    /// Which appraiser must look at it.
    #[n(0)]
    pub platform: Platform,
    /// In the platform's own format.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

impl Evidence {
    /// The bytes that [`appraise`] takes.
    pub fn to_bytes(&self) -> Vec<u8> {
        exact::encode(self)
    }
}

/// Why evidence is refused. Whoever presented it must change something; the text says what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the evidence or its endorsements are longer than anything genuine")]
    TooLong,
    #[error("the evidence is malformed: {0}")]
    Malformed(&'static str),
    #[error("the endorsements are malformed: {0}")]
    Endorsements(&'static str),
    #[error("the TEE manifest does not accept {0}")]
    Platform(Platform),
    #[error("the evidence's certificates do not lead to a root of the TEE manifest: {0}")]
    Chain(String),
    #[error("a certificate or list is not valid at this time: {0}")]
    Time(String),
    #[error("a certificate under the evidence is revoked")]
    Revoked,
    #[error("the quote is not good under its collateral: {0}")]
    Quote(String),
    #[error("the signature over the evidence is not by the platform's key")]
    Signature,
    #[error(
        "the evidence is not for this network, purpose, key and challenge: ask for fresh evidence"
    )]
    ReportData,
    #[error(
        "the evidence was made at {made}, too far from ledger time {now}: make fresh evidence, or set the clock"
    )]
    Age { made: Millis, now: Millis },
    #[error("the enclave runs in debug mode, where its operator can look inside")]
    Debug,
    #[error("the enclave may be migrated by an agent, and the TEE manifest does not admit that")]
    Migratable,
    #[error(
        "the platform's {part} has version {found}, and the TEE manifest asks for {minimum}: update the platform"
    )]
    Tcb {
        part: String,
        found: u64,
        minimum: u64,
    },
    #[error(
        "the vendor calls the platform's TCB {0}: update the platform, or accept that status by a vote"
    )]
    TcbStatus(String),
    #[error(
        "security advisory {0} applies and is not accepted by the TEE manifest: update the platform"
    )]
    Advisory(String),
    #[error(
        "the security version is {found}, and the TEE manifest asks for {minimum}: update the launcher or image"
    )]
    Svn { found: u64, minimum: u64 },
    #[error(
        "the report comes from privilege level {found}, and the TEE manifest admits {maximum} at most"
    )]
    Vmpl { found: u32, maximum: u8 },
    #[error(
        "the machine is weakened by {0:?}, and the TEE manifest does not allow that: update it or its settings"
    )]
    Missing(String),
    #[error(
        "the enclave shares its user with the host process, and the TEE manifest does not admit that"
    )]
    SharedUser,
    #[error("the evidence contradicts itself: {0}")]
    Contradiction(&'static str),
    #[error("the code manifest does not list the measurement {0}")]
    Measurement(String),
}

/// An enclave whose evidence satisfied both manifests. Only [`appraise`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    claims: Claims,
    code: CodeIdentity,
}

impl Attested {
    /// What was found.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Which image runs; the caller checks that it is the one that belongs there, and its state.
    pub fn code(&self) -> &CodeIdentity {
        &self.code
    }
}

/// Appraises evidence against what the consortium accepts, at a given (ledger) time.
///
/// `expected` is what the asker computed with [`crate::report_data`].
///
/// # Errors
/// [`Refused`]: data for whoever presented the evidence. If several entries of the TEE manifest are for the
/// platform, the reason is that of an entry whose root the chain led to, if there is one.
pub fn appraise(
    evidence: &[u8],
    endorsements: &[u8],
    manifest: &Manifest,
    code: &CodeManifest,
    expected: &[u8; 64],
    now: Millis,
) -> Result<Attested, Refused> {
    if evidence.len() > EVIDENCE_BYTES_MAX || endorsements.len() > ENDORSEMENTS_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let envelope: Evidence =
        exact::decode(evidence).ok_or(Refused::Malformed("not CBOR [platform, bytes]"))?;
    if envelope.platform.strength() < manifest.strength_min {
        return Err(Refused::Platform(envelope.platform));
    }
    let mut reason = Refused::Platform(envelope.platform);
    for accepted in manifest.entries(envelope.platform) {
        match claims(
            &envelope,
            endorsements,
            accepted,
            manifest.evidence_age_max_ms,
            now,
        )
        .and_then(|claims| admit(claims, accepted, expected))
        {
            Ok(claims) => {
                let code = code
                    .find(claims.platform, &claims.measurement)
                    .ok_or_else(|| Refused::Measurement(hex::encode(&claims.measurement)))?
                    .clone();
                return Ok(Attested { claims, code });
            }
            Err(Refused::Chain(_)) if !matches!(reason, Refused::Platform(_)) => {}
            Err(refused) => reason = refused,
        }
    }
    Err(reason)
}

/// The code that evidence names, of evidence that was appraised when it was presented. Nothing but its form
/// is checked here; none if it has none.
pub fn measured(evidence: &[u8]) -> Option<(Platform, Vec<u8>)> {
    if evidence.len() > EVIDENCE_BYTES_MAX {
        return None;
    }
    let envelope: Evidence = exact::decode(evidence)?;
    let measurement = match envelope.platform {
        Platform::Software => software::measured(&envelope.bytes),
        Platform::SevSnp => snp::measured(&envelope.bytes),
        Platform::Tdx | Platform::SgxDcap => dcap::measured(&envelope.bytes),
        _ => None,
    };
    Some((envelope.platform, measurement?))
}

/// What the platform's own appraiser checks: form, signatures, chain, dates.
fn claims(
    evidence: &Evidence,
    endorsements: &[u8],
    accepted: &Accepted,
    age_max_ms: u64,
    now: Millis,
) -> Result<Claims, Refused> {
    match evidence.platform {
        Platform::Software => {
            software::appraise(&evidence.bytes, endorsements, accepted, age_max_ms, now)
        }
        Platform::SevSnp => snp::appraise(&evidence.bytes, endorsements, accepted, now),
        Platform::Tdx | Platform::SgxDcap => dcap::appraise(
            evidence.platform,
            &evidence.bytes,
            endorsements,
            accepted,
            now,
        ),
        other => Err(Refused::Platform(other)),
    }
}

/// What the manifest asks of any platform.
fn admit(claims: Claims, accepted: &Accepted, expected: &[u8; 64]) -> Result<Claims, Refused> {
    if claims.debug {
        return Err(Refused::Debug);
    }
    if claims.migratable && !accepted.admit_migratable {
        return Err(Refused::Migratable);
    }
    if claims.svn < accepted.svn_min {
        return Err(Refused::Svn {
            found: claims.svn,
            minimum: accepted.svn_min,
        });
    }
    for (part, minimum) in &accepted.tcb_min {
        let found = claims.tcb.get(part).copied().unwrap_or(0);
        if found < *minimum {
            return Err(Refused::Tcb {
                part: part.clone(),
                found,
                minimum: *minimum,
            });
        }
    }
    if claims.tcb_status != "UpToDate" && !accepted.tcb_statuses.contains(&claims.tcb_status) {
        return Err(Refused::TcbStatus(claims.tcb_status));
    }
    if let Some(advisory) = claims
        .advisories
        .iter()
        .find(|a| !accepted.advisories.contains(a))
    {
        return Err(Refused::Advisory(advisory.clone()));
    }
    if let Some(missing) = claims
        .missing
        .iter()
        .find(|m| !accepted.missing_allowed.contains(m))
    {
        return Err(Refused::Missing(missing.clone()));
    }
    if claims.shared_user && !accepted.admit_shared_user {
        return Err(Refused::SharedUser);
    }
    if !crypto::equal(&claims.report_data, expected) {
        return Err(Refused::ReportData);
    }
    Ok(claims)
}
