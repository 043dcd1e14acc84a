//! The software TEE: a launcher measures an image, locks the process down and signs what it did.
//!
//! It protects against other users, against the node's own untrusted host process and against the network;
//! never against root or the hypervisor, and [`Strength::Software`] says so to whoever writes a manifest.
//! A launcher signs with a platform key that a member's platform root certifies; the TEE manifest lists the
//! roots. The chain travels with the evidence, so software evidence needs no endorsements.

use crypto::{Certificate, Context, SigningKey, sign1, verify_chain, verify1};
use minicbor::{Decode, Encode};
use types::Millis;

use crate::{Accepted, Claims, Evidence, Platform, Refused, Strength, Tcb, exact};

/// Most certificates under a statement: platform key, perhaps an intermediate or two.
const CHAIN_MAX: usize = 4;

/// Most sandbox features that may be named missing, and their longest name.
const MISSING_MAX: usize = 32;
const MISSING_BYTES_MAX: usize = 64;

/// Longest launch data.
const LAUNCH_DATA_BYTES_MAX: usize = 1024;

/// What a launcher states about an enclave that it measured and started.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Statement {
    /// SHA-384 of the image that was started.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub measurement: [u8; 48],
    /// What the enclave asked to have bound to its evidence.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub report_data: [u8; 64],
    /// What was given to the enclave at its start and cannot change (a digest of its arguments); may be empty.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub launch_data: Vec<u8>,
    /// Which start of which enclave: random, made by the launcher.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub instance: [u8; 16],
    /// Security version of the launcher.
    #[n(4)]
    pub svn: u64,
    /// The launcher's clock.
    #[n(5)]
    pub time: Millis,
    /// Parts of the sandbox that this machine lacks.
    #[n(6)]
    pub missing: Vec<String>,
    /// The enclave runs under the host process's own user.
    #[n(7)]
    pub shared_user: bool,
}

/// Software evidence inside its envelope.
#[derive(Encode, Decode)]
struct Signed {
    /// DER, platform key's certificate first.
    #[n(0)]
    chain: Vec<Der>,
    /// COSE_Sign1 over the statement.
    #[cbor(n(1), with = "minicbor::bytes")]
    statement: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(transparent)]
struct Der(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>);

/// Signs a statement: what a launcher hands to an enclave as its evidence. `chain` starts with the
/// certificate of `key` and goes up to, but need not include, the platform root.
pub fn sign(key: &SigningKey, chain: &[Certificate], statement: &Statement) -> Vec<u8> {
    let signed = Signed {
        chain: chain.iter().map(|c| Der(c.der().to_vec())).collect(),
        statement: sign1(key, Context::SoftwareEvidence, &exact::encode(statement)),
    };
    Evidence {
        platform: Platform::Software,
        bytes: exact::encode(&signed),
    }
    .to_bytes()
}

/// Checks form, chain, dates, revocation, signature and age.
pub(crate) fn appraise(
    evidence: &[u8],
    endorsements: &[u8],
    accepted: &Accepted,
    age_max_ms: u64,
    now: Millis,
) -> Result<Claims, Refused> {
    if !endorsements.is_empty() {
        return Err(Refused::Endorsements(
            "software evidence carries its own chain and takes none",
        ));
    }
    let signed: Signed =
        exact::decode(evidence).ok_or(Refused::Malformed("not CBOR [chain, statement]"))?;
    if signed.chain.is_empty() || signed.chain.len() > CHAIN_MAX {
        return Err(Refused::Malformed(
            "one to four certificates belong under a statement",
        ));
    }
    let chain = certificates(signed.chain.iter().map(|d| d.0.as_slice())).ok_or(
        Refused::Malformed("a certificate cannot be read or has no P-256 key"),
    )?;
    let roots = certificates(accepted.roots.iter().map(|r| r.0.as_slice()))
        .ok_or_else(|| Refused::Chain("a root of the manifest cannot be read".into()))?;
    let root = verify_chain(&chain, &roots, now).map_err(|bad| match bad {
        crypto::BadCertificate::Time => Refused::Time(bad.to_string()),
        _ => Refused::Chain(bad.to_string()),
    })?;
    if chain
        .iter()
        .chain([&roots[root]])
        .any(|c| accepted.revoked.contains(&c.fingerprint()))
    {
        return Err(Refused::Revoked);
    }
    let statement = verify1(chain[0].key(), Context::SoftwareEvidence, &signed.statement)
        .map_err(|_| Refused::Signature)?;
    let statement: Statement = exact::decode(statement.payload())
        .ok_or(Refused::Malformed("the statement is not canonical CBOR"))?;
    if statement.missing.len() > MISSING_MAX
        || statement
            .missing
            .iter()
            .any(|m| m.len() > MISSING_BYTES_MAX)
        || statement.launch_data.len() > LAUNCH_DATA_BYTES_MAX
    {
        return Err(Refused::TooLong);
    }
    if now.since(statement.time).max(statement.time.since(now)) > age_max_ms {
        return Err(Refused::Age {
            made: statement.time,
            now,
        });
    }
    Ok(Claims {
        platform: Platform::Software,
        strength: Strength::Software,
        measurement: statement.measurement.to_vec(),
        svn: statement.svn,
        report_data: statement.report_data,
        launch_data: statement.launch_data,
        debug: false,
        migratable: false,
        tcb: Tcb::new(),
        tcb_status: "UpToDate".into(),
        advisories: Vec::new(),
        valid_until: chain
            .iter()
            .chain([&roots[root]])
            .map(Certificate::not_after)
            .min(),
        missing: statement.missing,
        shared_user: statement.shared_user,
    })
}

