//! Intel TDX and SGX by DCAP: evidence is the quote, endorsements are the collateral as JSON (TCB
//! information, QE identity, revocation lists and their chains).
//!
//! The signatures, chains, dates and the search for the TCB level are `dcap-qvl`'s; it is told the time and
//! the root, and fetches nothing. It refuses debug and migratable domains by itself. What the vendor's
//! verdict must be is ours: status, advisories and platform flags go into the claims, and the manifest
//! admits each by name or not at all.
//!
//! Source: Intel "SGX ECDSA Quote Library API", "TDX DCAP Quoting Library API" (quote layouts), and the PCS
//! API version 4 (collateral).

use crypto::{sha256, sha384};
use dcap_qvl::quote::{Quote, Report, TDReport10};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{PckCertFlag, QuoteClaims, QuoteCollateralV3, QuotePolicy};
use types::Millis;

use crate::{Accepted, Claims, Platform, Refused, Strength, Tcb};

/// Longest quote: real ones have 5 to 8 KiB.
const QUOTE_BYTES_MAX: usize = 32 << 10;

/// The measurement of a TDX domain: SHA-384 over the build (MRTD) and the four runtime registers, since
/// MRTD alone covers the firmware and not the kernel that it loads.
pub fn tdx_measurement(mrtd: &[u8; 48], rtmr: &[[u8; 48]; 4]) -> [u8; 48] {
    let mut all = mrtd.to_vec();
    for register in rtmr {
        all.extend_from_slice(register);
    }
    sha384(&all)
}

/// Checks form, debug mode, signatures, chains and dates.
pub(crate) fn appraise(
    platform: Platform,
    evidence: &[u8],
    endorsements: &[u8],
    accepted: &Accepted,
    now: Millis,
) -> Result<Claims, Refused> {
    let quote = parse(evidence)?;
    if quote.report.is_sgx() != (platform == Platform::SgxDcap) {
        return Err(Refused::Contradiction(
            "the quote is of another platform than its envelope says",
        ));
    }
    if is_debug(&quote.report) {
        return Err(Refused::Debug);
    }
    let collateral: QuoteCollateralV3 = serde_json::from_slice(endorsements)
        .map_err(|_| Refused::Endorsements("not the JSON of a DCAP collateral"))?;
    let mut reason = Refused::Chain("the manifest has no root for this platform".into());
    for root in &accepted.roots {
        let now_seconds = now.0 / 1000;
        // Takes no position on the vendor's verdict: that is `Accepted`'s to judge.
        let everything = QuotePolicy::claims_only(now_seconds);
        match QuoteVerifier::new(root.0.clone()).verify_with_policy(
            evidence,
            &collateral,
            now_seconds,
            &everything,
        ) {
            // The PPID names a machine whatever its TCB, so it is what a consortium revokes.
            Ok(found) if accepted.revoked.contains(&sha256(&found.platform.pck.ppid)) => {
                return Err(Refused::Revoked);
            }
            Ok(found) => return Ok(claims(platform, found)),
            Err(e) => reason = refused(format!("{e:#}")),
        }
    }
    Err(reason)
}

/// The quote at the front of a buffer: devices fill one of fixed size. Evidence must be the quote alone.
pub fn quote_in(buffer: &[u8]) -> Option<&[u8]> {
    let signed = Quote::parse(buffer).ok()?.signed_length();
    let (length, rest) = buffer.get(signed..)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    rest.get(..length)?;
    buffer.get(..signed + 4 + length)
}

fn parse(evidence: &[u8]) -> Result<Quote, Refused> {
    if evidence.len() > QUOTE_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let quote = Quote::parse(evidence).map_err(|_| Refused::Malformed("not a DCAP quote"))?;
    if quote_in(evidence).is_none_or(|whole| whole.len() != evidence.len()) {
        return Err(Refused::Malformed("bytes follow the quote: cut them off"));
    }
    Ok(quote)
}

/// SGX: ATTRIBUTES.DEBUG. TDX: every bit of the group "TD under debug".
fn is_debug(report: &Report) -> bool {
    match domain(report) {
        Some(domain) => domain.td_attributes[0] != 0,
        None => report
            .as_sgx()
            .is_none_or(|enclave| enclave.attributes[0] & 2 != 0),
    }
}

fn domain(report: &Report) -> Option<&TDReport10> {
    report.as_td10()
}

/// The measurement in a quote, unchecked.
pub(crate) fn measured(evidence: &[u8]) -> Option<Vec<u8>> {
    Some(measurement(&parse(evidence).ok()?.report))
}

fn measurement(report: &Report) -> Vec<u8> {
    match (domain(report), report.as_sgx()) {
        (Some(td), _) => {
            let rtmr = [td.rt_mr0, td.rt_mr1, td.rt_mr2, td.rt_mr3];
            tdx_measurement(&td.mr_td, &rtmr).to_vec()
        }
        (None, Some(enclave)) => enclave.mr_enclave.to_vec(),
        (None, None) => unreachable!("a report is of an enclave or of a domain"),
    }
}

fn claims(platform: Platform, found: QuoteClaims) -> Claims {
    let pck = &found.platform.pck;
    let flags = [
        ("dynamic-platform", pck.dynamic_platform),
        ("cached-keys", pck.cached_keys),
        ("smt-enabled", pck.smt_enabled),
    ];
    let mut advisories: Vec<String> = [
        &found.tcb.advisory_ids,
        &found.platform.tcb_level.advisory_ids,
    ]
    .into_iter()
    .chain(
        found
            .platform
            .current_tcb_level
            .iter()
            .map(|level| &level.advisory_ids),
    )
    .chain([&found.qe.tcb_level.advisory_ids])
    .flatten()
    .cloned()
    .collect();
    advisories.sort();
    advisories.dedup();
    let measurement = measurement(&found.report);
    let (svn, report_data, launch_data) = match (domain(&found.report), found.report.as_sgx()) {
        (Some(td), _) => (0, td.report_data, td.mr_config_id.to_vec()),
        (None, Some(enclave)) => (u64::from(enclave.isv_svn), enclave.report_data, Vec::new()),
        (None, None) => unreachable!("a report is of an enclave or of a domain"),
    };
    Claims {
        platform,
        strength: Strength::Hardware,
        measurement,
        svn,
        report_data,
        launch_data,
        debug: is_debug(&found.report),
        migratable: false,
        tcb: Tcb::from([
            ("pce".to_owned(), u64::from(pck.pce_svn)),
            (
                "evaluation".to_owned(),
                u64::from(found.tcb.eval_data_number),
            ),
        ]),
        tcb_status: found.tcb.status.to_string(),
        advisories,
        valid_until: Some(Millis(found.earliest_expiration_date.saturating_mul(1000))),
        missing: flags
            .into_iter()
            .filter(|(_, flag)| *flag == PckCertFlag::True)
            .map(|(name, _)| name.to_owned())
            .collect(),
        shared_user: false,
    }
}

/// Sorts the verifier's text by who must do something.
fn refused(text: String) -> Refused {
    let lower = text.to_lowercase();
    if ["expired", "future", "notvalidyet"]
        .iter()
        .any(|word| lower.contains(word))
    {
        Refused::Time(text)
    } else if lower.contains("revoked") {
        Refused::Revoked
    } else {
        Refused::Quote(text)
    }
}

#[cfg(test)]
mod tests;
