//! An actor's identity as a file: its P-256 key (PKCS#8) and certificate chain, leaf first, in PEM.

use std::fmt;
use std::path::Path;

use crypto::{Certificate, SigningKey};

use crate::Problem;

/// Longest identity file that is read: a key and six certificates stay far below.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Who this side of a channel is.
pub struct Identity {
    pub key: SigningKey,
    /// Leaf first; the leaf holds the public half of `key`.
    pub chain: Vec<Certificate>,
}

impl Identity {
    /// Reads an identity file.
    ///
    /// # Errors
    /// [`Problem::Identity`]: the file is absent, or is not a key and its certificate.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        Self::from_pem(&read_text(path)?).map_err(|problem| match problem {
            Problem::Identity(text) => Problem::Identity(format!("{}: {text}", path.display())),
            other => other,
        })
    }

    /// Reads the text of an identity file.
    ///
    /// # Errors
    /// [`Problem::Identity`].
    pub fn from_pem(text: &str) -> Result<Self, Problem> {
        let refuse = |text: &str| Problem::Identity(text.to_owned());
        let key = private_key(text).ok_or_else(|| {
            refuse("no P-256 private key in PKCS#8 (-----BEGIN PRIVATE KEY-----)")
        })?;
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

fn read_text(path: &Path) -> Result<String, Problem> {
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

/// The first PKCS#8 block of the text.
fn private_key(text: &str) -> Option<SigningKey> {
    let blocks = pem::parse_many(text).ok()?;
    let block = blocks.iter().find(|block| block.tag() == "PRIVATE KEY")?;
    SigningKey::from_pkcs8(block.contents()).ok()
}

fn pem_block(tag: &str, contents: &[u8]) -> String {
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
