//! `coco audit`: an auditor reads the epochs that a vote granted, and no other.
//!
//! Each consenting actor seals its parts of the epochs' session keys to the auditor's key, which the grant
//! names. A session key opens no link, so neither the epoch before nor the one behind follows from it.
//! Source: Coco 2017, "Decrypting Persistent State"; docs/keys.md.

mod collect;
mod consent;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use client::{
    SessionKeys, audit_part_from_pem, audit_part_to_pem, auditor_key_from_pem, auditor_key_to_pem,
};
use crypto::{HpkeKey, Zeroizing};
use governance::{AuditGrant, AuditPart, ShareCache, open_session};
use types::{Epoch, Millis};

use crate::failure::{Code, Failure};
use crate::keys::{entropy, now, write_private, write_public};
use crate::ledger::Copy;
use crate::network::read_text;
use crate::print;
use crate::recover::{ActorKey, Of, believed, holder, no_share, sealed};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Makes an auditor's key, and prints what a proposal to grant an audit names
    Keygen(Keygen),
    /// Lists the grants that are open at the end of a ledger
    Grants(Grants),
    /// Makes one actor's parts of the granted epochs, sealed to the auditor
    Partial(Partial),
    /// Signs one actor's consent: its nodes answer the auditor from then on, until the grant ends
    Consent(consent::Consent),
    /// Fetches the parts of actors that consented from their nodes, and verifies every proof
    Collect(collect::Collect),
    /// Opens the granted epochs with the parts of M actors
    Open(Open),
}

#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Grants {
    #[command(flatten)]
    of: Of,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Partial {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    actor: ActorKey,
    /// Number of the grant
    #[arg(long, value_name = "NUMBER")]
    grant: u64,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Open {
    #[command(flatten)]
    of: Of,
    /// Number of the grant
    #[arg(long, value_name = "NUMBER")]
    grant: u64,
    /// What M actors made with `coco audit partial`, or their nodes gave to `coco audit collect`
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    partials: Vec<PathBuf>,
    /// The auditor's key (`coco audit keygen`)
    #[arg(long, value_name = "FILE")]
    auditor_key: PathBuf,
    /// The file of session keys to write, for `coco ledger show|export|verify --keys`
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Keygen(arguments) => keygen(arguments),
        AuditCommand::Grants(arguments) => grants(arguments),
        AuditCommand::Partial(arguments) => partial(arguments),
        AuditCommand::Consent(arguments) => consent::run(arguments),
        AuditCommand::Collect(arguments) => collect::run(arguments),
        AuditCommand::Open(arguments) => open(arguments),
    }
}

fn keygen(arguments: &Keygen) -> Result<(), Failure> {
    let key = HpkeKey::generate(&mut entropy()?);
    write_private(&arguments.out, &auditor_key_to_pem(&key))?;
    println!("key = \"{}\"", hex::encode(key.public()));
    Ok(())
}

