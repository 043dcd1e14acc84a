//! The TEE manifest: whose evidence the consortium accepts, and how good it must be.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use types::Digest;
use x509_parser::oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, Oid};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Platform, Strength, Tcb};

/// Most platforms in a manifest: one entry for each vendor's product line and each operator's launchers.
const ACCEPTED_MAX: usize = 32;

/// Most roots of one entry: one per member that runs its own launchers (`types::limits::ACTORS_MAX`).
const ROOTS_MAX: usize = types::limits::ACTORS_MAX;

/// Most words in a list of an entry.
const LIST_MAX: usize = 256;

/// Longest root certificate.
const ROOT_BYTES_MAX: usize = 8 << 10;

/// A certificate at which a chain of trust may end: DER; PEM or hexadecimal in text.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[cbor(transparent)]
pub struct Root(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

impl Root {
    /// Whether it is the certificate of an authority, of whatever kind its key is.
    pub fn is_authority(&self) -> bool {
        self.0.len() <= ROOT_BYTES_MAX
            && X509Certificate::from_der(&self.0)
                .is_ok_and(|(rest, certificate)| rest.is_empty() && certificate.is_ca())
    }
}

impl From<Root> for String {
    fn from(root: Root) -> String {
        hex::encode(root.0)
    }
}

impl TryFrom<String> for Root {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.trim_start().starts_with("-----BEGIN") {
            let (_, pem) = x509_parser::pem::parse_x509_pem(text.trim_start().as_bytes())
                .map_err(|_| "the root is not a certificate in PEM".to_owned())?;
            Ok(Self(pem.contents))
        } else {
            hex::decode(text.trim())
                .map(Self)
                .map_err(|_| "write a root as PEM or as hexadecimal DER".to_owned())
        }
    }
}

/// What is accepted of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The platform.
    #[n(0)]
    pub platform: Platform,
    /// Where its certificate chains must end. Software: a member's platform root (P-256). SEV-SNP: the
    /// ARK of each product. Intel: the SGX Root CA.
    #[n(1)]
    pub roots: Vec<Root>,
    /// Lowest security version of the image (software: of the launcher).
    #[serde(default)]
    #[n(2)]
    pub svn_min: u64,
    /// Lowest version of each named part of the platform; see [`Tcb`].
    #[serde(default)]
    #[n(3)]
    pub tcb_min: Tcb,
    /// Intel: which TCB statuses are accepted beside `UpToDate`.
    #[serde(default)]
    #[n(4)]
    pub tcb_statuses: Vec<String>,
    /// Intel: advisories that are known and accepted; any other refuses.
    #[serde(default)]
    #[n(5)]
    pub advisories: Vec<String>,
    /// What is revoked, for example because a platform key was stolen. Software and SEV-SNP: SHA-256 of the
    /// DER of any certificate of the chain. Intel: SHA-256 of the machine's PPID.
    #[serde(default)]
    #[n(6)]
    pub revoked: Vec<Digest>,
    /// Which weaknesses of a machine are admitted; see [`crate::Claims::missing`].
    #[serde(default)]
    #[n(7)]
    pub missing_allowed: Vec<String>,
    /// Software: whether an enclave may run under the host process's own user.
    #[serde(default)]
    #[n(8)]
    pub admit_shared_user: bool,
    /// SEV-SNP: whether a revocation list of the vendor must come with the evidence.
    #[serde(default)]
    #[n(9)]
    pub require_crl: bool,
    /// Whether the enclave may be moved by a migration agent.
    #[serde(default)]
    #[n(10)]
    pub admit_migratable: bool,
    /// SEV-SNP: the least privileged level (0 is the most) from which a report may come.
    #[serde(default)]
    #[n(11)]
    pub vmpl_max: u8,
}

impl Accepted {
    /// The strictest entry for a platform: nothing missing, nothing old, nobody else's user.
    pub fn strict(platform: Platform, roots: Vec<Root>) -> Self {
        Self {
            platform,
            roots,
            svn_min: 0,
            tcb_min: Tcb::new(),
            tcb_statuses: Vec::new(),
            advisories: Vec::new(),
            revoked: Vec::new(),
            missing_allowed: Vec::new(),
            admit_shared_user: false,
            require_crl: false,
            admit_migratable: false,
            vmpl_max: 0,
        }
    }
}

/// Whose evidence the consortium accepts; part of the constitution.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The weakest protection that is admitted at all.
    #[n(0)]
    pub strength_min: Strength,
    /// Entries are tried in order; evidence must satisfy one of its platform entirely.
    #[n(1)]
    pub accepted: Vec<Accepted>,
    /// How old evidence that carries a time (software) may be against ledger time, and how far ahead.
    #[n(2)]
    pub evidence_age_max_ms: u64,
}

/// What is wrong with a TEE manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    #[error("the TEE manifest accepts no platform, so no VN could join")]
    Empty,
    #[error("the TEE manifest has more than {ACCEPTED_MAX} entries, or a list in it is too long")]
    TooMany,
    #[error("{0} has no appraiser in this version: remove it from the TEE manifest")]
    NoAppraiser(Platform),
    #[error("{0} is weaker than strength_min: remove it, or lower strength_min knowingly")]
    TooWeak(Platform),
    #[error("{0} has no root certificate: evidence could not be trusted")]
    NoRoot(Platform),
    #[error("root {place} of {platform} is not a certificate with a key that this platform uses")]
    Root { platform: Platform, place: usize },
    #[error("evidence_age_max_ms must not be 0: all evidence would be too old")]
    Age,
    #[error("{platform} knows no TCB part {part:?}")]
    Part { platform: Platform, part: String },
}

