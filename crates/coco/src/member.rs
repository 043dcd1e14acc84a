//! `coco member`: an actor's keys and certificates, made offline.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use client::{Identity, ModuleKey, Problem, ShareKey, WrappedShareKey};
use crypto::Zeroizing;
use threshold::TransportKey;

use crate::failure::Failure;
use crate::keys::{self, Kit};
use crate::print;

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Makes all keys and certificates of a new actor
    Keygen(Keygen),
    /// Makes an identity that signs VN tuples for an actor and nothing else
    Agent(Issue),
    /// Makes another identity for a person or a machine of an actor
    Identity(Issue),
    /// Makes a share-transport key or protects one anew, and prints what the constitution lists of it
    ShareKey(MakeShareKey),
}

#[derive(Debug, Args)]
pub(crate) struct MakeShareKey {
    /// The file to write, for the owner's agent (node.toml: `[agent] share_key`)
    #[arg(long, value_name = "FILE", required_unless_present = "show")]
    out: Option<PathBuf>,
    /// Prints the public part of an existing key instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "from", "wrap_with"])]
    show: Option<PathBuf>,
    /// Takes this key, to write it with another protection, in place of a new one
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Holds a passphrase, on one line: with --show or --from, of the existing key; else, and with
    /// --out-passphrase-file, of the one that is written
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// With --from: holds the passphrase of the file that is written
    #[arg(
        long,
        value_name = "FILE",
        requires = "from",
        conflicts_with = "wrap_with"
    )]
    out_passphrase_file: Option<PathBuf>,
    /// With --from: the key in a PKCS#11 module that the existing file is wrapped with
    #[arg(
        long,
        value_name = "pkcs11:...",
        requires = "from",
        conflicts_with = "passphrase_file"
    )]
    unwrap_with: Option<String>,
    /// Wraps the key with a P-256 key in a PKCS#11 module, named by a URI (RFC 7512): only with that key is
    /// the file of any use
    #[arg(long, value_name = "pkcs11:...")]
    wrap_with: Option<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Name of the actor, as the constitution will list it
    #[arg(long)]
    name: String,
    /// Directory for the files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Holds a passphrase, on one line, for the keys that people use: NAME.pem, NAME-issuing.pem and
    /// NAME-platform-root.pem. Agent and platform work unattended; theirs stay without
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Wraps the share-transport key, NAME-share.pem, with a P-256 key in a PKCS#11 module, named by a URI
    #[arg(long, value_name = "pkcs11:...")]
    wrap_share_key_with: Option<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// The actor's issuing key and certificate (NAME-issuing.pem)
    #[arg(long, value_name = "FILE")]
    issuer: PathBuf,
    /// Name in the certificate
    #[arg(long)]
    name: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Holds the passphrase of the issuing key, on one line, if one protects it
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

pub(crate) fn run(command: &MemberCommand) -> Result<(), Failure> {
    match command {
        MemberCommand::Keygen(arguments) => keygen(arguments),
        MemberCommand::Agent(arguments) => issue(arguments, keys::agent),
        MemberCommand::Identity(arguments) => issue(arguments, |name, issuer, entropy, now| {
            keys::leaf(name, vec![], issuer, entropy, now)
        }),
        MemberCommand::ShareKey(arguments) => share_key(arguments),
    }
}

fn share_key(arguments: &MakeShareKey) -> Result<(), Failure> {
    let passphrase = fresh_passphrase(arguments.passphrase_file.as_deref())?;
    let read = |path: &Path| {
        let module = arguments.unwrap_with.as_deref();
        ShareKey::read(path, module, &mut || {
            passphrase.clone().ok_or_else(|| {
                Problem::Identity("a passphrase protects the key: give --passphrase-file".into())
            })
        })
    };
    let public = match (&arguments.show, &arguments.out) {
        (Some(path), _) => read(path)?.public(),
        (None, Some(path)) => {
            let mut entropy = keys::entropy()?;
            let (key, passphrase) = match &arguments.from {
                Some(from) => {
                    let phrase = fresh_passphrase(arguments.out_passphrase_file.as_deref())?;
                    (read(from)?.open()?, phrase)
                }
                None => (TransportKey::generate(&mut entropy), passphrase.clone()),
            };
            let text = match (&arguments.wrap_with, &passphrase) {
                (Some(_), Some(_)) => {
                    return Err(Failure::input(
                        "the key is wrapped by a module or protected by a passphrase: choose one",
                    ));
                }
                (Some(uri), None) => wrap(&key, uri, &mut entropy)?,
                (None, Some(text)) => {
                    client::share_key_to_locked_pem(&key, text, entropy.bytes(), entropy.bytes())
                        .into()
                }
                (None, None) => client::share_key_to_pem(&key),
            };
            keys::write_private(path, &text)?;
            key.public()
        }
        (None, None) => return Err(Failure::input("give --out or --show")),
    };
    let public = hex::encode(public.bytes());
    if arguments.json {
        print::json(&serde_json::json!({ "share_key": public, "file": arguments.out }));
    } else {
        println!("share_key = \"{public}\"");
    }
    Ok(())
}

