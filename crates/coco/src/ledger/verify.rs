//! `coco ledger verify`: the audit of a ledger from its files alone.
//!
//! Files are read and hashed by one thread per core, a few ahead of the one that links them, so that
//! memory holds some chunks and never the ledger.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::time::Instant;

use clap::Args;
use governance::Constitution;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::{AuditFact, Auditor, Before, Entry, Known, Prepared, SealKeyring, Verdict};

use super::rules::Rules;
use super::snapshots::{self, Found};
use super::{Files, name, opened, read_chunk};
use crate::failure::{Code, Failure};
use crate::print;

/// Most threads that read and hash. The one that links the entries keeps up with some eight.
const READERS_MAX: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The directory with the chunk files, or a node's directory
    directory: PathBuf,
    /// The constitution that the network started with: only what it endorses is believed
    #[arg(long, value_name = "FILE")]
    constitution: Option<PathBuf>,
    /// Session keys that were opened (`coco recover open`, `coco audit open`): contents are checked, too
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Verify) -> Result<(), Failure> {
    let begun = Instant::now();
    let files = Files::list(&arguments.directory)?;
    let given = arguments
        .constitution
        .as_deref()
        .map(crate::network::read)
        .transpose()?;
    let named = given.is_some();
    let keys = arguments.keys.as_deref().map(opened::keyring).transpose()?;
    let (mut verdict, rules) = audit(&files, given, keys, arguments.json)?;
    verdict
        .unchecked
        .extend(rules.unchecked().map(str::to_owned));
    if !named {
        let sentence =
            "that this is the ledger of your network: give its constitution with --constitution";
        verdict.unchecked.push(sentence.to_owned());
    }
    beside(&files, &mut verdict)?;
    let seconds = begun.elapsed().as_secs_f64();
    if arguments.json {
        print::json(&to_json(&verdict, seconds));
    } else {
        tell(&verdict, seconds);
    }
    outcome(&verdict)
}

/// Audits all files under the constitution of the genesis, with session keys if some are there.
pub(super) fn audit(
    files: &Files,
    given: Option<Constitution>,
    keys: Option<SealKeyring>,
    quiet: bool,
) -> Result<(Verdict, Rules), Failure> {
    let network = given.as_ref().map(Constitution::network_id);
    let mut rules = Rules::new(given);
    let mut auditor = Auditor::new(|entry: &Entry, before: Before| rules.facts(entry, before));
    if let Some(network) = network {
        auditor = auditor.of_network(network);
    }
    if let Some(keys) = keys {
        auditor = auditor.with_keys(keys);
    }
    let bar = progress(&files.chunks, quiet);
    let readers = std::thread::available_parallelism().map_or(1, usize::from);
    link(&files.chunks, &mut auditor, readers.min(READERS_MAX), &bar)?;
    bar.finish_and_clear();
    let verdict = auditor.finish();
    Ok((verdict, rules))
}

fn outcome(verdict: &Verdict) -> Result<(), Failure> {
    if verdict.is_complete() {
        Ok(())
    } else if verdict.is_incomplete_only() {
        let text = if verdict.missing.is_empty() {
            "the ledger ends in the middle of an entry, as after a crash; everything before it is right"
        } else {
            "entries are missing that a node fetches by itself; what is there is right"
        };
        Err(Failure::new(Code::Incomplete, text))
    } else {
        let text = format!(
            "{} problems; compare with another node's files",
            verdict.problems.len()
        );
        Err(Failure::new(Code::Wrong, text))
    }
}

