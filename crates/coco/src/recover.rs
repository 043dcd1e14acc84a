//! `coco recover`: opens the ledger of a lost network, with files alone.
//!
//! Source: Coco 2017, "Decrypting Persistent State" (a catastrophic failure is survived outside the
//! network); docs/keys.md. Each of M actors runs `partial` on a copy of the ledger with its own
//! share-transport key and hands over what it wrote; that key and the actor's private share never leave
//! its machine. Whoever has M files opens the epoch and all before it.

mod order;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use client::{Problem, RecoveryPart, SessionKeys, ShareKey};
use governance::{Constitution, EpochRecord, Keys, Opening, ShareCache, State, walk_back};
use ledger::Verdict;
use serde_json::json;
use threshold::TransportKey;
use types::{Epoch, Index, NetworkId};

use crate::failure::{Code, Failure};
use crate::keys::{entropy, write_private, write_public};
use crate::ledger::{Copy, SignedRoot};
use crate::{network, print};

#[derive(Debug, Subcommand)]
pub(crate) enum RecoverCommand {
    /// Makes one actor's part of an epoch's keys, from a copy of the ledger and the actor's share key
    Partial(Partial),
    /// Opens the keys with the parts of M actors, and says how far the ledger is proven
    Open(Open),
    /// Signs, as one of M actors, that the network goes on with fewer nodes than its rule asks for
    Order(order::Order),
}

#[derive(Debug, Args)]
pub(crate) struct Partial {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    actor: ActorKey,
    /// Whose keys: a number, or "last" for the newest epoch that is sealed to the actors
    #[arg(long, value_name = "EPOCH", default_value = "last", value_parser = which)]
    epoch: Which,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The ledger that a command is about.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// A copy of the ledger: a directory with chunk files, or a node's directory
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// The constitution that the network started with: only what it endorses is believed
    #[arg(long, value_name = "FILE")]
    constitution: PathBuf,
}

/// An actor's share-transport key.
#[derive(Debug, Args)]
pub(crate) struct ActorKey {
    /// The actor's share-transport key (`coco member share-key`)
    #[arg(long, value_name = "FILE")]
    share_key: PathBuf,
    /// Holds the passphrase of that key, on one line, if one protects it
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The key in a PKCS#11 module that wraps it, if one does: a URI as in RFC 7512
    #[arg(long, value_name = "pkcs11:...", conflicts_with = "passphrase_file")]
    unwrap_with: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Open {
    #[command(flatten)]
    of: Of,
    /// What M actors made with `coco recover partial`
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    partials: Vec<PathBuf>,
    /// The file of session keys to write: whoever has it reads the ledger
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also writes what the next network's constitution says of this one (TOML)
    #[arg(long, value_name = "FILE")]
    cite: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Last,
    Epoch(Epoch),
}

fn which(text: &str) -> Result<Which, String> {
    match text {
        "last" => Ok(Which::Last),
        _ => text
            .parse()
            .map(|number| Which::Epoch(Epoch(number)))
            .map_err(|_| "expected the number of an epoch, or \"last\"".to_owned()),
    }
}

pub(crate) fn run(command: &RecoverCommand) -> Result<(), Failure> {
    match command {
        RecoverCommand::Partial(arguments) => partial(arguments),
        RecoverCommand::Open(arguments) => open(arguments),
        RecoverCommand::Order(arguments) => order::run(arguments),
    }
}

impl Of {
    pub(crate) fn constitution(&self) -> Result<Constitution, Failure> {
        network::read(&self.constitution)
    }

