//! Keys and certificates of an actor, made as files: `coco member keygen`.
//!
//! An actor's issuing certificate stands in the constitution. Under it the actor makes identities
//! for its people and machines, and one for its agent, which may sign VN tuples and nothing else.
//! The platform root stands in the TEE manifest and certifies the key with which the launcher of a
//! software TEE signs evidence. docs/keys.md says who needs which file.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use client::{Identity, certificate_to_pem};
use crypto::{Certificate, CertificateRequest, Entropy, Extension, SigningKey, issue};
use threshold::TransportKey;
use types::Millis;

use crate::failure::{Doing, Failure};

const DAY_MS: u64 = 86_400_000;

/// Certificates begin a day early: clocks of members differ.
const EARLY_MS: u64 = DAY_MS;

/// How long issuing and platform root certificates are good.
const ROOT_DAYS: u64 = 3650;

/// How long identities, agents and platform certificates are good.
const LEAF_DAYS: u64 = 730;

/// Everything that one actor needs. `platform` is for actors that run nodes in the software TEE.
pub(crate) struct Kit {
    pub(crate) issuer: Identity,
    pub(crate) identity: Identity,
    pub(crate) agent: Identity,
    pub(crate) platform_root: Identity,
    pub(crate) platform: Identity,
    /// Under which the actor gets its shares of the network's threshold keys.
    pub(crate) share: TransportKey,
}

/// Where the files of a kit stand.
pub(crate) struct KitFiles {
    pub(crate) issuer: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) identity: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) platform_root: PathBuf,
    pub(crate) platform_root_certificate: PathBuf,
    pub(crate) platform_key: PathBuf,
    pub(crate) platform_certificates: PathBuf,
    pub(crate) share: PathBuf,
}

impl KitFiles {
    /// Where the files of this actor are in a directory.
    pub(crate) fn at(directory: &Path, name: &str) -> Self {
        let at = |suffix: &str| directory.join(format!("{name}{suffix}"));
        Self {
            issuer: at("-issuing.pem"),
            certificate: at(".crt"),
            identity: at(".pem"),
            agent: at("-agent.pem"),
            platform_root: at("-platform-root.pem"),
            platform_root_certificate: at("-platform-root.crt"),
            platform_key: at("-platform.pem"),
            platform_certificates: at("-platform.crt"),
            share: at("-share.pem"),
        }
    }
}

/// Random numbers of the operating system.
pub(crate) fn entropy() -> Result<Entropy, Failure> {
    let mut seed = crypto::Zeroizing::new([0; 32]);
    let drawn = rustix::rand::getrandom(seed.as_mut(), rustix::rand::GetRandomFlags::empty());
    match drawn {
        Ok(32) => Ok(Entropy::new(&seed)),
        _ => Err(Failure::machine(
            "the operating system gave no random numbers",
        )),
    }
}

/// The clock of this machine.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Kit {
    /// Makes all keys and certificates of one actor.
    pub(crate) fn make(name: &str, entropy: &mut Entropy, now: Millis) -> Self {
        let issuer = root(&format!("{name} issuing"), entropy, now);
        let platform_root = root(&format!("{name} platform root"), entropy, now);
        Self {
            identity: leaf(name, vec![], &issuer, entropy, now),
            agent: agent(name, &issuer, entropy, now),
            platform: leaf(
                &format!("{name} platform"),
                vec![],
                &platform_root,
                entropy,
                now,
            ),
            issuer,
            platform_root,
            share: TransportKey::generate(entropy),
        }
    }

    /// Writes the files; private ones for their owner only, the text of the share-transport key's as it is
    /// given, and those that people use as `lock` makes them. Refuses to overwrite.
    pub(crate) fn write(
        &self,
        directory: &Path,
        name: &str,
        share: &str,
        lock: &mut dyn FnMut(&Identity) -> String,
    ) -> Result<KitFiles, Failure> {
        let files = KitFiles::at(directory, name);
        std::fs::create_dir_all(directory)
            .doing(|| format!("make the directory {}", directory.display()))?;
        write_private(&files.issuer, &lock(&self.issuer))?;
        write_private(&files.identity, &lock(&self.identity))?;
        write_private(&files.agent, &self.agent.to_pem())?;
        write_private(&files.platform_root, &lock(&self.platform_root))?;
        write_private(&files.platform_key, &self.platform.to_pem())?;
        write_private(&files.share, share)?;
        write_public(
            &files.certificate,
            &certificate_to_pem(&self.issuer.chain[0]),
        )?;
        let root = certificate_to_pem(&self.platform_root.chain[0]);
        write_public(&files.platform_root_certificate, &root)?;
        let chain: String = self.platform.chain.iter().map(certificate_to_pem).collect();
        write_public(&files.platform_certificates, &chain)?;
        Ok(files)
    }
}

