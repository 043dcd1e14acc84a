//! What is signed: proposals, ballots, withdrawals, consents to audits; and handing them in.

use std::path::{Path, PathBuf};

use clap::Args;
use client::{Admin, Signer};
use crypto::Context;
use governance::{Ballot, Choice, Proposed, SignedMessage, Window, Withdrawal};
use serde_json::Value;
use types::{Digest, NetworkId};

use super::proposal;
use super::session::{Key, Session};
use crate::failure::{Doing, Failure};
use crate::keys;
use crate::print;
use crate::status::cell;

/// A clock may be this much ahead of ledger time.
const EARLY_MS: u64 = 5 * 60_000;

/// What all these commands have in common.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    session: Session,
    /// Hours in which the object can be handed in; it is worthless afterwards
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=720))]
    valid_hours: u64,
    /// Name of the actor that signs, as the constitution lists it; default: the certificate's
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Writes the signed object instead of handing it in
    #[arg(long, value_name = "FILE", conflicts_with = "send")]
    out: Option<PathBuf>,
    /// Hands in an object that `--out` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "sign_with")]
    send: Option<PathBuf>,
    /// Identity of the network, to sign without a connection to it
    #[arg(long, value_name = "HEX")]
    network_id: Option<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Proposes one or more changes, applied together or not at all
#[derive(Debug, Args)]
pub(crate) struct Propose {
    /// The proposal in TOML; docs/governance.md lists the changes
    #[arg(value_name = "FILE", required_unless_present = "send")]
    file: Option<PathBuf>,
    /// Version of the constitution that it is written for, to sign without a connection
    #[arg(long, value_name = "N", requires = "network_id")]
    constitution_version: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// Votes on a proposal; a later ballot of the same member replaces an earlier one
#[derive(Debug, Args)]
pub(crate) struct Vote {
    /// Number of the proposal, or its digest
    #[arg(value_name = "ID", required_unless_present = "send")]
    proposal: Option<String>,
    /// Votes for it
    #[arg(long = "for", group = "choice")]
    in_favour: bool,
    /// Votes against it
    #[arg(long, group = "choice")]
    against: bool,
    /// Neither
    #[arg(long, group = "choice")]
    abstain: bool,
    #[command(flatten)]
    common: Common,
}

/// Takes a proposal of one's own back
#[derive(Debug, Args)]
pub(crate) struct Withdraw {
    /// Number of the proposal, or its digest
    #[arg(value_name = "ID", required_unless_present = "send")]
    proposal: Option<String>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn propose(arguments: &Propose) -> Result<(), Failure> {
    let common = &arguments.common;
    common.run("/v1/proposals", |signer, admin| {
        let file = arguments.file.as_ref().expect("required without --send");
        let written = proposal::read(file)?;
        let constitution = match (arguments.constitution_version, admin.as_mut()) {
            (Some(version), _) => version,
            (None, Some(admin)) => admin.constitution()?["version"].as_u64().unwrap_or(0),
            (None, None) => {
                return Err(Failure::input(
                    "--constitution-version is missing: without a connection it cannot be asked",
                ));
            }
        };
        let proposed = Proposed {
            network: common.network(admin)?,
            constitution,
            proposer: common.actor(signer),
            window: common.window(),
            nonce: keys::entropy()?.bytes(),
            title: written.title,
            changes: written.changes,
        };
        println!("proposal {}", proposed.id());
        Ok((Context::Proposal, proposed.to_cbor()))
    })
}

pub(crate) fn vote(arguments: &Vote) -> Result<(), Failure> {
    let common = &arguments.common;
    common.run("/v1/ballots", |signer, admin| {
        let choice = match (arguments.in_favour, arguments.against, arguments.abstain) {
            (true, ..) => Choice::For,
            (_, true, _) => Choice::Against,
            (_, _, true) => Choice::Abstain,
            _ => return Err(Failure::input("say --for, --against or --abstain")),
        };
        let ballot = Ballot {
            network: common.network(admin)?,
            proposal: named(arguments.proposal.as_deref(), admin)?,
            voter: common.actor(signer),
            choice,
            window: common.window(),
            number: keys::now().0,
        };
        Ok((Context::Ballot, ballot.to_cbor()))
    })
}

pub(crate) fn withdraw(arguments: &Withdraw) -> Result<(), Failure> {
    let common = &arguments.common;
    common.run("/v1/withdrawals", |signer, admin| {
        let withdrawal = Withdrawal {
            network: common.network(admin)?,
            proposal: named(arguments.proposal.as_deref(), admin)?,
            proposer: common.actor(signer),
            window: common.window(),
        };
        Ok((Context::Withdrawal, withdrawal.to_cbor()))
    })
}

impl Common {
    /// Makes the object and hands it in, or one of the two.
    pub(crate) fn run(
        &self,
        target: &str,
        make: impl FnOnce(&Signer, &mut Option<Admin>) -> Result<(Context, Vec<u8>), Failure>,
    ) -> Result<(), Failure> {
        let offline = self.out.is_some() && self.network_id.is_some();
        let mut admin = if offline {
            None
        } else {
            Some(self.session.open()?)
        };
        let signed = match &self.send {
            Some(path) => read(path)?,
            None => {
                let signer = self.key.open()?;
                let (context, payload) = make(&signer, &mut admin)?;
                let object = signer.sign1(context, &payload)?;
                SignedMessage::new(object, signer.chain()).to_cbor()
            }
        };
        if let Some(path) = &self.out {
            std::fs::write(path, &signed).doing(|| format!("write {}", path.display()))?;
            println!(
                "signed for {} hours; hand it in with --send {}",
                self.valid_hours,
                path.display()
            );
            return Ok(());
        }
        let admin = admin.as_mut().expect("there is a session unless offline");
        let answer = admin.submit(target, &signed)?;
        if self.json {
            print::json(&answer);
        } else {
            tell(&answer);
        }
        Ok(())
    }