/// The measurement that a statement names. Its own first certificate must have signed it; whose that is
/// is not asked.
pub(crate) fn measured(evidence: &[u8]) -> Option<Vec<u8>> {
    let signed: Signed = exact::decode(evidence)?;
    let key = certificates(signed.chain.iter().take(1).map(|d| d.0.as_slice()))?.pop()?;
    let statement = verify1(key.key(), Context::SoftwareEvidence, &signed.statement).ok()?;
    let statement: Statement = exact::decode(statement.payload())?;
    Some(statement.measurement.to_vec())
}

fn certificates<'a>(ders: impl Iterator<Item = &'a [u8]>) -> Option<Vec<Certificate>> {
    ders.map(|der| Certificate::from_der(der).ok()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use crypto::{CertificateRequest, Entropy, issue};

    use super::*;
    use crate::{CodeIdentity, CodeManifest, CodeState, Manifest, Root};

    const DAY: u64 = 86_400_000;
    const NOW: Millis = Millis(50 * DAY);
    const EXPECTED: [u8; 64] = [5; 64];

    fn request(name: &str, authority: bool, seed: u8) -> CertificateRequest<'_> {
        CertificateRequest {
            common_name: name,
            dns_names: vec![],
            not_before: Millis(DAY),
            not_after: Millis(100 * DAY),
            authority,
            extensions: vec![],
            serial: [seed; 16],
        }
    }

    pub(crate) fn root(seed: u8) -> (SigningKey, Certificate) {
        let key = SigningKey::generate(&mut Entropy::new(&[seed; 32]));
        let certificate = issue(
            key.public(),
            &request("platform root", true, seed),
            &key,
            None,
        );
        (key, certificate)
    }

    struct World {
        key: SigningKey,
        certificate: Certificate,
        manifest: Manifest,
        code: CodeManifest,
    }

    fn world() -> World {
        let (root_key, root) = root(1);
        let key = SigningKey::generate(&mut Entropy::new(&[2; 32]));
        let certificate = issue(
            key.public(),
            &request("launcher", false, 2),
            &root_key,
            Some(&root),
        );
        let manifest = Manifest {
            strength_min: Strength::Software,
            accepted: vec![Accepted::strict(
                Platform::Software,
                vec![Root(root.der().to_vec())],
            )],
            evidence_age_max_ms: 60_000,
        };
        let code = CodeManifest {
            images: vec![CodeIdentity {
                name: "manager".into(),
                version: "1".into(),
                platform: Platform::Software,
                measurement: vec![3; 48],
                state: CodeState::Allowed,
            }],
        };
        World {
            key,
            certificate,
            manifest,
            code,
        }
    }

    fn statement() -> Statement {
        Statement {
            measurement: [3; 48],
            report_data: EXPECTED,
            launch_data: b"arguments".to_vec(),
            instance: [4; 16],
            svn: 7,
            time: NOW,
            missing: vec![],
            shared_user: false,
        }
    }

    impl World {
        fn evidence(&self, statement: &Statement) -> Vec<u8> {
            sign(
                &self.key,
                std::slice::from_ref(&self.certificate),
                statement,
            )
        }

        fn appraise(&self, evidence: &[u8], now: Millis) -> Result<crate::Attested, Refused> {
            crate::appraise(evidence, &[], &self.manifest, &self.code, &EXPECTED, now)
        }

        fn refused(&self, change: fn(&mut Statement)) -> Refused {
            let mut statement = statement();
            change(&mut statement);
            self.appraise(&self.evidence(&statement), NOW)
                .expect_err("refused")
        }
    }

    #[test]
    fn what_a_launcher_signed_is_attested() {
        let world = world();
        let attested = world
            .appraise(&world.evidence(&statement()), NOW)
            .expect("good evidence");
        assert_eq!(attested.code().name, "manager");
        assert_eq!(attested.claims().launch_data, b"arguments");
        assert_eq!(attested.claims().strength, Strength::Software);
        assert_eq!(attested.claims().valid_until, Some(Millis(100 * DAY)));
    }

    #[test]
    fn the_measurement_is_read_from_evidence_and_from_nothing_else() {
        let world = world();
        let evidence = world.evidence(&statement());
        assert_eq!(
            crate::measured(&evidence),
            Some((Platform::Software, vec![3; 48]))
        );
        for cut in 0..evidence.len() {
            assert_eq!(crate::measured(&evidence[..cut]), None);
        }
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_reason() {
        let mut world = world();
        world.manifest.accepted[0].svn_min = 7;
        assert_eq!(
            world.refused(|s| s.svn = 6),
            Refused::Svn {
                found: 6,
                minimum: 7
            }
        );
        assert_eq!(
            world.refused(|s| s.report_data[63] ^= 1),
            Refused::ReportData
        );
        assert!(matches!(
            world.refused(|s| s.measurement[0] ^= 1),
            Refused::Measurement(_)
        ));
        assert_eq!(world.refused(|s| s.shared_user = true), Refused::SharedUser);
        assert_eq!(
            world.refused(|s| s.missing = vec!["landlock".into()]),
            Refused::Missing("landlock".into())
        );
        assert!(matches!(
            world.refused(|s| s.time = Millis(NOW.0 - 60_001)),
            Refused::Age { .. }
        ));
        assert!(matches!(
            world.refused(|s| s.time = Millis(NOW.0 + 60_001)),
            Refused::Age { .. }
        ));
    }

    #[test]
    fn what_the_manifest_admits_passes() {
        let mut world = world();
        world.manifest.accepted[0].admit_shared_user = true;
        world.manifest.accepted[0].missing_allowed = vec!["landlock".into()];
        let mut statement = statement();
        statement.shared_user = true;
        statement.missing = vec!["landlock".into()];
        let attested = world
            .appraise(&world.evidence(&statement), NOW)
            .expect("admitted");
        assert!(attested.claims().shared_user);
    }

    #[test]
    fn chain_dates_revocation_and_strength_are_checked() {
        let mut world = world();
        let mut old = statement();
        old.time = Millis(101 * DAY);
        let evidence = world.evidence(&old);
        assert!(
            matches!(
                world.appraise(&evidence, Millis(101 * DAY)),
                Err(Refused::Time(_))
            ),
            "expired chain"
        );

        let evidence = world.evidence(&statement());
        let revoked = world.certificate.fingerprint();
        world.manifest.accepted[0].revoked.push(revoked);
        assert_eq!(world.appraise(&evidence, NOW), Err(Refused::Revoked));
        world.manifest.accepted[0].revoked.clear();

        let stranger = SigningKey::generate(&mut Entropy::new(&[9; 32]));
        let forged = sign(
            &stranger,
            std::slice::from_ref(&world.certificate),
            &statement(),
        );
        assert_eq!(world.appraise(&forged, NOW), Err(Refused::Signature));
        let self_made = issue(
            stranger.public(),
            &request("launcher", false, 9),
            &stranger,
            None,
        );
        let forged = sign(&stranger, &[self_made], &statement());
        assert!(matches!(
            world.appraise(&forged, NOW),
            Err(Refused::Chain(_))
        ));

        world.manifest.strength_min = Strength::Hardware;
        assert_eq!(
            world.appraise(&evidence, NOW),
            Err(Refused::Platform(Platform::Software))
        );
    }

    #[test]
    fn a_second_root_of_another_member_is_tried_too() {
        let mut world = world();
        let other = Accepted::strict(Platform::Software, vec![Root(root(8).1.der().to_vec())]);
        world.manifest.accepted.insert(0, other);
        assert!(world.appraise(&world.evidence(&statement()), NOW).is_ok());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_refused() {
        let world = world();
        let evidence = world.evidence(&statement());
        for at in 0..evidence.len() {
            let mut changed = evidence.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(world.appraise(&changed, NOW).is_err(), "byte {at}");
            assert!(world.appraise(&evidence[..at], NOW).is_err(), "cut at {at}");
        }
        let longer = [evidence.as_slice(), &[0]].concat();
        assert!(world.appraise(&longer, NOW).is_err(), "trailing byte");
    }
}
