//! A made-up AMD: its own ARK, ASK and chip keys, so that tests can sign what no real chip would.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PSS_SHA384,
};
use types::Millis;

use super::chain::RSA_PSS_SHA384 as ALGORITHM;
use super::*;
use crate::{Attested, CodeIdentity, CodeManifest, CodeState, Evidence, Manifest, Root};

/// 2025-06-01; all that is made here is valid from 2020 to 2030.
const NOW: Millis = Millis(1_748_736_000_000);
const FROM: &str = "200101000000Z";
const UNTIL: &str = "300101000000Z";

const CHIP: [u8; 64] = [0xc1; 64];
const ASK_SERIAL: u8 = 7;

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match u16::try_from(content.len()).expect("short") {
        short @ 0..=0x7f => out.push(short as u8), // below 128
        byte @ 0x80..=0xff => out.extend([0x81, byte as u8]), // below 256
        long => {
            out.push(0x82);
            out.extend(long.to_be_bytes());
        }
    }
    out.extend(content);
    out
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

fn name(common: &str) -> Vec<u8> {
    let attribute = sequence(&[&[6, 3, 0x55, 4, 3], &tlv(0x0c, &[common.as_bytes()])]);
    sequence(&[&tlv(0x31, &[&attribute])])
}

fn time(text: &str) -> Vec<u8> {
    tlv(0x17, &[text.as_bytes()])
}

/// One of AMD's extensions: 1.3.6.1.4.1.3704.1 and `place`.
fn amd(place: &[u8], value: &[u8]) -> Vec<u8> {
    let oid = tlv(6, &[&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1], place]);
    sequence(&[&oid, &tlv(4, &[value])])
}

fn rsa_spki(key: &RsaKeyPair) -> Vec<u8> {
    let algorithm = sequence(&[
        &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1],
        &[5, 0],
    ]);
    sequence(&[&algorithm, &tlv(3, &[&[0], key.public_key().as_ref()])])
}

fn p384_spki(key: &EcdsaKeyPair) -> Vec<u8> {
    let algorithm = sequence(&[
        &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1],
        &[6, 5, 0x2b, 0x81, 4, 0, 0x22],
    ]);
    sequence(&[&algorithm, &tlv(3, &[&[0], key.public_key().as_ref()])])
}

fn sign(content: &[u8], key: &RsaKeyPair) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PSS_SHA384,
        &SystemRandom::new(),
        content,
        &mut signature,
    )
    .expect("a whole key");
    sequence(&[content, ALGORITHM, &tlv(3, &[&[0], &signature])])
}

fn certificate(
    serial: u8,
    issuer: &str,
    subject: &str,
    spki: &[u8],
    extensions: &[u8],
    key: &RsaKeyPair,
) -> Vec<u8> {
    let content = sequence(&[
        &tlv(0xa0, &[&[2, 1, 2]]),
        &[2, 1, serial],
        ALGORITHM,
        &name(issuer),
        &sequence(&[&time(FROM), &time(UNTIL)]),
        &name(subject),
        spki,
        &tlv(0xa3, &[&sequence(&[extensions])]),
    ]);
    sign(&content, key)
}

fn authority(ca: bool) -> Vec<u8> {
    let value = if ca {
        sequence(&[&[1, 1, 0xff]])
    } else {
        sequence(&[])
    };
    sequence(&[&[6, 3, 0x55, 0x1d, 0x13], &tlv(4, &[&value])])
}

struct Amd {
    ark: RsaKeyPair,
    ask: RsaKeyPair,
    chip: EcdsaKeyPair,
}

impl Amd {
    fn new() -> Self {
        Self {
            ark: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            ask: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            chip: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"),
        }
    }

    fn root(&self) -> Vec<u8> {
        certificate(
            1,
            "ARK-Milan",
            "ARK-Milan",
            &rsa_spki(&self.ark),
            &authority(true),
            &self.ark,
        )
    }

    fn intermediate(&self, ca: bool) -> Vec<u8> {
        certificate(
            ASK_SERIAL,
            "ARK-Milan",
            "SEV-Milan",
            &rsa_spki(&self.ask),
            &authority(ca),
            &self.ark,
        )
    }

    fn vcek(&self, extensions: &[Vec<u8>]) -> Vec<u8> {
        certificate(
            0,
            "SEV-Milan",
            "SEV-VCEK",
            &p384_spki(&self.chip),
            &extensions.concat(),
            &self.ask,
        )
    }

