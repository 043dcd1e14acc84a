//! `coco audit collect`: the auditor's side of nodes that answer.
//!
//! The auditor has a copy of the ledger: what a node answers is held against the records in it, proof by
//! proof, before it is kept. A node that gives a wrong part is named; another node of that actor, or
//! another actor, may be asked instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use client::{
    Admin, Identity, Trust, audit_part_from_cbor, audit_part_to_pem, auditor_key_from_pem,
    read_certificate,
};
use crypto::{HpkeKey, Zeroizing};
use governance::{
    AUDIT_RELEASE_EPOCHS_MAX, AuditGrant, AuditPart, Constitution, Keys, verify_session,
};
use serde_json::Value;
use types::{Epoch, NetworkId};

use super::{epochs, granted, list};
use crate::failure::{Code, Doing, Failure};
use crate::keys::write_public;
use crate::network::read_text;
use crate::recover::Of;

#[derive(Debug, Args)]
pub(crate) struct Collect {
    #[command(flatten)]
    of: Of,
    /// Number of the grant
    #[arg(long, value_name = "NUMBER")]
    grant: u64,
    /// The auditor's identity, for the channel: a certificate that the grant names, and its key
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// The pinned network identity certificate
    #[arg(long, value_name = "FILE")]
    network: PathBuf,
    /// Administrative addresses of nodes, one of each actor that consented
    #[arg(long = "vn", value_name = "HOST:PORT", num_args = 1.., required = true)]
    nodes: Vec<String>,
    /// The auditor's key (`coco audit keygen`)
    #[arg(long, value_name = "FILE")]
    auditor_key: PathBuf,
    /// Asks for these epochs only: N, or N-M; default: all granted ones that the copy has
    #[arg(long, value_name = "EPOCHS", value_parser = range)]
    epochs: Option<(Epoch, Epoch)>,
    /// Directory for the files, ACTOR-N.part
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn range(text: &str) -> Result<(Epoch, Epoch), String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from <= to => Ok((Epoch(from), Epoch(to))),
        _ => Err("expected the number of an epoch, or two: 12-15".to_owned()),
    }
}

/// What every answer is held against.
struct Asked<'a> {
    network: NetworkId,
    grant: &'a AuditGrant,
    key: &'a HpkeKey,
    records: &'a Keys,
}

pub(super) fn run(arguments: &Collect) -> Result<(), Failure> {
    let constitution = arguments.of.constitution()?;
    let key = auditor_key_from_pem(&Zeroizing::new(read_text(&arguments.auditor_key)?))?;
    let copy = arguments.of.audit(&constitution, false)?;
    let grant = granted(&copy, arguments.grant)?;
    let asked = Asked {
        network: constitution.network_id(),
        grant,
        key: &key,
        records: copy.state.keys(),
    };
    if *key.public() != grant.terms.key {
        return Err(Failure::input(format!(
            "{} is not the key that grant {} names",
            arguments.auditor_key.display(),
            grant.number
        )));
    }
    // What is asked for is asked for, so that a node's refusal shows; without, what the copy has.
    let runs = match arguments.epochs {
        Some(range) => vec![range],
        None => runs(&epochs(&copy, grant)),
    };
    if runs.is_empty() {
        return Err(Failure::input(
            "this copy has no granted epoch that is sealed to the actors: take one that reaches farther",
        ));
    }
    std::fs::create_dir_all(&arguments.out)
        .doing(|| format!("make the directory {}", arguments.out.display()))?;
    // Nodes run what the constitution in force at the copy's end allows.
    let in_force = copy.state.constitution().unwrap_or(&constitution);
    let mut actors = BTreeMap::new();
    let mut refused = false;
    for address in &arguments.nodes {
        match collect(arguments, in_force, &asked, address, &runs) {
            Ok((actor, epochs)) => {
                println!("{actor:16} epochs {} from {address}", list(&epochs));
                actors.insert(actor, epochs);
            }
            Err(failure) => {
                refused = true;
                eprintln!("dropped   {address}: {failure}");
            }
        }
    }
    let needed = asked.records.shared().map_or(0, |s| s.key().threshold());
    println!(
        "collected parts of {} actors, {needed} open an epoch",
        actors.len()
    );
    if actors.is_empty() && refused {
        return Err(Failure::new(Code::Refused, "no node gave a good part"));
    }
    println!(
        "next      coco audit open --grant {} --auditor-key {} --partials {}/*.part --out keys.pem",
        grant.number,
        arguments.auditor_key.display(),
        arguments.out.display()
    );
    Ok(())
}

/// Neighbouring epochs together, as many as a node gives at once.
fn runs(epochs: &[Epoch]) -> Vec<(Epoch, Epoch)> {
    let mut runs: Vec<(Epoch, Epoch)> = Vec::new();
    for epoch in epochs {
        match runs.last_mut() {
            Some((from, to))
                if to.0 + 1 == epoch.0 && epoch.0 - from.0 < AUDIT_RELEASE_EPOCHS_MAX =>
            {
                *to = *epoch;
            }
            _ => runs.push((*epoch, *epoch)),
        }
    }
    runs
}

/// The parts of one node's actor, each verified, in files.
fn collect(
    arguments: &Collect,
    constitution: &Constitution,
    asked: &Asked<'_>,
    address: &str,
    runs: &[(Epoch, Epoch)],
) -> Result<(String, Vec<Epoch>), Failure> {
    let identity = Identity::read(&arguments.identity)?;
    let trust = Trust::pinned(read_certificate(&arguments.network)?);
    let trust = trust.with_constitution(constitution.clone());
    let mut admin = Admin::open(&identity, trust, vec![address.to_owned()])?;
    let (mut actor, mut all) = (String::new(), Vec::new());
    for (from, to) in runs {
        let target = format!(
            "/v1/audits/{}/parts?from={from}&to={to}",
            asked.grant.number
        );
        let answer = admin.submit(&target, &[])?;
        let (part, of, epochs) = judge(asked, &answer)?;
        let file = arguments.out.join(format!("{of}-{from}.part"));
        write_part(&file, &part)?;
        actor = of;
        all.extend(epochs);
    }
    Ok((actor, all))
}

/// An answer whose every proof holds, and whose it is.
fn judge(asked: &Asked<'_>, answer: &Value) -> Result<(AuditPart, String, Vec<Epoch>), Failure> {
    let wrong = |what: String| Failure::new(Code::Wrong, format!("the node's answer: {what}"));
    let bytes = answer["part"]
        .as_str()
        .and_then(|text| hex::decode(text).ok());
    let bytes = bytes.ok_or_else(|| wrong("it has no part".into()))?;
    let part = audit_part_from_cbor(&bytes).map_err(|bad| wrong(bad.to_string()))?;
    let parts = part
        .open(asked.network, asked.grant, asked.key)
        .map_err(|bad| wrong(bad.to_string()))?;
    let mut actor: Option<String> = None;
    for (epoch, partial) in &parts {
        let of = verify_session(asked.records, *epoch, partial).map_err(&wrong)?;
        if actor.get_or_insert_with(|| of.clone()) != &of {
            return Err(wrong("its parts are of several actors".into()));
        }
    }
    let actor = actor.ok_or_else(|| wrong("it holds no part of a granted epoch".into()))?;
    Ok((part, actor, parts.into_keys().collect()))
}

fn write_part(path: &Path, part: &AuditPart) -> Result<(), Failure> {
    write_public(path, &audit_part_to_pem(part))
}
