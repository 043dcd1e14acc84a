//! Real quotes of real machines with their collateral, at pinned times.

use types::Millis;

use super::*;
use crate::{Attested, CodeIdentity, CodeManifest, CodeState, Evidence, Manifest, Root, testdata};

/// 2025-06-20: inside the month for which the collateral was issued.
const NOW: Millis = Millis(1_750_400_000_000);

struct Case {
    platform: Platform,
    quote: Vec<u8>,
    collateral: Vec<u8>,
    manifest: Manifest,
}

fn intel_root() -> Option<Root> {
    testdata::read("dcap/google/rootcrl.der")?; // the data is there at all
    let chain = collateral("phala/tdx_quote_collateral.json")?.tcb_info_issuer_chain;
    let last = x509_parser::pem::Pem::iter_from_buffer(chain.as_bytes()).last()?;
    Some(Root(last.expect("the data has good PEM").contents))
}

fn collateral(path: &str) -> Option<QuoteCollateralV3> {
    let json = testdata::read(&format!("dcap/{path}"))?;
    Some(serde_json::from_slice(&json).expect("the data has good JSON"))
}

fn case(platform: Platform, quote: &str, collateral: &str) -> Option<Case> {
    let mut quote_bytes = testdata::read(&format!("dcap/{quote}"))?;
    if quote.ends_with(".hex") {
        quote_bytes = hex::decode(quote_bytes.trim_ascii()).expect("hexadecimal");
    }
    let accepted = Accepted::strict(platform, vec![intel_root()?]);
    Some(Case {
        platform,
        quote: quote_in(&quote_bytes).expect("a quote").to_vec(),
        collateral: testdata::read(&format!("dcap/{collateral}"))?,
        manifest: Manifest {
            strength_min: Strength::Hardware,
            accepted: vec![accepted],
            evidence_age_max_ms: 1000,
        },
    })
}

fn tdx() -> Option<Case> {
    let mut case = case(
        Platform::Tdx,
        "phala/tdx_quote",
        "phala/tdx_quote_collateral.json",
    )?;
    case.manifest.accepted[0].missing_allowed = vec![
        "smt-enabled".into(),
        "cached-keys".into(),
        "dynamic-platform".into(),
    ];
    Some(case)
}

fn sgx() -> Option<Case> {
    let mut case = case(
        Platform::SgxDcap,
        "phala/sgx_quote",
        "phala/sgx_quote_collateral.json",
    )?;
    let accepted = &mut case.manifest.accepted[0];
    accepted.missing_allowed = vec![
        "smt-enabled".into(),
        "cached-keys".into(),
        "dynamic-platform".into(),
    ];
    accepted.tcb_statuses = vec!["ConfigurationAndSWHardeningNeeded".into()];
    accepted.advisories = vec!["INTEL-SA-00289".into(), "INTEL-SA-00615".into()];
    Some(case)
}

impl Case {
    /// The code manifest and report data that this very quote satisfies.
    fn wanted(&self) -> (CodeManifest, [u8; 64]) {
        let report = Quote::parse(&self.quote).expect("a quote").report;
        let (measurement, report_data) = match (report.as_td10(), report.as_sgx()) {
            (Some(td), _) => {
                let all = [td.rt_mr0, td.rt_mr1, td.rt_mr2, td.rt_mr3];
                (tdx_measurement(&td.mr_td, &all).to_vec(), td.report_data)
            }
            (_, Some(enclave)) => (enclave.mr_enclave.to_vec(), enclave.report_data),
            _ => unreachable!("one or the other"),
        };
        let image = CodeIdentity {
            name: "manager".into(),
            version: "1".into(),
            platform: self.platform,
            measurement,
            state: CodeState::Allowed,
        };
        (
            CodeManifest {
                images: vec![image],
            },
            report_data,
        )
    }

    fn with(&self, quote: &[u8], collateral: &[u8], now: Millis) -> Result<Attested, Refused> {
        let evidence = Evidence {
            platform: self.platform,
            bytes: quote.to_vec(),
        }
        .to_bytes();
        let (code, expected) = self.wanted();
        crate::appraise(&evidence, collateral, &self.manifest, &code, &expected, now)
    }

