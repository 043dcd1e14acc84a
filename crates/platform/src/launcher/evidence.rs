//! The platform's identity and the software evidence that it signs.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crypto::{Certificate, SigningKey};
use tee::software::{Statement, sign};
use types::Millis;

use super::image::Measurement;

/// How the sandbox's reports name that launcher and host have one user. In evidence it is a flag.
pub(super) const SHARED_USER: &str = "shared-user";

/// The platform key and its certificates. Held by the launcher and nobody else.
pub struct PlatformIdentity {
    key: SigningKey,
    chain: Vec<Certificate>,
    instance: [u8; 16],
    svn: u64,
}

impl PlatformIdentity {
    /// Reads the key and its certificates.
    ///
    /// # Errors
    /// What the person who runs this machine should change.
    pub fn load(key: &Path, certificates: &Path, svn: u64) -> Result<Self, String> {
        let shown = key.display();
        let metadata = std::fs::metadata(key).map_err(|error| unreadable(key, &error))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(format!(
                "{shown} can be read by others; run chmod 600 {shown}"
            ));
        }
        let text = std::fs::read_to_string(key).map_err(|error| unreadable(key, &error))?;
        let text = crypto::Zeroizing::new(text);
        let needed = format!("{shown} is not a P-256 private key in PEM (PKCS#8)");
        let block = pem::parse(text.as_bytes()).map_err(|_| needed.clone())?;
        let der = crypto::Zeroizing::new(block.into_contents());
        let key = SigningKey::from_pkcs8(&der).map_err(|_| needed)?;
        let text = std::fs::read_to_string(certificates)
            .map_err(|error| unreadable(certificates, &error))?;
        let chain = Certificate::chain_from_pem(&text)
            .map_err(|error| format!("{}: {error}", certificates.display()))?;
        if chain.first().is_none_or(|leaf| leaf.key() != key.public()) {
            let certificates = certificates.display();
            return Err(format!(
                "the first certificate of {certificates} is not for {shown}"
            ));
        }
        let mut instance = [0; 16];
        rustix::rand::getrandom(&mut instance, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| format!("no random numbers: {errno}"))?;
        Ok(Self {
            key,
            chain,
            instance,
            svn,
        })
    }

    /// Evidence about an enclave that this launcher started.
    ///
    /// # Errors
    /// If the report data has another length than evidence has room for.
    pub(super) fn evidence(
        &self,
        measurement: &Measurement,
        launch_data: &[u8],
        report_data: &[u8],
        lacking: &[String],
        now: Millis,
    ) -> Result<Vec<u8>, String> {
        let report_data = report_data
            .try_into()
            .map_err(|_| format!("report data has 64 bytes, not {}", report_data.len()))?;
        let (shared, missing): (Vec<String>, Vec<String>) = lacking
            .iter()
            .cloned()
            .partition(|name| name == SHARED_USER);
        let statement = Statement {
            measurement: *measurement,
            report_data,
            launch_data: launch_data.to_vec(),
            instance: self.instance,
            svn: self.svn,
            time: now,
            missing,
            shared_user: !shared.is_empty(),
        };
        Ok(sign(&self.key, &self.chain, &statement))
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}