impl Manifest {
    /// Checks what a proposal or a genesis wants to make the TEE manifest.
    ///
    /// # Errors
    /// [`BadManifest`]: whoever wrote it must change it.
    pub fn validate(&self) -> Result<(), BadManifest> {
        if self.accepted.is_empty() {
            return Err(BadManifest::Empty);
        }
        if self.accepted.len() > ACCEPTED_MAX {
            return Err(BadManifest::TooMany);
        }
        if self.evidence_age_max_ms == 0 {
            return Err(BadManifest::Age);
        }
        for accepted in &self.accepted {
            accepted.validate(self.strength_min)?;
        }
        Ok(())
    }

    /// The entries for a platform, in order.
    pub fn entries(&self, platform: Platform) -> impl Iterator<Item = &Accepted> {
        self.accepted.iter().filter(move |a| a.platform == platform)
    }
}

impl Accepted {
    fn validate(&self, strength_min: Strength) -> Result<(), BadManifest> {
        let platform = self.platform;
        if !platform.has_appraiser() {
            return Err(BadManifest::NoAppraiser(platform));
        }
        if platform.strength() < strength_min {
            return Err(BadManifest::TooWeak(platform));
        }
        if self.roots.is_empty() {
            return Err(BadManifest::NoRoot(platform));
        }
        let lists = [
            self.tcb_min.len(),
            self.tcb_statuses.len(),
            self.advisories.len(),
            self.revoked.len(),
            self.missing_allowed.len(),
        ];
        if self.roots.len() > ROOTS_MAX || lists.iter().any(|n| *n > LIST_MAX) {
            return Err(BadManifest::TooMany);
        }
        for (place, root) in self.roots.iter().enumerate() {
            let good = root.0.len() <= ROOT_BYTES_MAX
                && match platform {
                    Platform::Software => crypto::Certificate::from_der(&root.0).is_ok(),
                    Platform::SevSnp => has_key(&root.0, &OID_PKCS1_RSAENCRYPTION),
                    _ => has_key(&root.0, &OID_KEY_TYPE_EC_PUBLIC_KEY),
                };
            if !good {
                return Err(BadManifest::Root { platform, place });
            }
        }
        let parts = parts(platform);
        match self
            .tcb_min
            .keys()
            .find(|part| !parts.contains(&part.as_str()))
        {
            Some(part) => Err(BadManifest::Part {
                platform,
                part: part.clone(),
            }),
            None => Ok(()),
        }
    }
}

fn has_key(der: &[u8], kind: &Oid<'_>) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(rest, root)| rest.is_empty() && root.public_key().algorithm.algorithm == *kind)
}

/// The TCB parts that an appraiser reports.
fn parts(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::SevSnp => &["bootloader", "tee", "snp", "microcode", "fmc"],
        Platform::Tdx | Platform::SgxDcap => &["pce", "evaluation"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::software::tests::root;

    fn manifest() -> Manifest {
        Manifest {
            strength_min: Strength::Software,
            accepted: vec![Accepted::strict(
                Platform::Software,
                vec![Root(root(1).1.der().to_vec())],
            )],
            evidence_age_max_ms: 60_000,
        }
    }

    #[test]
    fn a_manifest_survives_both_encodings() {
        let mut manifest = manifest();
        manifest.accepted[0].revoked.push(Digest([7; 32]));
        manifest.accepted[0].missing_allowed.push("landlock".into());
        assert_eq!(manifest.validate(), Ok(()));
        let text = serde_json::to_string(&manifest).expect("text");
        assert_eq!(
            serde_json::from_str::<Manifest>(&text).expect("own text"),
            manifest
        );
        let bytes = minicbor::to_vec(&manifest).expect("bytes");
        assert_eq!(
            minicbor::decode::<Manifest>(&bytes).expect("own bytes"),
            manifest
        );
    }

    #[test]
    fn a_root_may_be_written_as_pem() {
        let (_, certificate) = root(1);
        let text = serde_json::to_string(&certificate.to_pem()).expect("text");
        assert_eq!(
            serde_json::from_str::<Root>(&text).expect("PEM").0,
            certificate.der()
        );
    }

    #[test]
    fn a_manifest_that_could_admit_nobody_or_too_much_is_refused() {
        let refused = |change: fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest.validate().expect_err("refused")
        };
        assert_eq!(refused(|m| m.accepted.clear()), BadManifest::Empty);
        assert_eq!(
            refused(|m| m.accepted[0].platform = Platform::Vbs),
            BadManifest::NoAppraiser(Platform::Vbs)
        );
        assert_eq!(
            refused(|m| m.strength_min = Strength::Hardware),
            BadManifest::TooWeak(Platform::Software)
        );
        assert_eq!(
            refused(|m| m.accepted[0].roots.clear()),
            BadManifest::NoRoot(Platform::Software)
        );
        assert_eq!(refused(|m| m.evidence_age_max_ms = 0), BadManifest::Age);
        assert!(matches!(
            refused(|m| m.accepted[0].roots[0].0.truncate(9)),
            BadManifest::Root { place: 0, .. }
        ));
        let key = refused(|m| m.accepted[0].platform = Platform::SevSnp);
        assert!(matches!(
            key,
            BadManifest::Root {
                platform: Platform::SevSnp,
                place: 0
            }
        ));
        let part = refused(|m| {
            m.accepted[0].tcb_min.insert("snp".into(), 1);
        });
        assert!(matches!(part, BadManifest::Part { .. }));
    }
}