/// An identity that may sign VN tuples for its actor and cannot act as the actor.
pub(crate) fn agent(name: &str, issuer: &Identity, entropy: &mut Entropy, now: Millis) -> Identity {
    let mark = Extension {
        oid: governance::AGENT_EXTENSION.to_vec(),
        value: vec![5, 0],
    }; // NULL
    leaf(
        &format!("{name} vn-agent"),
        vec![mark],
        issuer,
        entropy,
        now,
    )
}

/// An identity under the actor's issuing certificate, for a person or a machine.
pub(crate) fn leaf(
    name: &str,
    extensions: Vec<Extension>,
    issuer: &Identity,
    entropy: &mut Entropy,
    now: Millis,
) -> Identity {
    let key = SigningKey::generate(entropy);
    let certificate = issue(
        key.public(),
        &request(name, Authority::No, LEAF_DAYS, extensions, entropy, now),
        &issuer.key,
        Some(&issuer.chain[0]),
    );
    Identity {
        key,
        chain: vec![certificate],
    }
}

fn root(name: &str, entropy: &mut Entropy, now: Millis) -> Identity {
    let key = SigningKey::generate(entropy);
    let request = request(name, Authority::Yes, ROOT_DAYS, vec![], entropy, now);
    let certificate: Certificate = issue(key.public(), &request, &key, None);
    Identity {
        key,
        chain: vec![certificate],
    }
}

#[derive(PartialEq)]
enum Authority {
    Yes,
    No,
}

fn request<'a>(
    common_name: &'a str,
    authority: Authority,
    days: u64,
    extensions: Vec<Extension>,
    entropy: &mut Entropy,
    now: Millis,
) -> CertificateRequest<'a> {
    CertificateRequest {
        common_name,
        dns_names: vec![],
        not_before: Millis(now.0.saturating_sub(EARLY_MS)),
        not_after: now.plus(days * DAY_MS),
        authority: authority == Authority::Yes,
        extensions,
        serial: entropy.bytes(),
    }
}

/// Writes a file that only its owner may read, and that did not exist.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    write_new(path, text, 0o600)
}

/// Writes a file that did not exist.
pub(crate) fn write_public(path: &Path, text: &str) -> Result<(), Failure> {
    write_new(path, text, 0o644)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::input(format!(
                "{} exists; it is not overwritten. Name another directory, or move it away",
                path.display()
            )),
            _ => Failure::failed(format!("make {}: {error}", path.display())),
        })?;
    file.write_all(text.as_bytes())
        .doing(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::verify_chain;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn identities_lead_to_the_listed_certificate_and_only_the_agent_is_marked() {
        let now = Millis(400 * DAY_MS);
        let kit = Kit::make("ada", &mut Entropy::new(&[1; 32]), now);
        let listed = [kit.issuer.chain[0].clone()];
        for leaf in [&kit.identity, &kit.agent] {
            assert_eq!(verify_chain(&leaf.chain, &listed, now), Ok(0));
        }
        let marked = |identity: &Identity| {
            identity.chain[0]
                .extension(governance::AGENT_EXTENSION)
                .is_some()
        };
        assert!(marked(&kit.agent));
        assert!(!marked(&kit.identity));
        let roots = [kit.platform_root.chain[0].clone()];
        assert_eq!(verify_chain(&kit.platform.chain, &roots, now), Ok(0));
        assert!(verify_chain(&kit.platform.chain, &listed, now).is_err());
    }

    #[test]
    fn private_files_are_their_owners_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let kit = Kit::make("ada", &mut Entropy::new(&[2; 32]), Millis(400 * DAY_MS));
        let files = kit
            .write(directory.path(), "ada", "share", &mut |i| i.to_pem())
            .expect("written");
        for path in [
            &files.issuer,
            &files.identity,
            &files.agent,
            &files.platform_key,
            &files.share,
        ] {
            let mode = std::fs::metadata(path)
                .expect("exists")
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
        let again = Identity::read(&files.agent).expect("readable");
        assert_eq!(again.chain, kit.agent.chain);
        let again = kit.write(directory.path(), "ada", "share", &mut |i| i.to_pem());
        assert!(again.is_err());
    }
}