/// The file of a key that a module wraps, after the module has opened it once: a key that may not derive
/// would show when it is needed.
fn wrap(
    key: &TransportKey,
    uri: &str,
    entropy: &mut crypto::Entropy,
) -> Result<Zeroizing<String>, Failure> {
    let module = ModuleKey::open(uri)?;
    let wrapped = WrappedShareKey::wrap(key, module.public(), entropy);
    wrapped.unwrap(&module)?;
    Ok(wrapped.to_pem().into())
}

fn keygen(arguments: &Keygen) -> Result<(), Failure> {
    let name = &arguments.name;
    if !governance::valid_name(name) {
        return Err(Failure::input(format!(
            "--name {name:?}: an actor's name has lower-case letters, digits, '-' and '.', with a \
             letter or digit at both ends"
        )));
    }
    let passphrase = fresh_passphrase(arguments.passphrase_file.as_deref())?;
    let mut entropy = keys::entropy()?;
    let kit = Kit::make(name, &mut entropy, keys::now());
    let share = match &arguments.wrap_share_key_with {
        Some(uri) => wrap(&kit.share, uri, &mut entropy)?,
        None => client::share_key_to_pem(&kit.share),
    };
    let mut lock = |identity: &Identity| match &passphrase {
        Some(text) => identity.to_locked_pem(text, entropy.bytes(), entropy.bytes()),
        None => identity.to_pem(),
    };
    let files = kit.write(&arguments.out, name, &share, &mut lock)?;
    let share_key = hex::encode(kit.share.public().bytes());
    let rows = [
        (
            "certificate",
            &files.certificate,
            "into the constitution, under the actor's `certificates`",
        ),
        (
            "platform_root",
            &files.platform_root_certificate,
            "into the TEE manifest, under `roots`",
        ),
        (
            "identity",
            &files.identity,
            "for clients: coco gateway, coco status",
        ),
        (
            "agent",
            &files.agent,
            "for `coco node start`: signs VN tuples and nothing else",
        ),
        (
            "platform_key",
            &files.platform_key,
            "for the launcher: signs evidence",
        ),
        (
            "platform_certificates",
            &files.platform_certificates,
            "for the launcher",
        ),
        (
            "share",
            &files.share,
            "for the agent of `coco node start`: receives the actor's key shares",
        ),
        (
            "issuing",
            &files.issuer,
            "keep offline: issues the actor's identities",
        ),
        (
            "platform_root_key",
            &files.platform_root,
            "keep offline: certifies platform keys",
        ),
    ];
    if arguments.json {
        let mut files: serde_json::Map<_, _> = rows
            .iter()
            .map(|(key, path, _)| ((*key).to_owned(), serde_json::json!(path)))
            .collect();
        files.insert("share_key".into(), share_key.into());
        print::json(&files);
    } else {
        let cells = |(_, path, what): &(&str, &PathBuf, &str)| {
            vec![path.display().to_string(), (*what).to_owned()]
        };
        print::table(&rows.iter().map(cells).collect::<Vec<_>>());
        println!(
            "\nThe constitution lists, for an actor that runs nodes:\nshare_key = \"{share_key}\""
        );
    }
    Ok(())
}

/// The passphrase of a key that is written.
fn fresh_passphrase(path: Option<&Path>) -> Result<Option<Zeroizing<String>>, Failure> {
    let passphrase = passphrase(path)?;
    if passphrase.as_ref().is_some_and(|text| text.is_empty()) {
        return Err(Failure::input("the passphrase file is empty"));
    }
    Ok(passphrase)
}

fn passphrase(path: Option<&Path>) -> Result<Option<Zeroizing<String>>, Failure> {
    path.map(|path| crate::governing::read_passphrase(path).map_err(Failure::input))
        .transpose()
}

fn issue(
    arguments: &Issue,
    make: impl Fn(&str, &Identity, &mut crypto::Entropy, types::Millis) -> Identity,
) -> Result<(), Failure> {
    let given = passphrase(arguments.passphrase_file.as_deref())?;
    let mut asked = || {
        given.clone().ok_or_else(|| {
            Problem::Identity("a passphrase protects the key: give --passphrase-file".into())
        })
    };
    let issuer = Identity::read_with(&arguments.issuer, &mut asked)?;
    if !issuer.chain[0].is_authority() {
        return Err(Failure::input(format!(
            "{} may not issue certificates; `coco member keygen` makes NAME-issuing.pem, which may",
            arguments.issuer.display()
        )));
    }
    let identity = make(&arguments.name, &issuer, &mut keys::entropy()?, keys::now());
    keys::write_private(&arguments.out, &identity.to_pem())?;
    println!("{}", arguments.out.display());
    Ok(())
}
