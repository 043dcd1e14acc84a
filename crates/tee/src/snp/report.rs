//! The attestation report: its layout, its signature, and what it says about the machine.

use crate::snp::chain::{EndorsedKey, Product, Signer};
use crate::{Refused, Tcb};

/// Length of a report, and of the part that is signed.
const REPORT_BYTES: usize = 1184;
const SIGNED_BYTES: usize = 0x2a0;

/// ECDSA on P-384 with SHA-384, the only algorithm defined.
const ALGORITHM: u32 = 1;

/// What is used of a report.
pub(super) struct Report<'a> {
    bytes: &'a [u8; REPORT_BYTES],
    version: u32,
    pub(super) guest_svn: u32,
    pub(super) vmpl: u32,
    pub(super) debug: bool,
    pub(super) migratable: bool,
    pub(super) report_data: [u8; 64],
    pub(super) measurement: [u8; 48],
    pub(super) host_data: [u8; 32],
    signer: u32,
    chip_is_masked: bool,
}

impl<'a> Report<'a> {
    /// Reads the fixed layout and refuses what is not defined in it.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Refused> {
        let bytes: &[u8; REPORT_BYTES] = bytes
            .try_into()
            .map_err(|_| Refused::Malformed("an SEV-SNP report has 1184 bytes"))?;
        let version = u32::from_le_bytes(at(bytes, 0));
        if !(2..=5).contains(&version) {
            return Err(Refused::Malformed(
                "an SEV-SNP report of version 2 to 5 is expected",
            ));
        }
        if u32::from_le_bytes(at(bytes, 0x34)) != ALGORITHM {
            return Err(Refused::Malformed(
                "the report is not signed by ECDSA on P-384",
            ));
        }
        let policy = u64::from_le_bytes(at(bytes, 8));
        if policy & 1 << 17 == 0 {
            return Err(Refused::Malformed("bit 17 of the guest policy must be set"));
        }
        let flags = u32::from_le_bytes(at(bytes, 0x48));
        Ok(Self {
            bytes,
            version,
            guest_svn: u32::from_le_bytes(at(bytes, 4)),
            vmpl: u32::from_le_bytes(at(bytes, 0x30)),
            debug: policy & 1 << 19 != 0,
            // An agent is bound if the policy allows one or the report names one (all ones: none).
            migratable: policy & 1 << 18 != 0 || !is_none(&at::<32>(bytes, 0x160)),
            report_data: at(bytes, 0x50),
            measurement: at(bytes, 0x90),
            host_data: at(bytes, 0xc0),
            signer: flags >> 2 & 7,
            chip_is_masked: flags & 2 != 0,
        })
    }

    /// Checks the signature, and that the report is of the machine for which the key was certified.
    pub(super) fn verify(&self, key: &EndorsedKey) -> Result<(), Refused> {
        crypto::verify_p384(&key.point, &self.bytes[..SIGNED_BYTES], &self.signature()?)
            .map_err(|_| Refused::Signature)?;
        match (&key.signer, self.signer) {
            (Signer::Chip(_), 0) if self.chip_is_masked => {
                return Err(Refused::Contradiction(
                    "the chip hides its identity, so its key cannot be matched",
                ));
            }
            (Signer::Chip(id), 0) if *id == at::<64>(self.bytes, 0x1a0) => {}
            (Signer::Chip(_), 0) => {
                return Err(Refused::Contradiction(
                    "the report is of another chip than the key",
                ));
            }
            (Signer::Loaded, 1) => {}
            _ => {
                return Err(Refused::Contradiction(
                    "the report names another kind of key than signed it",
                ));
            }
        }
        let reported = self.version_at(0x180, key.product);
        if reported != key.tcb {
            return Err(Refused::Contradiction(
                "the key is certified for another TCB than the report's",
            ));
        }
        if let Some(product) = self.product()
            && product != key.product
        {
            return Err(Refused::Contradiction(
                "the report is of another product than the key",
            ));
        }
        Ok(())
    }

    /// r and s, 72 bytes each and little-endian, as 48 bytes each and big-endian. What a number of 384 bits
    /// does not need, and the rest of the signature field, must be zero.
    fn signature(&self) -> Result<[u8; 96], Refused> {
        let field = &self.bytes[SIGNED_BYTES..];
        let (r, s, rest) = (&field[..72], &field[72..144], &field[144..]);
        if r[48..].iter().chain(&s[48..]).chain(rest).any(|b| *b != 0) {
            return Err(Refused::Malformed(
                "reserved bytes of the signature are not zero",
            ));
        }
        let mut signature = [0; 96];
        for place in 0..48 {
            signature[place] = r[47 - place];
            signature[48 + place] = s[47 - place];
        }
        Ok(signature)
    }

    /// The lowest version of each part among the current, reported, committed and launch TCB: a machine that
    /// was updated after the launch, or may still be rolled back, is as old as its oldest.
    pub(super) fn tcb(&self, key: &EndorsedKey) -> Tcb {
        let mut lowest = self.version_at(0x180, key.product);
        for offset in [0x38, 0x1e0, 0x1f0] {
            for (part, version) in self.version_at(offset, key.product) {
                let known = lowest.entry(part).or_insert(version);
                *known = version.min(*known);
            }
        }
        lowest
    }

    /// TCB_VERSION: AMD moved the bytes with Turin.
    fn version_at(&self, offset: usize, product: Product) -> Tcb {
        let byte = |place: usize| u64::from(self.bytes[offset + place]);
        let parts: &[(&str, usize)] = match product {
            Product::Milan | Product::Genoa => {
                &[("bootloader", 0), ("tee", 1), ("snp", 6), ("microcode", 7)]
            }
            Product::Turin => &[
                ("fmc", 0),
                ("bootloader", 1),
                ("tee", 2),
                ("snp", 3),
                ("microcode", 7),
            ],
        };
        parts
            .iter()
            .map(|(part, place)| ((*part).to_owned(), byte(*place)))
            .collect()
    }

    /// From version 3 on a report says on which processor it was made.
    fn product(&self) -> Option<Product> {
        if self.version < 3 {
            return None;
        }
        match (self.bytes[0x188], self.bytes[0x189]) {
            (0x19, 0x00..=0x0f) => Some(Product::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Product::Genoa),
            (0x1a, 0x00..=0x1f) => Some(Product::Turin),
            _ => None,
        }
    }
}

fn is_none(agent: &[u8; 32]) -> bool {
    agent.iter().all(|b| *b == 0xff)
}

fn at<const N: usize>(bytes: &[u8; REPORT_BYTES], offset: usize) -> [u8; N] {
    bytes[offset..offset + N]
        .try_into()
        .expect("every offset lies in a report")
}
