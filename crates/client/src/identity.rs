//! An actor's identity as a file: its P-256 key (PKCS#8) and certificate chain, leaf first, in PEM.

use std::fmt;
use std::path::Path;

use crypto::{Certificate, SigningKey, Zeroizing};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, pkcs5};

use crate::Problem;

/// Longest identity file that is read: a key and six certificates stay far below.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Cost of opening a locked key: 2^15 blocks of 1 KiB, a tenth of a second and 32 MiB.
const LOCK_COST_LOG2: u8 = 15;

/// Asks for the passphrase of a key.
pub type Passphrase<'a> = &'a mut dyn FnMut() -> Result<Zeroizing<String>, Problem>;

/// Who this side of a channel is.
pub struct Identity {
    pub key: SigningKey,
    /// Leaf first; the leaf holds the public half of `key`.
    pub chain: Vec<Certificate>,
}

impl Identity {
    /// Reads an identity file that no passphrase protects.
    ///
    /// # Errors
    /// [`Problem::Identity`]: the file is absent, or is not a key and its certificate.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        Self::read_with(path, &mut || {
            Err(Problem::Identity(
                "a passphrase protects the key, and nobody is here to give it: name its file with \
                 --passphrase-file, or make an identity of its own for this use with `coco member \
                 identity`"
                    .into(),
            ))
        })
    }

    /// Reads an identity file; `passphrase` is asked if one protects it.
    ///
    /// # Errors
    /// [`Problem::Identity`].
    pub fn read_with(path: &Path, passphrase: Passphrase<'_>) -> Result<Self, Problem> {
        Self::from_pem_with(&read_text(path)?, passphrase).map_err(|problem| match problem {
            Problem::Identity(text) => Problem::Identity(format!("{}: {text}", path.display())),
            other => other,
        })
    }

    /// Reads the text of an identity file that no passphrase protects.
    ///
    /// # Errors
    /// [`Problem::Identity`].
    pub fn from_pem(text: &str) -> Result<Self, Problem> {
        Self::from_pem_with(text, &mut || {
            Err(Problem::Identity("a passphrase protects the key".into()))
        })
    }

    fn from_pem_with(text: &str, passphrase: Passphrase<'_>) -> Result<Self, Problem> {
        let refuse = |text: &str| Problem::Identity(text.to_owned());
        let key = private_key(text, passphrase)?;
        let chain = Certificate::chain_from_pem(text)
            .map_err(|_| refuse("no certificate chain with P-256 keys, leaf first"))?;
        if chain[0].key() != key.public() {
            return Err(refuse("the first certificate is not the private key's"));
        }
        Ok(Self { key, chain })
    }

    /// The text of an identity file. It holds the private key: write it for its owner only.
    pub fn to_pem(&self) -> String {
        let mut text = pem_block("PRIVATE KEY", &self.key.to_pkcs8());
        text.extend(self.chain.iter().map(certificate_to_pem));
        text
    }

    /// The same with the key encrypted under a passphrase: PKCS#8 with scrypt and AES-256 (RFC 8018,
    /// RFC 7914), as OpenSSL reads it. `salt` and `iv` are fresh random bytes.
    pub fn to_locked_pem(&self, passphrase: &str, salt: [u8; 16], iv: [u8; 16]) -> String {
        let scheme = lock(&salt, iv);
        let der = self.key.to_pkcs8();
        let locked = PrivateKeyInfoRef::try_from(der.as_slice())
            .and_then(|key| key.encrypt_with_params(scheme, passphrase))
            .expect("a whole key is encrypted");
        let mut text = pem_block("ENCRYPTED PRIVATE KEY", locked.as_bytes());
        text.extend(self.chain.iter().map(certificate_to_pem));
        text
    }

    /// The name in the leaf certificate.
    pub fn name(&self) -> &str {
        self.chain[0].subject()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.chain[0])
    }
}

/// One certificate in PEM.
pub fn certificate_to_pem(certificate: &Certificate) -> String {
    pem_block("CERTIFICATE", certificate.der())
}

/// Reads the one certificate of a PEM file, such as `network.pem`.
///
/// # Errors
/// [`Problem::Identity`].
pub fn read_certificate(path: &Path) -> Result<Certificate, Problem> {
    Certificate::chain_from_pem(&read_text(path)?)
        .map(|mut chain| chain.remove(0))
        .map_err(|error| Problem::Identity(format!("{}: {error}", path.display())))
}

