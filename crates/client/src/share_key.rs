//! An actor's share-transport key as a file: 32 bytes in PEM, or the same encrypted as identities are
//! (RFC 8018: scrypt and AES-256), or wrapped by a key in a module ([`WrappedShareKey`]).
//!
//! It has a label of its own, so that nobody takes it for the key of a certificate.

use std::path::Path;

use crypto::Zeroizing;
use pkcs8::der::{Encode, asn1::OctetStringRef};
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use threshold::{Element, TransportKey};

use crate::identity::{self, Passphrase};
use crate::wrapped::{WRAPPED, WrappedShareKey};
use crate::{ModuleKey, Problem};

const OPEN: &str = "COCO SHARE KEY";
const LOCKED: &str = "ENCRYPTED COCO SHARE KEY";

/// ASN.1: a sequence of one octet string of 32 bytes, which is what is encrypted.
const OCTETS: [u8; 4] = [0x30, 34, 4, 32];

/// The text of the file. It holds the private key: write it for its owner only.
pub fn share_key_to_pem(key: &TransportKey) -> Zeroizing<String> {
    Zeroizing::new(identity::pem_block(OPEN, key.export().expose()))
}

/// The same under a passphrase. `salt` and `iv` are fresh random bytes.
pub fn share_key_to_locked_pem(
    key: &TransportKey,
    passphrase: &str,
    salt: [u8; 16],
    iv: [u8; 16],
) -> String {
    let mut octets = Zeroizing::new([0; 36]);
    octets[..4].copy_from_slice(&OCTETS);
    octets[4..].copy_from_slice(key.export().expose());
    let scheme = identity::lock(&salt, iv);
    let encrypted = scheme
        .encrypt(passphrase, octets.as_slice())
        .expect("a whole key is encrypted");
    let locked = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: scheme.into(),
        encrypted_data: OctetStringRef::new(&encrypted).expect("48 bytes"),
    };
    identity::pem_block(LOCKED, &locked.to_der().expect("memory takes any length"))
}

/// A share-transport key as its owner keeps it.
#[derive(Debug)]
pub enum ShareKey {
    /// Open in memory since its file was read.
    Open(TransportKey),
    /// Opened by a module for each use, and erased after it.
    Wrapped {
        file: WrappedShareKey,
        /// The `pkcs11:` URI of the key that opens it, if it was named.
        module: Option<String>,
    },
}

impl ShareKey {
    /// Reads the file. `module` names the key that a wrapped one is opened with; `passphrase` is asked if
    /// one protects it.
    ///
    /// # Errors
    /// [`Problem::Identity`]: the file is absent or is no share key, or the passphrase is another.
    pub fn read(
        path: &Path,
        module: Option<&str>,
        passphrase: Passphrase<'_>,
    ) -> Result<Self, Problem> {
        let text = identity::read_text(path)?;
        Self::from_pem(&text, module, passphrase).map_err(|problem| match problem {
            Problem::Identity(text) => Problem::Identity(format!("{}: {text}", path.display())),
            other => other,
        })
    }

    /// The public part. Of a wrapped key, it is what the file says until the module has opened it.
    pub fn public(&self) -> Element {
        match self {
            Self::Open(key) => key.public(),
            Self::Wrapped { file, .. } => file.public(),
        }
    }

    /// Does something with the key.
    ///
    /// # Errors
    /// [`Problem::Identity`]: the module does not open it.
    pub fn with<R>(&self, act: impl FnOnce(&TransportKey) -> R) -> Result<R, Problem> {
        match self {
            Self::Open(key) => Ok(act(key)),
            Self::Wrapped { file, module } => Ok(act(&unwrap(file, module.as_deref())?)),
        }
    }

    /// The key, in memory until it is dropped.
    ///
    /// # Errors
    /// [`Problem::Identity`]: the module does not open it.
    pub fn open(self) -> Result<TransportKey, Problem> {
        match self {
            Self::Open(key) => Ok(key),
            Self::Wrapped { file, module } => unwrap(&file, module.as_deref()),
        }
    }