    pub(crate) fn audit(&self, constitution: &Constitution, quiet: bool) -> Result<Copy, Failure> {
        Copy::audit(&self.ledger, constitution, None, quiet)
    }
}

impl ActorKey {
    /// The key, in memory until it is dropped.
    pub(crate) fn read(&self) -> Result<TransportKey, Failure> {
        let mut asked = || match &self.passphrase_file {
            Some(path) => crate::governing::read_passphrase(path).map_err(Problem::Identity),
            None => Err(Problem::Identity(
                "a passphrase protects the key: give --passphrase-file".into(),
            )),
        };
        let module = self.unwrap_with.as_deref();
        Ok(ShareKey::read(&self.share_key, module, &mut asked)?.open()?)
    }
}

fn partial(arguments: &Partial) -> Result<(), Failure> {
    let constitution = arguments.of.constitution()?;
    let transport = arguments.actor.read()?;
    let copy = arguments.of.audit(&constitution, false)?;
    let records = copy.state.keys();
    let record = record(records, arguments.epoch)?;
    believed(&copy.verdict, record.entry)?;
    let (epoch, actor) = (record.opening.epoch, holder(records, record, &transport)?);
    let parts = ShareCache::default().parts(records, &transport, epoch, &mut entropy()?);
    let (session, history) = parts.ok_or_else(|| no_share(&actor, epoch))?;
    let part = RecoveryPart {
        network: constitution.network_id(),
        epoch,
        key: session_of(record),
        session,
        history,
    };
    write_public(&arguments.out, &part.to_pem())?;
    println!("actor     {actor}");
    println!(
        "epoch     {epoch}, opened in entry {} of network {}",
        record.entry, part.network
    );
    if let Some(shared) = records.shared_by(part.key) {
        let (m, n) = (shared.key().threshold(), shared.actors().len());
        println!("needed    {m} of {n} actors' parts open epoch {epoch} and all before it");
    }
    println!("written   {}", arguments.out.display());
    if record.entry > copy.verdict.signed_upto {
        println!(
            "note      no signed root covers entry {}; if its epoch turns out to be of another copy, make a part for epoch {}",
            record.entry,
            Epoch(epoch.0 - 1)
        );
    }
    Ok(())
}

/// Refuses to work on entries of which something is wrong.
pub(crate) fn believed(verdict: &Verdict, upto: Index) -> Result<(), Failure> {
    match verdict.problems.iter().find(|bad| bad.index <= upto) {
        None => Ok(()),
        Some(bad) => Err(Failure::new(
            Code::Wrong,
            format!("{bad}; `coco ledger verify` lists all that is wrong: use another copy"),
        )),
    }
}

fn record(records: &Keys, which: Which) -> Result<&EpochRecord, Failure> {
    match which {
        Which::Last => {
            let sealed = records.epochs().iter().rev();
            let newest = sealed.into_iter().find(|r| r.opening.seal.is_some());
            newest.ok_or_else(|| {
                Failure::input(
                    "the ledger has no epoch that is sealed to the actors: its keys were in the memory of nodes \
                     alone, and are lost with them",
                )
            })
        }
        Which::Epoch(epoch) => sealed(records, epoch),
    }
}

/// The record of an epoch that is sealed to the actors.
pub(crate) fn sealed(records: &Keys, epoch: Epoch) -> Result<&EpochRecord, Failure> {
    let record = records.epoch(epoch).filter(|r| r.opening.seal.is_some());
    record.ok_or_else(|| {
        let all = records.epochs().iter().filter(|r| r.opening.seal.is_some());
        let all: Vec<_> = all.map(|r| r.opening.epoch.to_string()).collect();
        Failure::input(format!(
            "epoch {epoch} is not sealed to the actors in this ledger; those are: {}",
            all.join(", ")
        ))
    })
}

pub(crate) fn session_of(record: &EpochRecord) -> types::Digest {
    let seal = record.opening.seal.as_ref();
    seal.expect("only sealed epochs are asked for").key
}

/// The name of the actor whose share-transport key this is, among those that an epoch is sealed to.
pub(crate) fn holder(
    records: &Keys,
    record: &EpochRecord,
    transport: &TransportKey,
) -> Result<String, Failure> {
    let shared = records.shared_by(session_of(record));
    let actor = shared.and_then(|shared| shared.actor(shared.index_of(&transport.public())?));
    actor.map(str::to_owned).ok_or_else(|| {
        let names = shared.map(|shared| {
            let names = shared.actors().iter().map(|(name, _)| name.as_str());
            names.collect::<Vec<_>>().join(", ")
        });
        Failure::input(format!(
            "this share key ({}) holds no share of epoch {}; the keys of these actors at that time do: {}",
            hex::encode(transport.public().bytes()),
            record.opening.epoch,
            names.unwrap_or_default()
        ))
    })
}

pub(crate) fn no_share(actor: &str, epoch: Epoch) -> Failure {
    let text =
        format!("the ledger's deals give {actor} no share of epoch {epoch}: use another copy");
    Failure::new(Code::Wrong, text)
}

fn open(arguments: &Open) -> Result<(), Failure> {
    let constitution = arguments.of.constitution()?;
    let network = constitution.network_id();
    let parts = read_parts(&arguments.partials, network)?;
    let copy = arguments.of.audit(&constitution, arguments.json)?;
    let records = copy.state.keys();
    let (epoch, by, keys) = combine(records, &parts)?;
    let walked = walk_back(network, records, epoch, keys);
    let mut opened = SessionKeys::new(network);
    for (epoch, keys) in &walked {
        opened.insert(*epoch, keys.session());
    }
    write_private(&arguments.out, &opened.to_pem())?;
    // Every entry that the keys open is one that an attested node sealed.
    let read = Copy::audit(
        &arguments.of.ledger,
        &constitution,
        Some(opened.keyring()),
        arguments.json,
    )?;
    let cited = copy.signed.as_ref().map(|signed| cite(network, signed));
    if let (Some(path), Some(cited)) = (&arguments.cite, &cited) {
        write_public(path, cited)?;
    }
    let told = Told {
        by,
        first: *walked.keys().next().expect("the opened one is there"),
        epoch,
        newest: copy.state.epoch(),
        copy: &read,
    };
    if arguments.json {
        print::json(&told.to_json(network));
    } else {
        told.tell(&arguments.out, cited.as_deref());
    }
    if read.verdict.is_sound() || read.verdict.is_incomplete_only() {
        return Ok(());
    }
    Err(Failure::new(
        Code::Wrong,
        "the keys were written, but something is wrong in this copy (above): compare it with others",
    ))
}

fn read_parts(
    paths: &[PathBuf],
    network: NetworkId,
) -> Result<Vec<(&Path, RecoveryPart)>, Failure> {
    let mut parts = Vec::new();
    for path in paths {
        let read = RecoveryPart::from_pem(&network::read_text(path)?);
        let part = read.map_err(|bad| Failure::input(format!("{}: {bad}", path.display())))?;
        if part.network != network {
            return Err(Failure::input(format!(
                "{} is of network {}, not of {network}",
                path.display(),
                part.network
            )));
        }
        parts.push((path.as_path(), part));
    }
    Ok(parts)
}

/// Verifies every part, names those that are wrong, and opens with the others.
fn combine(
    records: &Keys,
    parts: &[(&Path, RecoveryPart)],
) -> Result<(Epoch, Vec<String>, governance::EpochKeys), Failure> {
    // That of most parts; the newest of equals.
    let count = |epoch: Epoch| parts.iter().filter(|(_, p)| p.epoch == epoch).count();
    let epochs = parts.iter().map(|(_, part)| part.epoch);
    let epoch = epochs.max_by_key(|epoch| (count(*epoch), *epoch));
    let epoch = epoch.ok_or_else(|| Failure::input("give the parts with --partials"))?;
    let record = sealed(records, epoch)?;
    let shared = records.shared_by(session_of(record));
    let needed = shared.map_or(0, |shared| shared.key().threshold());
    let mut opening = Opening::new(epoch);
    let mut opened = None;
    for (path, part) in parts {
        if part.epoch != epoch || part.key != session_of(record) {
            let other = format!("is of epoch {} and not of {epoch}", part.epoch);
            eprintln!("dropped   {}: it {other}", path.display());
            continue;
        }
        let both = (part.session.clone(), part.history.clone());
        match opening.add(records, both) {
            // The first M are enough, and the others are checked all the same.
            Ok(now) => opened = now.or(opened),
            Err(bad) => eprintln!("dropped   {}: {bad}", path.display()),
        }
    }
    match opened {
        Some(opened) => Ok((epoch, opened.by, opened.keys)),
        None => Err(Failure::input(format!(
            "{} good parts of epoch {epoch}, {needed} are needed: ask further actors for theirs",
            opening.count()
        ))),
    }
}

/// What the constitution of the network that goes on from this one says of it.
fn cite(network: NetworkId, signed: &SignedRoot) -> String {
    format!(
        "[succeeds]\nnetwork = \"{network}\"\nindex = {}\nroot = \"{}\"\n",
        signed.index, signed.root
    )
}

/// How far the opened ledger reaches, and how much of it is proven.
struct Told<'a> {
    by: Vec<String>,
    first: Epoch,
    epoch: Epoch,
    newest: Epoch,
    copy: &'a Copy,
}