    fn verdict(&self) -> Result<Attested, Refused> {
        self.with(&self.quote, &self.collateral, NOW)
    }
}

#[test]
fn real_quotes_are_attested() {
    for case in [tdx(), sgx()].into_iter().flatten() {
        assert_eq!(case.manifest.validate(), Ok(()));
        let attested = case.verdict().expect("genuine");
        let claims = attested.claims();
        assert!(claims.valid_until.is_some_and(|until| until > NOW));
        assert!(claims.tcb["evaluation"] > 0);
    }
}

#[test]
fn each_flaw_must_be_admitted_by_name() {
    let Some(mut case) = sgx() else { return };
    case.manifest.accepted[0].tcb_statuses.clear();
    assert_eq!(
        case.verdict(),
        Err(Refused::TcbStatus(
            "ConfigurationAndSWHardeningNeeded".into()
        ))
    );
    let Some(mut case) = sgx() else { return };
    case.manifest.accepted[0].advisories.remove(0);
    assert_eq!(
        case.verdict(),
        Err(Refused::Advisory("INTEL-SA-00289".into()))
    );
    let Some(mut case) = sgx() else { return };
    case.manifest.accepted[0]
        .tcb_min
        .insert("evaluation".into(), 1_000_000);
    assert!(matches!(case.verdict(), Err(Refused::Tcb { .. })));
}

#[test]
fn a_revoked_machine_is_refused() {
    let Some(mut case) = tdx() else { return };
    let quote = Quote::parse(&case.quote).expect("a quote");
    let chain = x509_parser::pem::Pem::iter_from_buffer(quote.inner_cert_data()).next();
    let certificate = chain.expect("a chain").expect("good PEM").contents;
    let ppid = dcap_qvl::intel::parse_pck_extension(&certificate)
        .expect("a PCK certificate")
        .ppid;
    case.manifest.accepted[0].revoked = vec![sha256(b"another")];
    assert!(case.verdict().is_ok());
    case.manifest.accepted[0].revoked.push(sha256(&ppid));
    assert_eq!(case.verdict(), Err(Refused::Revoked));
}

#[test]
fn old_collateral_is_refused() {
    for case in [tdx(), sgx()].into_iter().flatten() {
        for now in [
            Millis(1_753_000_000_000),
            Millis(1_740_000_000_000),
            Millis(0),
        ] {
            let verdict = case.with(&case.quote, &case.collateral, now);
            assert!(
                matches!(verdict, Err(Refused::Time(_))),
                "{now}: {verdict:?}"
            );
        }
    }
}

#[test]
fn an_outdated_platform_is_refused() {
    let paths = (
        "phala/tdx_quote_outdated",
        "phala/tdx_quote_outdated_collateral.json",
    );
    let Some(case) = case(Platform::Tdx, paths.0, paths.1) else {
        return;
    };
    let verdict = case.with(&case.quote, &case.collateral, Millis(1_771_500_000_000));
    assert!(
        matches!(verdict, Err(Refused::Quote(_) | Refused::TcbStatus(_))),
        "{verdict:?}"
    );
}

#[test]
fn debug_mode_is_refused() {
    for (platform, quote) in [
        (Platform::Tdx, "trustee/tdx_quote_4.dat"),
        (Platform::SgxDcap, "trustee/occlum_quote.dat"),
    ] {
        let Some(case) = case(platform, quote, "phala/tdx_quote_collateral.json") else {
            return;
        };
        assert_eq!(case.verdict(), Err(Refused::Debug), "{quote}");
    }
}

#[test]
fn quotes_that_are_not_whole_or_not_theirs_are_refused() {
    let Some(mut longer) = tdx() else { return };
    longer.quote.push(0);
    assert_eq!(
        longer.verdict(),
        Err(Refused::Malformed("bytes follow the quote: cut them off"))
    );
    // No certificate of the platform inside, and none in the collateral.
    let Some(eppid) = case(
        Platform::SgxDcap,
        "oasis/quote_v3_ecdsa_p256_eppid.bin",
        "phala/sgx_quote_collateral.json",
    ) else {
        return;
    };
    assert!(matches!(eppid.verdict(), Err(Refused::Quote(_))));
    // Collateral of another platform.
    let Some(other) = case(
        Platform::Tdx,
        "trustee/tdx_quote_5.dat",
        "phala/tdx_quote_collateral.json",
    ) else {
        return;
    };
    assert!(other.verdict().is_err());
    let Some(mut mislabelled) = tdx() else { return };
    mislabelled.platform = Platform::SgxDcap;
    mislabelled.manifest.accepted[0].platform = Platform::SgxDcap;
    assert!(matches!(
        mislabelled.verdict(),
        Err(Refused::Contradiction(_))
    ));
}

