//! The identity of a network: what clients pin.

use core::fmt;

use crypto::{Certificate, SigningKey, Zeroizing};

/// The identity that clients pin. Its private key is an administrative record, so that every node
/// can issue its own certificate.
pub struct NetworkIdentity {
    certificate: Certificate,
    key: Box<Zeroizing<[u8; 32]>>,
}

impl NetworkIdentity {
    /// Puts the two together.
    ///
    /// # Errors
    /// [`crate::Refused::WrongIdentity`] if the key is not the certificate's.
    pub fn new(certificate: Certificate, key: &SigningKey) -> Result<Self, crate::Refused> {
        if certificate.key() != key.public() {
            return Err(crate::Refused::WrongIdentity);
        }
        Ok(Self {
            certificate,
            key: Box::new(key.to_scalar()),
        })
    }

    /// The certificate that clients pin.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The key that issues the certificates of nodes.
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::of_scalar(&self.key).expect("checked when made")
    }

    pub(crate) fn copy(&self) -> Self {
        Self {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        }
    }

    pub(crate) fn scalar(&self) -> &[u8; 32] {
        &self.key
    }

    pub(crate) fn from_scalar(certificate: Certificate, scalar: &[u8; 32]) -> Option<Self> {
        Self::new(certificate, &SigningKey::of_scalar(scalar).ok()?).ok()
    }
}

impl fmt::Debug for NetworkIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkIdentity({:?})", self.certificate)
    }
}

impl PartialEq for NetworkIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate && crypto::equal(self.scalar(), other.scalar())
    }
}

impl Eq for NetworkIdentity {}

impl<C> minicbor::Encode<C> for NetworkIdentity {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?
            .bytes(self.certificate.der())?
            .bytes(self.scalar())?
            .ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for NetworkIdentity {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bad = minicbor::decode::Error::message;
        if d.array()? != Some(2) {
            return Err(bad("expected a certificate and a key"));
        }
        let certificate =
            Certificate::from_der(d.bytes()?).map_err(minicbor::decode::Error::custom)?;
        let scalar: &[u8; 32] = d
            .bytes()?
            .try_into()
            .map_err(|_| bad("expected 32 bytes"))?;
        Self::from_scalar(certificate, scalar).ok_or_else(|| bad("the key is another's"))
    }
}
