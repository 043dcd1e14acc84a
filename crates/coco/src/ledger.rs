//! `coco ledger`: reads and audits the chunk files of a ledger, from the files alone.
//!
//! Files are never changed. A tail that a crash cut off is reported as such, with an exit code of
//! its own; a starting node drops it and fetches it again.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use governance::{AdmitNode, Constitution, PublicFact, admission_from_public, facts_from_public};
use indicatif::{ProgressBar, ProgressStyle};
use ledger::{AuditFact, Auditor, Entry, Header, Kind, Verdict, chunk, inspect};
use tee::Purpose;
use types::Digest;

use crate::failure::{Code, Doing, Failure};
use crate::print;

/// Largest chunk file that is read: the size at which one is closed, one entry of the largest size,
/// and room.
const CHUNK_BYTES_MAX: u64 = 128 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Lists the entries
    Show(Show),
    /// Checks chain, Merkle tree and signatures, and says what it could not check
    Verify(Verify),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The directory with the chunk files, or a node's directory
    directory: PathBuf,
    /// First entry to list
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Most entries to list
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// Prints one JSON object for each entry
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The directory with the chunk files, or a node's directory
    directory: PathBuf,
    /// The constitution that the network started with: only what it endorses is believed
    #[arg(long, value_name = "FILE")]
    constitution: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &LedgerCommand) -> Result<(), Failure> {
    match command {
        LedgerCommand::Show(arguments) => show(arguments),
        LedgerCommand::Verify(arguments) => verify(arguments),
    }
}

fn show(arguments: &Show) -> Result<(), Failure> {
    let columns = [
        "entry",
        "term",
        "epoch",
        "time",
        "sealer",
        "kind",
        "transactions",
        "digest",
    ];
    let mut rows = vec![columns.map(str::to_owned).to_vec()];
    let mut left = arguments.count;
    'files: for path in chunks(&arguments.directory)? {
        let reader = chunk::Reader::new(read_chunk(&path)?).map_err(|bad| wrong(&path, &bad))?;
        for item in reader {
            let (_, bytes) = item.map_err(|bad| wrong(&path, &bad))?;
            let entry = inspect(&bytes).map_err(|bad| wrong(&path, &bad))?;
            if entry.header.index.0 < arguments.from {
                continue;
            }
            if left == 0 {
                break 'files;
            }
            left -= 1;
            if arguments.json {
                println!("{}", to_json(&entry));
            } else {
                rows.push(to_row(&entry));
            }
        }
    }
    if !arguments.json {
        print::table(&rows);
    }
    Ok(())
}

fn verify(arguments: &Verify) -> Result<(), Failure> {
    let files = chunks(&arguments.directory)?;
    let given = arguments
        .constitution
        .as_deref()
        .map(crate::network::read)
        .transpose()?;
    let network = given.as_ref().map(Constitution::network_id);
    let unanchored = given.is_none();
    let mut rules = Rules {
        constitution: given,
    };
    let mut auditor = Auditor::new(|entry: &Entry| rules.facts(entry));
    if let Some(network) = network {
        auditor = auditor.of_network(network);
    }
    let bar = progress(&files, arguments.json);
    for path in &files {
        let bytes = read_chunk(path)?;
        let read = bytes.len() as u64; // usize is at most 64 bits
        auditor.chunk(&name(path), bytes);
        bar.inc(read);
    }
    bar.finish_and_clear();
    let mut verdict = auditor.finish();
    if unanchored {
        let sentence =
            "that this is the ledger of your network: give its constitution with --constitution";
        verdict.unchecked.push(sentence.to_owned());
    }
    if arguments.json {
        print::json(&verdict_json(&verdict));
    } else {
        tell(&verdict);
    }
    if verdict.is_sound() {
        Ok(())
    } else if verdict.is_incomplete_only() {
        let text = "the ledger ends in the middle of an entry, as after a crash; everything before it is right";
        Err(Failure::new(Code::Incomplete, text))
    } else {
        let text = format!(
            "{} problems; compare with another node's files",
            verdict.problems.len()
        );
        Err(Failure::new(Code::Wrong, text))
    }
}

/// Reads facts from administrative entries and believes only what the constitution endorses: a node's
/// key counts when the tuple that names it leads to a certificate that is listed for its owner, and
/// its evidence satisfies the manifests at the ledger time of the entry.
struct Rules {
    constitution: Option<Constitution>,
}

impl Rules {
    fn facts(&mut self, entry: &Entry) -> Vec<AuditFact> {
        let refused = |why: String| vec![AuditFact::Refused { why }];
        let (facts, admission) = match (
            facts_from_public(&entry.public),
            admission_from_public(&entry.public),
        ) {
            (Ok(facts), Ok(admission)) => (facts, admission),
            (Err(bad), _) | (_, Err(bad)) => return refused(bad.to_string()),
        };
        for fact in &facts {
            if let PublicFact::Constitution { digest, text } = fact
                && let Err(why) = self.enact(*digest, text.as_deref())
            {
                return refused(why);
            }
        }
        if let (Some(constitution), Some(admission)) = (&self.constitution, &admission)
            && let Err(why) = admitted(admission, constitution, &entry.header)
        {
            return refused(why);
        }
        let key = |fact| match fact {
            PublicFact::Node { id, key, .. } => Some(AuditFact::NodeKey { node: id, key }),
            _ => None,
        };
        facts.into_iter().filter_map(key).collect()
    }

