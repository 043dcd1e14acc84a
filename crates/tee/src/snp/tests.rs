//! Real reports of real machines, at a pinned time, and everything that must be refused about them.

use types::{Digest, Millis};

use super::*;
use crate::{CodeIdentity, CodeManifest, CodeState, Evidence, Manifest, Root, testdata};

/// 2025-06-01: inside the validity of every key here.
const NOW: Millis = Millis(1_748_736_000_000);

struct Case {
    report: Vec<u8>,
    endorsements: Endorsements,
    manifest: Manifest,
}

fn case(report: &str, key: &str, intermediate: &str, root: &str) -> Option<Case> {
    let mut bytes = testdata::read(report)?;
    if report.ends_with(".hex") {
        bytes = hex::decode(bytes.trim_ascii()).expect("hexadecimal");
    }
    if report.contains("hcl") {
        bytes = bytes[32..32 + 1184].to_vec(); // Azure wraps the report
    }
    let der = |path: &str| match path.ends_with(".pem") {
        true => testdata::pem(path).map(|c| c[0].clone()),
        false => testdata::read(path),
    };
    let mut accepted = Accepted::strict(Platform::SevSnp, vec![Root(der(root)?)]);
    accepted.vmpl_max = 1;
    Some(Case {
        report: bytes,
        endorsements: Endorsements {
            key: der(key)?,
            intermediate: der(intermediate)?,
            crl: None,
        },
        manifest: Manifest {
            strength_min: Strength::Hardware,
            accepted: vec![accepted],
            evidence_age_max_ms: 1000,
        },
    })
}

fn milan() -> Option<Case> {
    let roots = ("snp/roots/milan-ask.pem", "snp/roots/milan-ark.pem");
    case(
        "snp/milan-virtee/report.hex",
        "snp/milan-virtee/vcek.der",
        roots.0,
        roots.1,
    )
}

fn genoa() -> Option<Case> {
    let roots = ("snp/roots/genoa-ask.pem", "snp/roots/genoa-ark.pem");
    case(
        "snp/genoa-azure/report.bin",
        "snp/genoa-azure/vcek.pem",
        roots.0,
        roots.1,
    )
}

fn vlek() -> Option<Case> {
    let roots = ("snp/roots/milan-vlek-chain.pem", "snp/roots/milan-ark.pem");
    case(
        "snp/milan-vlek-trustee/report.bin",
        "snp/milan-vlek-trustee/vlek.der",
        roots.0,
        roots.1,
    )
}

fn azure() -> Option<Case> {
    let roots = ("snp/roots/milan-ask.pem", "snp/roots/milan-ark.pem");
    case(
        "azure-snp-vtpm/hcl-report.bin",
        "azure-snp-vtpm/vcek.pem",
        roots.0,
        roots.1,
    )
}

impl Case {
    fn code(&self) -> CodeManifest {
        CodeManifest {
            images: vec![CodeIdentity {
                name: "manager".into(),
                version: "1".into(),
                platform: Platform::SevSnp,
                measurement: self.report[0x90..0xc0].to_vec(),
                state: CodeState::Allowed,
            }],
        }
    }

    fn expected(&self) -> [u8; 64] {
        self.report[0x50..0x90].try_into().expect("64 bytes")
    }

    fn with(
        &self,
        report: &[u8],
        endorsements: &[u8],
        now: Millis,
    ) -> Result<crate::Attested, Refused> {
        let evidence = Evidence {
            platform: Platform::SevSnp,
            bytes: report.to_vec(),
        }
        .to_bytes();
        crate::appraise(
            &evidence,
            endorsements,
            &self.manifest,
            &self.code(),
            &self.expected(),
            now,
        )
    }

    fn verdict(&self) -> Result<crate::Attested, Refused> {
        self.with(&self.report, &self.endorsements.to_bytes(), NOW)
    }
}

#[test]
fn real_reports_of_every_kind_are_attested() {
    for case in [milan(), genoa(), vlek(), azure()].into_iter().flatten() {
        assert_eq!(case.manifest.validate(), Ok(()));
        let attested = case.verdict().expect("genuine");
        let claims = attested.claims();
        assert_eq!(claims.strength, Strength::Hardware);
        assert!(!claims.debug && !claims.migratable);
        assert!(claims.valid_until.is_some_and(|until| until > NOW));
        assert_eq!(claims.tcb.len(), 4, "{:?}", claims.tcb);
    }
}

#[test]
fn every_flipped_byte_of_a_report_is_refused() {
    let Some(case) = milan() else { return };
    let endorsements = case.endorsements.to_bytes();
    for at in 0..case.report.len() {
        let mut report = case.report.clone();
        report[at] ^= 1 << (at % 8);
        assert!(case.with(&report, &endorsements, NOW).is_err(), "byte {at}");
    }
    assert!(case.with(&case.report[..1183], &endorsements, NOW).is_err());
    assert!(
        case.with(&[case.report.as_slice(), &[0]].concat(), &endorsements, NOW)
            .is_err()
    );
}

#[test]
fn every_flipped_byte_of_the_endorsements_is_refused() {
    let Some(case) = milan() else { return };
    let endorsements = case.endorsements.to_bytes();
    for at in 0..endorsements.len() {
        let mut changed = endorsements.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(case.with(&case.report, &changed, NOW).is_err(), "byte {at}");
    }
}

