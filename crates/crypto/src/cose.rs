//! COSE_Sign1 (RFC 9052) with ES256: what actors, agents and platforms sign.

use coset::{
    CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, RegisteredLabelWithPrivate,
    TaggedCborSerializable, iana,
};

use crate::{Context, PublicKey, Signature, SigningKey};

/// Longest object that is looked at: evidence with a certificate chain stays below.
const COSE_BYTES_MAX: usize = 1 << 20;

/// The object is not a COSE_Sign1 by this key in this context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCose {
    #[error("not a COSE_Sign1 object with ES256 and an attached payload")]
    Shape,
    #[error("the COSE signature does not match the key, the context or the content")]
    Signature,
}

/// A payload whose signature was checked. Only [`verify1`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    payload: Vec<u8>,
}

impl Signed {
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Signs `payload`; the context is the external associated data, so that a signature made for one
/// purpose is none for another.
pub fn sign1(key: &SigningKey, context: Context, payload: &[u8]) -> Vec<u8> {
    let signed: Result<_, core::convert::Infallible> =
        sign1_with(context, payload, |content| Ok(key.sign(content)));
    signed.unwrap_or_else(|never| match never {})
}

/// As [`sign1`], by a key that lives elsewhere, such as in a hardware security module: `sign` gives
/// the P-256 signature with SHA-256 over the bytes it is given.
///
/// # Errors
/// What `sign` says.
pub fn sign1_with<E>(
    context: Context,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Signature, E>,
) -> Result<Vec<u8>, E> {
    let object = CoseSign1Builder::new()
        .protected(
            HeaderBuilder::new()
                .algorithm(iana::Algorithm::ES256)
                .build(),
        )
        .payload(payload.to_vec())
        .try_create_signature(context.bytes(), |content| {
            sign(content).map(|signature| signature.to_vec())
        })?
        .build();
    Ok(object
        .to_tagged_vec()
        .expect("an object in memory can be encoded"))
}

/// Checks a COSE_Sign1 (tagged or not) and gives its payload.
///
/// # Errors
/// [`BadCose`]: whoever gave it did not sign it, or not for this.
pub fn verify1(key: &PublicKey, context: Context, object: &[u8]) -> Result<Signed, BadCose> {
    if object.len() > COSE_BYTES_MAX {
        return Err(BadCose::Shape);
    }
    let sign1 = CoseSign1::from_tagged_slice(object)
        .or_else(|_| CoseSign1::from_slice(object))
        .map_err(|_| BadCose::Shape)?;
    let es256 = Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::ES256));
    if sign1.protected.header.alg != es256
        || !sign1.protected.header.crit.is_empty()
        || sign1.payload.is_none()
    {
        return Err(BadCose::Shape);
    }
    sign1
        .verify_signature(context.bytes(), |signature, content| {
            key.verify(content, signature)
        })
        .map_err(|_| BadCose::Signature)?;
    Ok(Signed {
        payload: sign1.payload.expect("looked at above"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entropy;

    #[test]
    fn a_signature_is_good_for_one_context_only() {
        let key = SigningKey::generate(&mut Entropy::new(&[1; 32]));
        let object = sign1(&key, Context::NodeTuple, b"payload");
        assert_eq!(
            verify1(key.public(), Context::NodeTuple, &object)
                .expect("own")
                .payload(),
            b"payload"
        );
        assert_eq!(
            verify1(key.public(), Context::Ballot, &object),
            Err(BadCose::Signature)
        );
        for at in 0..object.len() {
            let mut changed = object.clone();
            changed[at] ^= 1;
            assert!(
                verify1(key.public(), Context::NodeTuple, &changed).is_err(),
                "byte {at}"
            );
        }
    }
}
