//! The only crate of the trusted core that names a cryptographic primitive.
//!
//! Primitives come from AWS-LC; this crate gives them the few shapes that Coco uses, so that a
//! reader can list every key, context string and algorithm of the core on a few pages. An adapter
//! uses its protocol's own primitives (Ethereum: secp256k1, keccak-256).
//!
//! Every signature and every derived key carries a [`Context`], and all contexts stand in one file.

mod aead;
mod context;
mod cose;
mod entropy;
mod hash;
pub mod hpke;
mod signature;
mod vendor;
mod wrap;
mod x509;

pub use aead::{AeadKey, NotAuthentic, SEAL_OVERHEAD_BYTES};
pub use context::Context;
pub use cose::{BadCose, Signed, sign1, sign1_with, verify1};
pub use entropy::Entropy;
pub use hash::{Hasher, derive, equal, hmac, sha256, sha384, sha512};
pub use hpke::HpkeKey;
pub use signature::{BadKey, BadSignature, PublicKey, Signature, SigningKey};
pub use vendor::{verify_p384, verify_rsa_pss};
pub use wrap::{WRAPPED_BYTES, Wrapped};
pub use x509::{BadCertificate, Certificate, CertificateRequest, Extension, issue, verify_chain};
pub use zeroize::{Zeroize, Zeroizing};