    /// The genesis must be of the constitution that was given; if none was, its text counts.
    fn enact(&mut self, digest: Digest, text: Option<&Constitution>) -> Result<(), String> {
        match &self.constitution {
            Some(given) if given.digest() != digest => Err(format!(
                "it begins with the constitution {digest}, not with {}",
                given.digest()
            )),
            Some(_) => Ok(()),
            None => {
                self.constitution = text.cloned();
                Ok(())
            }
        }
    }
}

/// Repeats the verdict on an admission at the ledger time at which it was given.
fn admitted(node: &AdmitNode, constitution: &Constitution, header: &Header) -> Result<(), String> {
    let tuple = node
        .verify_tuple(constitution, header.time)
        .map_err(|bad| bad.to_string())?;
    let purpose = if header.kind == Kind::Genesis {
        Purpose::Genesis
    } else {
        Purpose::Join
    };
    node.appraise(constitution, tuple.tuple(), purpose, header.time)
        .map(drop)
        .map_err(|bad| format!("the evidence of node {}: {bad}", node.id))
}

fn progress(files: &[PathBuf], quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bytes = files
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|m| m.len())
        .sum();
    let style =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .expect("the template is constant");
    ProgressBar::new(bytes).with_style(style)
}

fn tell(verdict: &Verdict) {
    println!("entries       {} (last {})", verdict.entries, verdict.last);
    println!("transactions  {}", verdict.transactions);
    println!("signed up to  entry {}", verdict.signed_upto);
    for problem in &verdict.problems {
        println!("WRONG         {problem}");
    }
    for sentence in &verdict.unchecked {
        println!("not checked   {sentence}");
    }
    if verdict.is_sound() {
        println!("sound         chain, Merkle tree and root signatures are right");
    }
}

fn verdict_json(verdict: &Verdict) -> serde_json::Value {
    let problems: Vec<_> = verdict
        .problems
        .iter()
        .map(|p| {
            serde_json::json!({
                "file": p.file, "offset": p.offset, "entry": p.index, "what": p.what.to_string(),
            })
        })
        .collect();
    serde_json::json!({
        "sound": verdict.is_sound(),
        "incomplete_tail": verdict.is_incomplete_only(),
        "entries": verdict.entries,
        "transactions": verdict.transactions,
        "last": verdict.last,
        "signed_upto": verdict.signed_upto,
        "problems": problems,
        "unchecked": verdict.unchecked,
    })
}

fn to_row(entry: &Entry) -> Vec<String> {
    let header = &entry.header;
    vec![
        header.index.to_string(),
        header.term.to_string(),
        header.epoch.to_string(),
        header.time.to_string(),
        header.sealer.to_string(),
        kind(header.kind),
        entry.leaves.len().to_string(),
        entry.digest.to_string()[..16].to_owned(),
    ]
}

fn to_json(entry: &Entry) -> serde_json::Value {
    let header = &entry.header;
    serde_json::json!({
        "index": header.index, "term": header.term, "epoch": header.epoch, "time": header.time,
        "sealer": header.sealer, "restarts": header.restarts, "kind": kind(header.kind),
        "transactions": entry.leaves.len(), "digest": entry.digest, "previous": header.previous,
        "public_bytes": entry.public.len(),
    })
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Genesis => "genesis".into(),
        Kind::TermOpened => "term opened".into(),
        Kind::Administrative => "administrative".into(),
        Kind::Application { protocol, height } => format!("protocol {protocol}, batch {height}"),
        Kind::Signature => "signature".into(),
        Kind::Snapshot => "snapshot".into(),
        Kind::SnapshotDigest => "snapshot digest".into(),
    }
}

/// The chunk files in the order of their entries.
fn chunks(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let inside = directory.join("ledger");
    let directory = if inside.is_dir() {
        inside.as_path()
    } else {
        directory
    };
    let listing = std::fs::read_dir(directory)
        .doing(|| format!("read the directory {}", directory.display()))?;
    let mut found: Vec<_> = listing
        .flatten()
        .filter_map(|file| {
            let name = chunk::Name::parse(file.file_name().to_str()?)?;
            Some((name, file.path()))
        })
        .collect();
    found.sort();
    if found.is_empty() {
        return Err(Failure::input(format!(
            "{} holds no chunk files (such as {:020}-open)",
            directory.display(),
            1
        )));
    }
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn read_chunk(path: &Path) -> Result<Bytes, Failure> {
    let doing = || format!("read {}", path.display());
    if std::fs::metadata(path).doing(doing)?.len() > CHUNK_BYTES_MAX {
        return Err(Failure::new(
            Code::Wrong,
            format!("{} is larger than any chunk", path.display()),
        ));
    }
    Ok(std::fs::read(path).doing(doing)?.into())
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn wrong(path: &Path, what: &dyn std::fmt::Display) -> Failure {
    let text = format!(
        "{}: {what}; `coco ledger verify` says what is right",
        path.display()
    );
    Failure::new(Code::Wrong, text)
}