    pub(crate) fn window(&self) -> Window {
        let now = keys::now();
        Window {
            from: types::Millis(now.0.saturating_sub(EARLY_MS)),
            until: now.plus(self.valid_hours * 3_600_000),
        }
    }

    pub(crate) fn actor(&self, signer: &Signer) -> String {
        self.actor
            .clone()
            .unwrap_or_else(|| signer.chain()[0].subject().to_owned())
    }

    pub(crate) fn network(&self, admin: &mut Option<Admin>) -> Result<NetworkId, Failure> {
        let text = match (&self.network_id, admin) {
            (Some(text), _) => text.clone(),
            (None, Some(admin)) => cell(&admin.network()?["id"]),
            (None, None) => return Err(Failure::input("--network-id is missing")),
        };
        digest(&text)
            .map(|d| NetworkId(d.0))
            .ok_or_else(|| Failure::input(format!("{text:?} is no network identity")))
    }
}

/// The digest of a proposal: given as such, or asked by number.
fn named(text: Option<&str>, admin: &mut Option<Admin>) -> Result<Digest, Failure> {
    let text = text.expect("required without --send");
    if let Some(digest) = digest(text) {
        return Ok(digest);
    }
    let (Ok(number), Some(admin)) = (text.parse::<u64>(), admin.as_mut()) else {
        return Err(Failure::input(format!(
            "{text:?} is neither a proposal's digest (64 hexadecimal digits) nor, with a connection, \
             its number"
        )));
    };
    let proposal = admin.json(&format!("/v1/proposals/{number}"))?;
    digest(&cell(&proposal["id"]))
        .ok_or_else(|| Failure::failed(format!("the node names proposal {number} by no digest")))
}

pub(crate) fn digest(text: &str) -> Option<Digest> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(Digest(bytes))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = std::fs::read(path).doing(|| format!("read {}", path.display()))?;
    SignedMessage::from_cbor(&bytes)
        .map_err(|refused| Failure::input(format!("{}: {refused}", path.display())))?;
    Ok(bytes)
}

fn tell(answer: &Value) {
    for key in ["proposal", "status", "entry", "constitution"] {
        if !answer[key].is_null() {
            println!("{key:13} {}", cell(&answer[key]));
        }
    }
}
