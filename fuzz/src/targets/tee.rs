//! Evidence and certificates, and the handshake that brings them.

use std::cell::OnceCell;

use channel::{
    Acceptor, Channel, Connector, Identity, NodeCertificate, Trust, node_certificate,
    self_signed_certificate, statement_of,
};
use crypto::{Certificate, CertificateRequest, Entropy, SigningKey, issue, verify_chain};
use tee::software::Statement;
use tee::{
    Accepted, CodeIdentity, CodeManifest, CodeState, Evidence, Manifest, Platform, Root, Strength,
    appraise, snp,
};
use types::{Millis, NetworkId};

use crate::{Pieces, pieces};

const NOW: Millis = Millis(1_800_000_000_000);
const ASKED: [u8; 64] = [6; 64];

struct Known {
    key: SigningKey,
    root: Certificate,
    /// Of the platform's key, by the root.
    platform: Certificate,
}

thread_local! {
    static KNOWN: OnceCell<Known> = const { OnceCell::new() };
}

fn with<R>(f: impl FnOnce(&Known) -> R) -> R {
    KNOWN.with(|known| f(known.get_or_init(known_platform)))
}

fn known_platform() -> Known {
    let mut entropy = Entropy::new(&[3; 32]);
    let root_key = SigningKey::generate(&mut entropy);
    let key = SigningKey::generate(&mut entropy);
    let request = |common_name, authority| CertificateRequest {
        common_name,
        dns_names: vec![],
        not_before: Millis(0),
        not_after: Millis(4_000_000_000_000),
        authority,
        extensions: vec![],
        serial: [8; 16],
    };
    let root = issue(root_key.public(), &request("root", true), &root_key, None);
    let platform = issue(
        key.public(),
        &request("platform", false),
        &root_key,
        Some(&root),
    );
    Known {
        key,
        root,
        platform,
    }
}

/// Only a platform that leads to a root is believed, and only about what was asked.
fn judge(platform: Platform, bytes: &[u8], endorsements: &[u8]) {
    let evidence = Evidence {
        platform,
        bytes: bytes.to_vec(),
    };
    judge_whole(&evidence.to_bytes(), endorsements);
}

fn judge_whole(evidence: &[u8], endorsements: &[u8]) {
    with(|known| {
        let accepted = |platform| {
            let root = Root(known.root.der().to_vec());
            Accepted::strict(platform, vec![root])
        };
        let manifest = Manifest {
            strength_min: Strength::Software,
            accepted: [
                Platform::Software,
                Platform::SevSnp,
                Platform::Tdx,
                Platform::SgxDcap,
            ]
            .map(accepted)
            .to_vec(),
            evidence_age_max_ms: 60_000,
        };
        let code = CodeManifest {
            images: vec![CodeIdentity {
                name: "manager".into(),
                version: "1".into(),
                platform: Platform::Software,
                measurement: vec![1; 48],
                state: CodeState::Allowed,
            }],
        };
        if let Ok(attested) = appraise(evidence, endorsements, &manifest, &code, &ASKED, NOW) {
            assert_eq!(attested.claims().platform, Platform::Software);
            assert_eq!(attested.claims().report_data, ASKED, "about something else");
        }
    });
}

pub fn software(data: &[u8]) {
    judge_whole(data, &[]);
    judge(Platform::Software, data, &[]);
}

pub fn statements() -> Vec<Vec<u8>> {
    with(|known| {
        let statement = Statement {
            measurement: [1; 48],
            report_data: ASKED,
            launch_data: b"arguments".to_vec(),
            instance: [4; 16],
            svn: 1,
            time: NOW,
            missing: vec!["landlock".into()],
            shared_user: false,
        };
        let whole = Statement {
            missing: vec![],
            ..statement.clone()
        };
        let chain = std::slice::from_ref(&known.platform);
        [statement, whole]
            .map(|s| tee::software::sign(&known.key, chain, &s))
            .to_vec()
    })
}

pub fn snp(data: &[u8]) {
    let mut pieces = Pieces(data);
    let report = pieces.piece();
    judge(Platform::SevSnp, report, pieces.0);
}

/// A report in the right shape by nobody's key, and endorsements in the right shape by nobody's root.
pub fn reports() -> Vec<Vec<u8>> {
    let mut report = vec![0; 1184];
    report[0] = 3;
    report[8..16].copy_from_slice(&(1u64 << 17).to_le_bytes());
    report[0x34] = 1;
    report[0x160..0x180].fill(0xff);
    let endorsements = with(|known| snp::Endorsements {
        key: known.platform.der().to_vec(),
        intermediate: known.root.der().to_vec(),
        crl: Some(vec![0x30, 0]),
    });
    vec![[&pieces(&[&report])[..], &endorsements.to_bytes()].concat()]
}

pub fn dcap(data: &[u8]) {
    let mut pieces = Pieces(data);
    let platform = if pieces.byte() & 1 == 0 {
        Platform::Tdx
    } else {
        Platform::SgxDcap
    };
    let quote = pieces.piece();
    if let Some(found) = tee::dcap::quote_in(quote) {
        assert!(found.len() <= quote.len());
    }
    judge(platform, quote, pieces.0);
}