    fn endorsements(&self) -> Endorsements {
        Endorsements {
            key: self.vcek(&extensions()),
            intermediate: self.intermediate(true),
            crl: None,
        }
    }

    fn crl(&self, until: &str, revoked: u8, key: &RsaKeyPair) -> Vec<u8> {
        let entry = sequence(&[&[2, 1, revoked], &time(FROM)]);
        let content = sequence(&[
            &[2, 1, 1],
            ALGORITHM,
            &name("ARK-Milan"),
            &time(FROM),
            &time(until),
            &sequence(&[&entry]),
        ]);
        sign(&content, key)
    }

    fn sign_report(&self, report: &mut [u8]) {
        let signature = self
            .chip
            .sign(&SystemRandom::new(), &report[..0x2a0])
            .expect("a whole key");
        for place in 0..48 {
            report[0x2a0 + place] = signature.as_ref()[47 - place];
            report[0x2a0 + 72 + place] = signature.as_ref()[95 - place];
        }
    }

    /// A verdict over a report that was changed before it was signed.
    fn verdict(
        &self,
        change_report: impl FnOnce(&mut [u8]),
        endorsements: &Endorsements,
        change_manifest: impl FnOnce(&mut Accepted),
    ) -> Result<Attested, Refused> {
        let mut bytes = report();
        change_report(&mut bytes);
        self.sign_report(&mut bytes);
        let mut accepted = Accepted::strict(Platform::SevSnp, vec![Root(self.root())]);
        change_manifest(&mut accepted);
        let manifest = Manifest {
            strength_min: Strength::Hardware,
            accepted: vec![accepted],
            evidence_age_max_ms: 1000,
        };
        assert_eq!(manifest.validate(), Ok(()));
        let image = CodeIdentity {
            name: "manager".into(),
            version: "1".into(),
            platform: Platform::SevSnp,
            measurement: bytes[0x90..0xc0].to_vec(),
            state: CodeState::Allowed,
        };
        let code = CodeManifest {
            images: vec![image],
        };
        let expected: [u8; 64] = bytes[0x50..0x90].try_into().expect("64 bytes");
        let evidence = Evidence {
            platform: Platform::SevSnp,
            bytes,
        }
        .to_bytes();
        crate::appraise(
            &evidence,
            &endorsements.to_bytes(),
            &manifest,
            &code,
            &expected,
            NOW,
        )
    }
}

/// What AMD certifies of a Milan chip at bootloader 3, tee 0, snp 8, microcode 200.
fn extensions() -> Vec<Vec<u8>> {
    vec![
        amd(&[2], b"\x16\x08Milan-B0"),
        amd(&[3, 1], &[2, 1, 3]),
        amd(&[3, 2], &[2, 1, 0]),
        amd(&[3, 3], &[2, 1, 8]),
        amd(&[3, 8], &[2, 2, 0, 200]),
        amd(&[4], &CHIP),
    ]
}

/// An unsigned report of that chip.
fn report() -> Vec<u8> {
    let mut bytes = vec![0; 1184];
    bytes[0] = 3;
    bytes[4] = 9;
    bytes[8..16].copy_from_slice(&(1u64 << 17).to_le_bytes());
    bytes[0x34] = 1;
    bytes[0x160..0x180].fill(0xff);
    bytes[0x188] = 0x19;
    bytes[0x189] = 0x01;
    for tcb in [0x38, 0x180, 0x1e0, 0x1f0] {
        bytes[tcb..tcb + 8].copy_from_slice(&[3, 0, 0, 0, 0, 0, 8, 200]);
    }
    bytes[0x1a0..0x1e0].copy_from_slice(&CHIP);
    bytes
}

fn same(_: &mut [u8]) {}
fn strict(_: &mut Accepted) {}