/// Reads the files ahead and hands them to the auditor in their order.
fn link<F: FnMut(&Entry, Before) -> Vec<AuditFact>>(
    paths: &[PathBuf],
    auditor: &mut Auditor<F>,
    readers: usize,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    type Task<'a> = (&'a Path, Known, mpsc::SyncSender<Read>);
    let (tasks, queue) = mpsc::channel::<Task>();
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                loop {
                    let task = queue.lock().map(|queue| queue.recv());
                    let Ok(Ok((path, known, answer))) = task else {
                        break;
                    };
                    // Whoever asked may have given up.
                    let _ = answer.send(read(path, &known));
                }
            });
        }
        // The channel ends with this closure, and the threads with the channel.
        let tasks = tasks;
        let mut ahead = VecDeque::new();
        let mut paths = paths.iter();
        loop {
            while ahead.len() <= readers
                && let Some(path) = paths.next()
            {
                let (answer, read) = mpsc::sync_channel(1);
                let sent = tasks.send((path, auditor.known(), answer));
                sent.map_err(|_| Failure::failed("the threads that read ended"))?;
                ahead.push_back((path, read));
            }
            let Some((path, read)) = ahead.pop_front() else {
                return Ok(());
            };
            let read = read
                .recv()
                .map_err(|_| Failure::failed(format!("reading {} failed", path.display())))?;
            match read? {
                Ok(prepared) => {
                    bar.inc(prepared.bytes());
                    auditor.take(prepared);
                }
                Err(bytes) => auditor.too_large(&name(path), bytes),
            }
        }
    })
}

/// A file that was read and hashed, or the size of one that is too large.
type Read = Result<Result<Prepared, u64>, Failure>;

fn read(path: &Path, known: &Known) -> Read {
    Ok(read_chunk(path)?.map(|bytes| Prepared::new(&name(path), bytes, known)))
}

/// Looks at the files that are no chunks.
fn beside(files: &Files, verdict: &mut Verdict) -> Result<(), Failure> {
    for path in &files.others {
        let file = name(path);
        let why = snapshots::aside(&file).unwrap_or("its name is not that of a chunk");
        verdict
            .unchecked
            .push(format!("{file}: not part of the ledger ({why})"));
    }
    let mut framed = 0;
    for path in &files.snapshots {
        match snapshots::check(path, verdict)? {
            Found::Framed => framed += 1,
            Found::Passed(why) => {
                let sentence = format!("snapshots/{}: {why}", name(path));
                verdict.unchecked.push(sentence);
            }
            Found::Wrong(problem) => verdict.problems.push(*problem),
        }
    }
    if framed > 0 {
        verdict.unchecked.push(format!(
            "contents of {framed} snapshot files, which are sealed; their framing is right"
        ));
    }
    Ok(())
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

fn per_second(verdict: &Verdict, seconds: f64) -> u64 {
    // Counts far below 2^52, and a rate has no sign.
    (verdict.transactions as f64 / seconds.max(0.001)) as u64
}

fn tell(verdict: &Verdict, seconds: f64) {
    println!("entries       {} (last {})", verdict.entries, verdict.last);
    let rate = per_second(verdict, seconds);
    println!("transactions  {} ({rate} a second)", verdict.transactions);
    println!("signed up to  entry {}", verdict.signed_upto);
    println!("snapshots     {}", verdict.snapshots.len());
    for problem in &verdict.problems {
        println!("WRONG         {problem}");
    }
    for note in &verdict.notes {
        println!("note          {note}");
    }
    for sentence in &verdict.unchecked {
        println!("not checked   {sentence}");
    }
    if verdict.is_sound() {
        println!(
            "sound         chain, Merkle tree, root signatures and governance are right in what is there"
        );
    }
}

fn to_json(verdict: &Verdict, seconds: f64) -> serde_json::Value {
    let problems: Vec<_> = verdict
        .problems
        .iter()
        .map(|p| {
            serde_json::json!({
                "file": p.file, "offset": p.offset, "entry": p.index, "what": p.what.to_string(),
            })
        })
        .collect();
    let snapshots: Vec<_> = verdict
        .snapshots
        .iter()
        .map(|(index, digest)| serde_json::json!({"entry": index, "digest": digest}))
        .collect();
    serde_json::json!({
        "sound": verdict.is_sound(),
        "complete": verdict.is_complete(),
        "incomplete_only": verdict.is_incomplete_only(),
        "entries": verdict.entries,
        "transactions": verdict.transactions,
        "last": verdict.last,
        "signed_upto": verdict.signed_upto,
        "snapshots": snapshots,
        "missing": verdict.missing,
        "problems": problems,
        "notes": verdict.notes,
        "unchecked": verdict.unchecked,
        "seconds": seconds,
        "transactions_per_second": per_second(verdict, seconds),
    })
}
