//! Trusted execution environments: what proves code, and who accepts the proof.
//!
//! A platform states what it runs (*evidence*), others vouch for the platform (*endorsements*: certificates,
//! revocation lists, TCB information), and the consortium says what it accepts ([`Manifest`] and
//! [`CodeManifest`], both part of the constitution). [`appraise`] is the one way from bytes to [`Attested`],
//! and it is a pure function of evidence, endorsements, manifests and a given time, so that every VN and
//! every later auditor reaches the same verdict from what the ledger recorded.
//!
//! Deliberately absent: reading an evidence device and starting enclaves (crate `platform`), fetching
//! endorsements (the untrusted host does), a clock.
//!
//! Source: Coco 2017, "Trusted execution environments", "Code manifest", "TEE manifest"; RFC 9334 for the
//! words evidence, endorsement and appraisal.

mod appraise;
mod binding;
mod code;
mod exact;
mod manifest;
mod words;

pub mod dcap;
pub mod snp;
pub mod software;

#[cfg(test)]
mod testdata;

pub use appraise::{Attested, Evidence, Refused, appraise, measured};
pub use binding::{Purpose, report_data};
pub use code::{BadCode, CodeIdentity, CodeManifest, CodeState};
pub use manifest::{Accepted, BadManifest, Manifest, Root};
pub use words::{Claims, Platform, Strength, Tcb};