/// Quotes of version 3 (SGX) and 4 (TDX) by nobody's key: header, report, a signature with an empty
/// certification.
pub fn quotes() -> Vec<Vec<u8>> {
    let collateral = br#"{"pck_crl_issuer_chain":"","root_ca_crl":"","pck_crl":"","tcb_info_issuer_chain":"","tcb_info":"{}","tcb_info_signature":"","qe_identity_issuer_chain":"","qe_identity":"{}","qe_identity_signature":""}"#;
    let quote = |version: u16, tee: u32, report: usize| {
        let mut quote = Vec::new();
        quote.extend_from_slice(&version.to_le_bytes());
        quote.extend_from_slice(&2u16.to_le_bytes());
        quote.extend_from_slice(&tee.to_le_bytes());
        quote.resize(48 + report, 0);
        let mut signature = vec![0; 128];
        if version == 3 {
            signature.resize(128 + 448, 0);
            signature.extend_from_slice(&[0, 0, 5, 0, 4, 0, 0, 0]);
            signature.extend_from_slice(b"none");
        } else {
            let mut certification = vec![0; 448];
            certification.extend_from_slice(&[0, 0, 5, 0, 4, 0, 0, 0]);
            certification.extend_from_slice(b"none");
            signature.extend_from_slice(&6u16.to_le_bytes());
            let length = u32::try_from(certification.len()).expect("short");
            signature.extend_from_slice(&length.to_le_bytes());
            signature.extend(certification);
        }
        let length = u32::try_from(signature.len()).expect("short");
        quote.extend_from_slice(&length.to_le_bytes());
        quote.extend(signature);
        quote
    };
    [(0, quote(4, 0x81, 584)), (1, quote(3, 0, 384))]
        .map(|(platform, quote)| [&[platform][..], &pieces(&[&quote]), collateral].concat())
        .to_vec()
}

/// A certificate that is read is the bytes that were given, and leads only to who issued it.
pub fn certificate(data: &[u8]) {
    let Ok(certificate) = Certificate::from_der(data) else {
        return;
    };
    assert_eq!(certificate.der(), data, "more or less than was given");
    let _ = (certificate.subject(), certificate.not_after());
    let _ = statement_of(&certificate);
    let again = Certificate::chain_from_pem(&certificate.to_pem()).expect("own text");
    assert_eq!(again[0].der(), data);
    with(|known| {
        let listed = std::slice::from_ref(&known.root);
        if verify_chain(std::slice::from_ref(&certificate), listed, NOW).is_ok() {
            assert!(
                certificate.issued_by(&known.root).is_ok() || certificate.der() == known.root.der()
            );
        }
    });
}

pub fn certificates() -> Vec<Vec<u8>> {
    with(|known| {
        let names = ["vn.example".to_owned(), "10.0.0.1".to_owned()];
        let statement = NodeCertificate {
            network: NetworkId([2; 32]),
            restarts: 1,
            common_name: "node",
            names: &names,
            evidence: b"evidence",
            endorsements: b"endorsements",
            not_before: NOW,
            not_after: NOW.plus(1000),
            serial: [3; 16],
        };
        let own = self_signed_certificate(&statement, &known.key).expect("good names");
        let network = channel::network_certificate(&known.key, "n", Millis(0), NOW, [1; 16]);
        let issued = node_certificate(&statement, known.key.public(), &known.key, &network)
            .expect("good names");
        [own, network, issued, known.platform.clone()]
            .map(|c| c.der().to_vec())
            .to_vec()
    })
}

/// Bytes before anybody is known: either side of a handshake lives, and nobody gets in by them.
pub fn handshake(data: &[u8]) {
    let Some((side, data)) = data.split_first() else {
        return;
    };
    with(|known| {
        let identity = Identity::new(&known.key, std::slice::from_ref(&known.platform))
            .expect("its own certificate");
        let mut channel = if side & 1 == 0 {
            Channel::accept(&Acceptor::new(&identity, &[channel::NODE]))
        } else {
            let connector = Connector::new(&identity, Trust::Any, &[channel::NODE]);
            Channel::connect(&connector, "node.invalid").expect("a DNS name")
        };
        let mut plaintext = Vec::new();
        for part in data.chunks(97) {
            if channel.received(part, &mut plaintext).is_err() {
                break;
            }
        }
        let _ = channel.drain();
        assert!(
            channel.ready().is_none() && plaintext.is_empty(),
            "a stranger got in"
        );
    });
}

pub fn handshakes() -> Vec<Vec<u8>> {
    with(|known| {
        let identity = Identity::new(&known.key, std::slice::from_ref(&known.platform))
            .expect("its own certificate");
        let mut client = Channel::connect(
            &Connector::new(&identity, Trust::Any, &[channel::NODE]),
            "node.invalid",
        )
        .expect("a DNS name");
        let hello = client.drain();
        let mut server = Channel::accept(&Acceptor::new(&identity, &[channel::NODE]));
        server
            .received(&hello, &mut Vec::new())
            .expect("an honest client");
        [(0, hello), (1, server.drain())]
            .map(|(side, bytes)| [&[side][..], &bytes].concat())
            .to_vec()
    })
}