fn grants(arguments: &Grants) -> Result<(), Failure> {
    let constitution = arguments.of.constitution()?;
    let copy = arguments.of.audit(&constitution, arguments.json)?;
    let open: Vec<_> = copy.state.audits(Millis::ZERO).collect();
    if arguments.json {
        print::json(&open);
        return Ok(());
    }
    let head = ["grant", "epochs", "until", "entry", "auditor"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    for grant in open {
        let terms = &grant.terms;
        rows.push(vec![
            grant.number.to_string(),
            format!("{}-{}", terms.from, terms.to),
            terms.expires.to_string(),
            grant.entry.to_string(),
            terms.auditor.0.subject().to_owned(),
        ]);
    }
    print::table(&rows);
    Ok(())
}

/// The grant of that number, as the ledger has it.
fn granted(copy: &Copy, number: u64) -> Result<&AuditGrant, Failure> {
    let grant = copy.state.audits(Millis::ZERO).find(|g| g.number == number);
    let grant = grant.ok_or_else(|| {
        Failure::new(
            Code::Refused,
            format!("no audit grant {number} is open in this ledger; `coco audit grants` lists those that are"),
        )
    })?;
    believed(&copy.verdict, grant.entry)?;
    if grant.entry > copy.verdict.signed_upto {
        return Err(Failure::new(
            Code::Refused,
            format!(
                "no signed root covers entry {}, which grants the audit: take a copy that reaches farther",
                grant.entry
            ),
        ));
    }
    Ok(grant)
}

/// The granted epochs that the ledger has and that are sealed to the actors.
fn epochs(copy: &Copy, grant: &AuditGrant) -> Vec<Epoch> {
    let records = copy.state.keys().epochs().iter();
    records
        .filter(|record| record.opening.seal.is_some())
        .map(|record| record.opening.epoch)
        .filter(|epoch| grant.terms.covers(*epoch))
        .collect()
}

fn partial(arguments: &Partial) -> Result<(), Failure> {
    let constitution = arguments.of.constitution()?;
    let network = constitution.network_id();
    let transport = arguments.actor.read()?;
    let copy = arguments.of.audit(&constitution, false)?;
    let grant = granted(&copy, arguments.grant)?;
    if now() >= grant.terms.expires {
        return Err(Failure::new(
            Code::Refused,
            format!(
                "audit grant {} is over: another vote may grant it anew",
                grant.number
            ),
        ));
    }
    let records = copy.state.keys();
    let (mut cache, mut entropy) = (ShareCache::default(), entropy()?);
    let mut parts = BTreeMap::new();
    let mut name = String::new();
    for epoch in epochs(&copy, grant) {
        let record = sealed(records, epoch)?;
        believed(&copy.verdict, record.entry)?;
        name = holder(records, record, &transport)?;
        let part = cache.session_part(records, &transport, epoch, &mut entropy);
        parts.insert(epoch, part.ok_or_else(|| no_share(&name, epoch))?);
    }
    if parts.is_empty() {
        return Err(Failure::input(format!(
            "this ledger has no epoch of {}-{} that is sealed to the actors",
            grant.terms.from, grant.terms.to
        )));
    }
    let part = AuditPart::seal(network, grant, &parts, &mut entropy)
        .map_err(|bad| Failure::input(bad.to_string()))?;
    write_public(&arguments.out, &audit_part_to_pem(&part))?;
    println!("actor     {name}");
    println!("auditor   {}", grant.terms.auditor.0.subject());
    println!("epochs    {}", list(parts.keys()));
    println!("written   {}", arguments.out.display());
    Ok(())
}

fn open(arguments: &Open) -> Result<(), Failure> {
    let constitution = arguments.of.constitution()?;
    let network = constitution.network_id();
    let text = Zeroizing::new(read_text(&arguments.auditor_key)?);
    let key = auditor_key_from_pem(&text)?;
    let copy = arguments.of.audit(&constitution, false)?;
    let grant = granted(&copy, arguments.grant)?;
    let mut by_epoch: BTreeMap<Epoch, Vec<threshold::Partial>> = BTreeMap::new();
    for path in &arguments.partials {
        let opened = audit_part_from_pem(&read_text(path)?)
            .map_err(|bad| bad.to_string())
            .and_then(|part| part.open(network, grant, &key).map_err(|b| b.to_string()));
        match opened {
            Ok(parts) => {
                for (epoch, part) in parts {
                    by_epoch.entry(epoch).or_default().push(part);
                }
            }
            Err(bad) => eprintln!("dropped   {}: {bad}", path.display()),
        }
    }
    let mut keys = SessionKeys::new(network);
    let mut opened = Vec::new();
    for epoch in epochs(&copy, grant) {
        let parts = by_epoch.remove(&epoch).unwrap_or_default();
        match open_session(copy.state.keys(), epoch, &parts) {
            Ok((key, dropped)) => {
                for bad in dropped {
                    eprintln!("dropped   epoch {epoch}: {bad}");
                }
                keys.insert(epoch, key.expose());
                opened.push(epoch);
            }
            Err(bad) => println!("sealed    epoch {epoch}: {bad}"),
        }
    }
    if opened.is_empty() {
        return Err(Failure::input(
            "no granted epoch could be opened: ask further actors for their parts",
        ));
    }
    write_private(&arguments.out, &keys.to_pem())?;
    println!("opened    epochs {}", list(&opened));
    println!("written   {}", arguments.out.display());
    println!(
        "next      coco ledger verify --keys {0} and coco ledger export --keys {0}; destroy the file when the audit is done",
        arguments.out.display()
    );
    Ok(())
}

fn list<'a>(epochs: impl IntoIterator<Item = &'a Epoch>) -> String {
    let epochs: Vec<_> = epochs.into_iter().map(ToString::to_string).collect();
    epochs.join(", ")
}