/// How a passphrase protects a key.
pub(crate) fn lock(salt: &[u8; 16], iv: [u8; 16]) -> pkcs5::pbes2::Parameters {
    pkcs5::pbes2::Parameters::generate_scrypt_aes256cbc(
        pkcs5::scrypt::Params::new(LOCK_COST_LOG2, 8, 1).expect("within the limits of RFC 7914"),
        salt,
        iv,
    )
    .expect("salt and iv are of the right lengths")
}

pub(crate) fn read_text(path: &Path) -> Result<String, Problem> {
    let told =
        |error: std::io::Error| Problem::Identity(format!("read {}: {error}", path.display()));
    let bytes = std::fs::metadata(path).map_err(told)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(Problem::Identity(format!(
            "{} has {bytes} bytes: not a PEM file",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(told)
}

/// The certificates of a PEM file, leaf first.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<Certificate>, Problem> {
    Certificate::chain_from_pem(&read_text(path)?)
        .map_err(|error| Problem::Identity(format!("{}: {error}", path.display())))
}

/// The first PKCS#8 block of the text.
fn private_key(text: &str, passphrase: Passphrase<'_>) -> Result<SigningKey, Problem> {
    let refuse = |text: &str| Problem::Identity(text.to_owned());
    let none = "no P-256 private key in PKCS#8 (-----BEGIN PRIVATE KEY-----)";
    let blocks = pem::parse_many(text).map_err(|_| refuse(none))?;
    for block in &blocks {
        match block.tag() {
            "PRIVATE KEY" => {
                return SigningKey::from_pkcs8(block.contents()).map_err(|_| refuse(none));
            }
            "ENCRYPTED PRIVATE KEY" => {
                let locked = EncryptedPrivateKeyInfoRef::try_from(block.contents())
                    .map_err(|_| refuse("the encrypted key is not in PKCS#8"))?;
                let opened = locked
                    .decrypt(&*passphrase()?)
                    .map_err(|_| refuse("the passphrase does not open the key"))?;
                return SigningKey::from_pkcs8(opened.as_bytes()).map_err(|_| refuse(none));
            }
            _ => {}
        }
    }
    Err(refuse(none))
}

pub(crate) fn pem_block(tag: &str, contents: &[u8]) -> String {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, contents), lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::{CertificateRequest, Entropy, issue};
    use types::Millis;

    fn identity(seed: u8) -> Identity {
        let key = SigningKey::generate(&mut Entropy::new(&[seed; 32]));
        let request = CertificateRequest {
            common_name: "ada",
            dns_names: vec![],
            not_before: Millis(0),
            not_after: Millis(1_000_000),
            authority: true,
            extensions: vec![],
            serial: [seed; 16],
        };
        let chain = vec![issue(key.public(), &request, &key, None)];
        Identity { key, chain }
    }

    #[test]
    fn an_identity_survives_its_file() {
        let ada = identity(1);
        let again = Identity::from_pem(&ada.to_pem()).expect("own text");
        assert_eq!(again.key.public(), ada.key.public());
        assert_eq!(
            (again.chain, again.key.public()),
            (ada.chain.clone(), ada.chain[0].key())
        );
    }

    #[test]
    fn a_locked_identity_opens_with_its_passphrase_alone() {
        let ada = identity(1);
        let text = ada.to_locked_pem("correct horse", [1; 16], [2; 16]);
        assert!(!text.contains("BEGIN PRIVATE KEY"));
        let with = |said: &str| {
            Identity::from_pem_with(&text, &mut || Ok(Zeroizing::new(said.to_owned())))
        };
        assert_eq!(with("correct horse").expect("opened").chain, ada.chain);
        let refusal = with("battery staple").expect_err("another passphrase");
        assert!(refusal.to_string().contains("passphrase"), "{refusal}");
        assert!(Identity::from_pem(&text).is_err());
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_refused() {
        let mixed = Identity {
            key: identity(1).key,
            chain: identity(2).chain,
        };
        let refusal = Identity::from_pem(&mixed.to_pem()).expect_err("mixed");
        assert!(
            refusal.to_string().contains("not the private key's"),
            "{refusal}"
        );
        assert!(Identity::from_pem("").is_err());
    }
}