#[test]
fn a_chain_that_does_not_lead_to_the_root_is_refused() {
    let (Some(case), Some(mut set)) = (tdx(), collateral("phala/tdx_quote_collateral.json")) else {
        return;
    };
    // The same signer's older certificate has expired; the wrong chain is wrong at any time.
    for (file, expired) in [("certs.pem", true), ("certs_bad.pem", false)] {
        let path = format!("dcap/oasis/tcb_info_v3_fmspc_00606A000000_{file}");
        let Some(chain) = testdata::read(&path) else {
            return;
        };
        set.tcb_info_issuer_chain = String::from_utf8(chain).expect("PEM is text");
        let json = serde_json::to_vec(&set).expect("text");
        let verdict = case.with(&case.quote, &json, NOW);
        let as_expected = match &verdict {
            Err(Refused::Time(_)) => expired,
            Err(Refused::Quote(_)) => !expired,
            _ => false,
        };
        assert!(as_expected, "{file}: {verdict:?}");
    }
    let Some(mut case) = tdx() else { return };
    let stranger =
        testdata::pem("dcap/intel-qvl-tdx/trustedRootCaCert.pem").expect("there")[0].clone();
    case.manifest.accepted[0].roots = vec![Root(stranger)];
    assert!(case.verdict().is_err(), "another root");
}

/// A byte outside every signature (the root inside the quote's own chain, line ends of PEM) may change
/// without changing what is proven; then the verdict must not change either.
#[test]
fn flipped_bytes_of_quote_and_collateral_are_refused_or_mean_nothing() {
    for case in [tdx(), sgx()].into_iter().flatten() {
        let good = case.verdict().expect("genuine");
        let signed = Quote::parse(&case.quote).expect("a quote").signed_length();
        let mut meant_nothing = 0;
        for at in (0..case.quote.len()).step_by(11) {
            let mut changed = case.quote.clone();
            changed[at] ^= 1 << (at % 8);
            match case.with(&changed, &case.collateral, NOW) {
                Ok(verdict) if at >= signed => {
                    assert_eq!(verdict, good, "byte {at}");
                    meant_nothing += 1;
                }
                Ok(_) => panic!("byte {at} is signed"),
                Err(_) => {}
            }
        }
        for at in (0..case.collateral.len()).step_by(101) {
            let mut changed = case.collateral.clone();
            changed[at] ^= 1;
            if let Ok(verdict) = case.with(&case.quote, &changed, NOW) {
                assert_eq!(verdict, good, "byte {at} of the collateral");
            }
        }
        for at in (0..case.quote.len()).step_by(97) {
            assert!(
                case.with(&case.quote[..at], &case.collateral, NOW).is_err(),
                "cut at {at}"
            );
        }
        println!("{meant_nothing} flips meant nothing");
    }
}

#[test]
fn another_measurement_or_challenge_is_refused() {
    let Some(case) = tdx() else { return };
    let evidence = Evidence {
        platform: case.platform,
        bytes: case.quote.clone(),
    }
    .to_bytes();
    let (mut code, mut expected) = case.wanted();
    expected[5] ^= 1;
    let verdict = crate::appraise(
        &evidence,
        &case.collateral,
        &case.manifest,
        &code,
        &expected,
        NOW,
    );
    assert_eq!(verdict, Err(Refused::ReportData));
    expected[5] ^= 1;
    code.images[0].measurement[0] ^= 1;
    let verdict = crate::appraise(
        &evidence,
        &case.collateral,
        &case.manifest,
        &code,
        &expected,
        NOW,
    );
    assert!(matches!(verdict, Err(Refused::Measurement(_))));
}