const NOT_TOLD: &str = "what other copies have behind this one's last entry: a transaction that was acknowledged \
                        may be there and not here. Compare the copies of all nodes, and open the one that \
                        reaches farthest; receipts in clients' hands prove what they prove";

impl Told<'_> {
    fn signer(&self, state: &State, signed: &SignedRoot) -> String {
        let node = state.node(signed.signer);
        node.map_or_else(
            || format!("node {}", signed.signer),
            |node| format!("node {} ({} at {})", node.id, node.owner, node.address),
        )
    }

    fn tell(&self, out: &Path, cited: Option<&str>) {
        let (verdict, state) = (&self.copy.verdict, &self.copy.state);
        println!("opened by     {}", self.by.join(", "));
        println!("epochs        {}-{}", self.first, self.epoch);
        if self.first > Epoch(1) {
            println!(
                "WRONG         the link to epoch {} does not open: what is sealed before epoch {} stays sealed",
                Epoch(self.first.0 - 1),
                self.first
            );
        }
        if self.newest > self.epoch {
            println!(
                "sealed        epochs {}-{}: give parts of epoch {} to open them, too",
                Epoch(self.epoch.0 + 1),
                self.newest,
                self.newest
            );
        }
        match &self.copy.signed {
            Some(signed) => {
                println!(
                    "proven        entries 1-{}: root {}",
                    verdict.signed_upto, signed.root
                );
                println!(
                    "              signed in entry {} by {}, ledger time {}",
                    signed.index,
                    self.signer(state, signed),
                    signed.time
                );
            }
            None => println!("proven        nothing: no root signature was checked"),
        }
        if verdict.last > verdict.signed_upto {
            println!(
                "not proven    entries {}-{}: no signed root covers them. Where they open under the keys, an attested \
                 node sealed them; whether they were committed, this copy does not show",
                verdict.signed_upto.next(),
                verdict.last
            );
        }
        println!("not known     {NOT_TOLD}");
        println!("restarts      {}", state.restarts());
        for problem in &verdict.problems {
            println!("WRONG         {problem}");
        }
        println!("written       {}", out.display());
        println!(
            "\nWARNING: whoever has that file reads all of these epochs, the network's private key in the first entry\n\
             included. Keep it where only those are who may read everything, and destroy it when the work is done."
        );
        if let Some(cited) = cited {
            println!(
                "\nThe constitution of the network that goes on from this one says:\n\n{cited}"
            );
        }
    }

    fn to_json(&self, network: NetworkId) -> serde_json::Value {
        let (verdict, state) = (&self.copy.verdict, &self.copy.state);
        let signed = self.copy.signed.as_ref();
        let problems: Vec<_> = verdict.problems.iter().map(ToString::to_string).collect();
        json!({
            "opened_by": self.by, "epochs": {"first": self.first, "last": self.epoch, "newest": self.newest},
            "proven": signed.map(|signed| json!({
                "last": verdict.signed_upto, "root": signed.root, "signer": signed.signer, "time": signed.time,
            })),
            "last": verdict.last, "restarts": state.restarts(), "problems": problems,
            "not_known": NOT_TOLD,
            "succeeds": signed.map(|signed| json!({
                "network": network, "index": signed.index, "root": signed.root,
            })),
        })
    }
}