    fn from_pem(
        text: &str,
        module: Option<&str>,
        passphrase: Passphrase<'_>,
    ) -> Result<Self, Problem> {
        if pem::parse(text).is_ok_and(|block| block.tag() == WRAPPED) {
            return Ok(Self::Wrapped {
                file: WrappedShareKey::from_pem(text)?,
                module: module.map(str::to_owned),
            });
        }
        if module.is_some() {
            return Err(Problem::Identity(
                "no key in a module wraps this share key: leave the module out, or have it wrapped \
                 (`coco member share-key --from FILE --wrap-with URI`)"
                    .into(),
            ));
        }
        from_pem(text, passphrase).map(Self::Open)
    }
}

fn unwrap(file: &WrappedShareKey, module: Option<&str>) -> Result<TransportKey, Problem> {
    let uri = module.ok_or_else(|| {
        Problem::Identity(
            "a key in a module wraps the share key: name that key by its pkcs11: URI with \
             --unwrap-with, or share_key_module in [agent]"
                .into(),
        )
    })?;
    file.unwrap(&ModuleKey::open(uri)?)
}

fn from_pem(text: &str, passphrase: Passphrase<'_>) -> Result<TransportKey, Problem> {
    let refuse = |text: &str| Problem::Identity(text.to_owned());
    let none = "no share key (-----BEGIN COCO SHARE KEY-----); `coco member share-key` makes one";
    let block = pem::parse(text).map_err(|_| refuse(none))?;
    let bytes = match block.tag() {
        OPEN => Zeroizing::new(block.into_contents()),
        LOCKED => {
            let locked = EncryptedPrivateKeyInfoRef::try_from(block.contents())
                .map_err(|_| refuse("the encrypted share key is damaged"))?;
            let opened: SecretDocument = locked
                .decrypt(&*passphrase()?)
                .map_err(|_| refuse("the passphrase does not open the share key"))?;
            let bytes = opened.as_bytes().strip_prefix(&OCTETS);
            Zeroizing::new(bytes.ok_or_else(|| refuse(none))?.to_vec())
        }
        _ => return Err(refuse(none)),
    };
    let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| refuse(none))?;
    TransportKey::from_bytes(bytes).map_err(|bad| refuse(&bad.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::Entropy;

    fn key() -> TransportKey {
        TransportKey::generate(&mut Entropy::new(&[1; 32]))
    }

    fn never() -> Result<Zeroizing<String>, Problem> {
        Err(Problem::Identity("nobody is here".into()))
    }

    #[test]
    fn a_share_key_survives_its_file() {
        let again = from_pem(&share_key_to_pem(&key()), &mut never).expect("own text");
        assert_eq!(again.public(), key().public());
    }

    #[test]
    fn a_locked_share_key_opens_with_its_passphrase_alone() {
        let text = share_key_to_locked_pem(&key(), "correct horse", [1; 16], [2; 16]);
        let with = |said: &str| from_pem(&text, &mut || Ok(Zeroizing::new(said.to_owned())));
        let opened = with("correct horse").expect("its passphrase");
        assert_eq!(opened.public(), key().public());
        let refused = with("battery staple").expect_err("another").to_string();
        assert!(refused.contains("does not open"), "{refused}");
        assert!(from_pem(&text, &mut never).is_err());
    }

    #[test]
    fn a_wrapped_share_key_waits_for_its_module_and_no_other_does() {
        let to = *crypto::SigningKey::generate(&mut Entropy::new(&[2; 32])).public();
        let text = WrappedShareKey::wrap(&key(), &to, &mut Entropy::new(&[3; 32])).to_pem();
        let wrapped = ShareKey::from_pem(&text, None, &mut never).expect("a file");
        assert_eq!(wrapped.public(), key().public());
        let refused = wrapped.with(|_| ()).expect_err("no module").to_string();
        assert!(refused.contains("share_key_module"), "{refused}");
        let text = share_key_to_pem(&key());
        let refused = ShareKey::from_pem(&text, Some("pkcs11:object=a"), &mut never);
        let refused = refused.expect_err("not wrapped").to_string();
        assert!(refused.contains("leave the module out"), "{refused}");
    }

    #[test]
    fn what_is_no_share_key_is_told_how_to_make_one() {
        let zero = identity::pem_block(OPEN, &[0; 32]);
        let short = identity::pem_block(OPEN, &[1; 31]);
        let identity = identity::pem_block("PRIVATE KEY", &[1; 32]);
        for text in ["", &short, &identity] {
            let refused = from_pem(text, &mut never).expect_err("none").to_string();
            assert!(refused.contains("coco member share-key"), "{refused}");
        }
        assert!(from_pem(&zero, &mut never).is_err());
    }
}