#[test]
fn what_a_genuine_chip_may_sign_is_still_judged() {
    let amd = Amd::new();
    let good = amd.endorsements();
    let attested = amd.verdict(same, &good, strict).expect("all in order");
    assert_eq!(
        (attested.claims().svn, attested.claims().tcb["microcode"]),
        (9, 200)
    );

    let refused = |change: fn(&mut [u8])| amd.verdict(change, &good, strict).expect_err("refused");
    assert_eq!(refused(|r| r[10] |= 1 << 3), Refused::Debug);
    assert_eq!(refused(|r| r[10] |= 1 << 2), Refused::Migratable);
    assert_eq!(refused(|r| r[0x160] = 0), Refused::Migratable);
    assert_eq!(
        refused(|r| r[0x30] = 2),
        Refused::Vmpl {
            found: 2,
            maximum: 0
        }
    );
    assert!(
        matches!(refused(|r| r[0x1a0] ^= 1), Refused::Contradiction(_)),
        "another chip"
    );
    assert!(
        matches!(refused(|r| r[0x48] |= 2), Refused::Contradiction(_)),
        "a masked chip"
    );
    assert!(
        matches!(refused(|r| r[0x48] |= 1 << 2), Refused::Contradiction(_)),
        "says VLEK, is VCEK"
    );
    assert!(
        matches!(refused(|r| r[0x187] = 201), Refused::Contradiction(_)),
        "reports more than certified"
    );
    assert!(
        matches!(refused(|r| r[0x189] = 0x11), Refused::Contradiction(_)),
        "another product"
    );
    assert!(
        matches!(refused(|r| r[0] = 6), Refused::Malformed(_)),
        "a layout that nobody knows yet"
    );
    assert!(
        matches!(refused(|r| r[0x34] = 2), Refused::Malformed(_)),
        "another algorithm"
    );
    assert!(
        matches!(refused(|r| r[10] = 0), Refused::Malformed(_)),
        "a policy without its fixed bit"
    );

    let admitted = amd.verdict(|r| r[10] |= 1 << 2, &good, |a| a.admit_migratable = true);
    assert!(
        admitted
            .expect("the manifest admits it")
            .claims()
            .migratable
    );
    // Updated since the launch, or able to go back: as old as the oldest.
    for (name, offset) in [("current", 0x38), ("committed", 0x1e0), ("launch", 0x1f0)] {
        let verdict = amd.verdict(
            |r| r[offset + 7] = 100,
            &good,
            |a| a.tcb_min.extend([("microcode".to_owned(), 200)]),
        );
        assert!(
            matches!(verdict, Err(Refused::Tcb { found: 100, .. })),
            "{name}: {verdict:?}"
        );
    }
}

#[test]
fn the_revocation_list_is_obeyed() {
    let amd = Amd::new();
    let with = |crl: Vec<u8>| {
        let endorsements = Endorsements {
            crl: Some(crl),
            ..amd.endorsements()
        };
        amd.verdict(same, &endorsements, |a| a.require_crl = true)
    };
    let attested = with(amd.crl("250701000000Z", 9, &amd.ark)).expect("not on the list");
    assert_eq!(
        attested.claims().valid_until,
        Some(Millis(1_751_328_000_000)),
        "the list ends first"
    );
    assert_eq!(
        with(amd.crl("250701000000Z", ASK_SERIAL, &amd.ark)),
        Err(Refused::Revoked)
    );
    assert!(
        matches!(
            with(amd.crl("250501000000Z", 9, &amd.ark)),
            Err(Refused::Time(_))
        ),
        "an old list"
    );
    assert!(
        matches!(
            with(amd.crl("250701000000Z", 9, &amd.ask)),
            Err(Refused::Chain(_))
        ),
        "not by the root"
    );
    let mut forged = amd.crl("250701000000Z", ASK_SERIAL, &amd.ark);
    let at = forged
        .windows(3)
        .rposition(|w| w == [2, 1, ASK_SERIAL])
        .expect("there");
    forged[at + 2] = 9;
    assert!(matches!(with(forged), Err(Refused::Chain(_))), "changed");
}

#[test]
fn only_certificates_of_the_right_shape_count() {
    let amd = Amd::new();
    let with = |endorsements: Endorsements| {
        amd.verdict(same, &endorsements, strict)
            .expect_err("refused")
    };
    let not_a_ca = Endorsements {
        intermediate: amd.intermediate(false),
        ..amd.endorsements()
    };
    assert!(matches!(with(not_a_ca), Refused::Chain(_)));
    for missing in 0..extensions().len() {
        let mut some = extensions();
        some.remove(missing);
        let endorsements = Endorsements {
            key: amd.vcek(&some),
            ..amd.endorsements()
        };
        assert!(
            matches!(with(endorsements), Refused::Endorsements(_)),
            "extension {missing}"
        );
    }
    let mut both = extensions();
    both.push(super::forge::amd(&[5], b"CN=cloud"));
    let endorsements = Endorsements {
        key: amd.vcek(&both),
        ..amd.endorsements()
    };
    assert!(
        matches!(with(endorsements), Refused::Endorsements(_)),
        "a chip's key and a cloud's at once"
    );
    let skipped = Endorsements {
        intermediate: amd.root(),
        ..amd.endorsements()
    };
    assert!(
        matches!(with(skipped), Refused::Chain(_)),
        "the root is no intermediate"
    );
}