#[test]
fn a_debug_report_is_refused() {
    let roots = ("snp/roots/milan-ask.pem", "snp/roots/milan-ark.pem");
    let Some(case) = case(
        "snp/milan-google/report.bin",
        "snp/milan-google/vcek.der",
        roots.0,
        roots.1,
    ) else {
        return;
    };
    assert_eq!(case.verdict(), Err(Refused::Debug));
}

#[test]
fn what_the_manifest_does_not_accept_has_its_reason() {
    let Some(case) = milan() else { return };
    let tcb = case.verdict().expect("genuine").claims().tcb.clone();

    let refused = |change: &dyn Fn(&mut Accepted)| {
        let mut case = milan().expect("there a moment ago");
        change(&mut case.manifest.accepted[0]);
        case.verdict().expect_err("refused")
    };
    for (part, version) in &tcb {
        let reason = refused(&|a| a.tcb_min.extend([(part.clone(), version + 1)]));
        assert_eq!(
            reason,
            Refused::Tcb {
                part: part.clone(),
                found: *version,
                minimum: version + 1
            }
        );
    }
    assert!(matches!(
        refused(&|a| a.svn_min = 1 << 32),
        Refused::Svn { .. }
    ));
    assert!(matches!(
        refused(&|a| a.require_crl = true),
        Refused::Endorsements(_)
    ));
    let revoked = crypto::sha256(&case.endorsements.key);
    assert_eq!(
        refused(&|a| a.revoked = vec![Digest(revoked.0)]),
        Refused::Revoked
    );
    let other = testdata::pem("snp/roots/genoa-ark.pem").expect("there")[0].clone();
    assert!(matches!(
        refused(&|a| a.roots = vec![Root(other.clone())]),
        Refused::Chain(_)
    ));
}

#[test]
fn another_measurement_challenge_or_date_is_refused() {
    let Some(case) = milan() else { return };
    let evidence = Evidence {
        platform: Platform::SevSnp,
        bytes: case.report.clone(),
    }
    .to_bytes();
    let endorsements = case.endorsements.to_bytes();
    let appraise = |code: &CodeManifest, expected: &[u8; 64]| {
        crate::appraise(
            &evidence,
            &endorsements,
            &case.manifest,
            code,
            expected,
            NOW,
        )
    };
    let mut code = case.code();
    code.images[0].measurement[47] ^= 1;
    assert!(matches!(
        appraise(&code, &case.expected()),
        Err(Refused::Measurement(_))
    ));
    let mut expected = case.expected();
    expected[0] ^= 1;
    assert_eq!(appraise(&case.code(), &expected), Err(Refused::ReportData));
    for year_ms in [1_577_836_800_000, 1_924_992_000_000] {
        let verdict = case.with(&case.report, &endorsements, Millis(year_ms));
        assert!(matches!(verdict, Err(Refused::Time(_))), "{verdict:?}");
    }
}

#[test]
fn keys_of_another_machine_or_kind_are_refused() {
    let (Some(milan), Some(genoa), Some(vlek)) = (milan(), genoa(), vlek()) else {
        return;
    };
    let mut mixed = milan.endorsements.clone();
    mixed.key = testdata::read("snp/milan-google/vcek.der").expect("there");
    assert_eq!(
        milan.with(&milan.report, &mixed.to_bytes(), NOW),
        Err(Refused::Signature),
        "another chip's key"
    );
    mixed.key = vlek.endorsements.key.clone();
    assert!(matches!(
        milan.with(&milan.report, &mixed.to_bytes(), NOW),
        Err(Refused::Chain(_))
    ));
    mixed = milan.endorsements.clone();
    mixed.intermediate = genoa.endorsements.intermediate.clone();
    assert!(matches!(
        milan.with(&milan.report, &mixed.to_bytes(), NOW),
        Err(Refused::Chain(_))
    ));
}

#[test]
fn less_privileged_levels_are_refused_unless_admitted() {
    let Some(mut case) = vlek() else { return };
    case.manifest.accepted[0].vmpl_max = 0;
    assert_eq!(
        case.verdict(),
        Err(Refused::Vmpl {
            found: 1,
            maximum: 0
        })
    );
}

#[test]
fn the_newest_products_key_is_read() {
    let (Some(key), Some(ask), Some(ark)) = (
        testdata::read("snp/turin-virtee/vcek.der"),
        testdata::pem("snp/roots/turin-ask.pem"),
        testdata::pem("snp/roots/turin-ark.pem"),
    ) else {
        return;
    };
    let endorsements = Endorsements {
        key,
        intermediate: ask[0].clone(),
        crl: None,
    };
    let accepted = Accepted::strict(Platform::SevSnp, vec![Root(ark[0].clone())]);
    let key = chain::verify(&endorsements, &accepted, NOW).expect("genuine");
    assert_eq!(key.product, chain::Product::Turin);
    assert_eq!(key.tcb.len(), 5, "{:?}", key.tcb);
    assert!(matches!(key.signer, chain::Signer::Chip(id) if id[8..].iter().all(|b| *b == 0)));
}
