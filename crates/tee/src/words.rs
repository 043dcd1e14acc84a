//! The words: platforms, how strong they are, and what an appraiser finds out.

use core::fmt;
use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use types::Millis;

/// A kind of trusted execution environment.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Platform {
    /// AMD SEV-SNP virtual machine.
    #[n(0)]
    SevSnp,
    /// Intel TDX virtual machine.
    #[n(1)]
    Tdx,
    /// Intel SGX enclave with DCAP attestation.
    #[n(2)]
    SgxDcap,
    /// AWS Nitro enclave.
    #[n(3)]
    Nitro,
    /// Azure confidential VM on SEV-SNP, by its vTPM.
    #[n(4)]
    AzureSnpVtpm,
    /// Azure confidential VM on TDX, by its vTPM.
    #[n(5)]
    AzureTdxVtpm,
    /// Arm CCA realm.
    #[n(6)]
    ArmCca,
    /// Windows virtualization-based security.
    #[n(7)]
    Vbs,
    /// A locked-down process, measured and vouched for by its launcher.
    #[n(8)]
    Software,
}

impl Platform {
    /// How much stands between the node's operator and the enclave.
    pub fn strength(self) -> Strength {
        match self {
            Self::Software => Strength::Software,
            _ => Strength::Hardware,
        }
    }

    /// Whether this build can appraise its evidence. A manifest may not name one that it cannot.
    pub fn has_appraiser(self) -> bool {
        self.measurement_bytes().is_some()
    }

    /// Length of a measurement, for platforms with an appraiser.
    pub fn measurement_bytes(self) -> Option<usize> {
        match self {
            Self::Software | Self::SevSnp | Self::Tdx => Some(48),
            Self::SgxDcap => Some(32),
            _ => None,
        }
    }

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::SevSnp => "sev-snp",
            Self::Tdx => "tdx",
            Self::SgxDcap => "sgx-dcap",
            Self::Nitro => "nitro",
            Self::AzureSnpVtpm => "azure-snp-vtpm",
            Self::AzureTdxVtpm => "azure-tdx-vtpm",
            Self::ArmCca => "arm-cca",
            Self::Vbs => "vbs",
            Self::Software => "software",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a platform protects against. Ordered: hardware is stronger.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Strength {
    /// Other users, the node's own host process and the network; never root or the hypervisor.
    #[n(0)]
    Software,
    /// Also root, the hypervisor and, as far as the vendor says, whoever holds the machine.
    #[n(1)]
    Hardware,
}

/// Security version numbers of a platform's parts, by the vendor's names: `bootloader`, `tee`, `snp`,
/// `microcode` and `fmc` for SEV-SNP; `pce` for Intel.
pub type Tcb = BTreeMap<String, u64>;

/// What an appraiser found in evidence whose signatures and dates were good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who made the evidence.
    pub platform: Platform,
    /// What the platform protects against.
    pub strength: Strength,
    /// What code runs: 48 bytes for software (SHA-384 of the image), SEV-SNP (launch digest) and TDX
    /// (SHA-384 over MRTD and the four runtime registers), 32 bytes for SGX (MRENCLAVE).
    pub measurement: Vec<u8>,
    /// Security version of the image as the platform reports it (software: of the launcher).
    pub svn: u64,
    /// What the enclave asked the platform to bind to the evidence: see [`crate::report_data`].
    pub report_data: [u8; 64],
    /// What whoever started the enclave bound to it (SEV-SNP host data, TDX MRCONFIGID); empty if nothing.
    pub launch_data: Vec<u8>,
    /// The operator may look inside. Never accepted; kept so that a tool can show why.
    pub debug: bool,
    /// The enclave may move to another machine by a migration agent.
    pub migratable: bool,
    /// Versions of the platform's parts.
    pub tcb: Tcb,
    /// The vendor's word for that TCB, `UpToDate` where there is none.
    pub tcb_status: String,
    /// Security advisories that the vendor says apply.
    pub advisories: Vec<String>,
    /// When the first certificate or collateral under this verdict expires.
    pub valid_until: Option<Millis>,
    /// What weakens the machine: parts of the software sandbox that it lacks; `smt-enabled`, `cached-keys` and
    /// `dynamic-platform` of Intel platforms.
    pub missing: Vec<String>,
    /// Software only: the enclave runs under the host process's own user, which protects nothing from it.
    pub shared_user: bool,
}
