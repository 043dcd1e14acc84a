//! The same load on somebody else's Ethereum node: anvil, Hardhat, Besu, GoQuorum, geth.
//!
//! Such a node answers when it has taken a transaction into its pool. So a thread asks for the number of
//! the latest block every [`ASK_EVERY`], fetches each new block's hashes, and notes when they were
//! there: that is the client's knowledge of the commit, late by at most one question. At the end the
//! receipts of all blocks are read, and every accepted transaction must be there and have succeeded.
//!
//! The node is not fresh, so nonces go on where they are. A node for development (anvil, Hardhat) gets
//! the accounts and the token by its own methods; any other must have them from its genesis:
//! [`alloc`] gives what belongs there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::drive::{Listed, Request, drive};
use crate::ethereum::Senders;
use crate::figures::Spread;
use crate::measure::{self, Outcome, Run, microseconds};
use crate::pace::Pace;
use crate::verdict::{self, Asking, quantity};
use crate::wire::{Door, Way};
use crate::{Load, Options, Problem, Workload};

/// Between two questions for the latest block. A client library asks every some hundred milliseconds;
/// this costs a node little and adds less than a block's time to what is measured.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Without a new transaction in a block for this long, those that are missing are given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody else's node.
#[derive(Debug, Clone)]
pub struct Peer {
    way: Way,
    path: String,
    /// What it calls itself.
    pub version: String,
    chain_id: u64,
}

impl Peer {
    /// Reads the URL and asks the node who it is.
    ///
    /// # Errors
    /// [`Problem::Input`] for another URL than `http://HOST:PORT[/PATH]`; [`Problem::Failed`].
    pub fn find(url: &str) -> Result<Self, Problem> {
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            Problem::Input(format!(
                "--against {url}: a URL of the form http://HOST:PORT[/PATH] is needed; TLS is not spoken to peers"
            ))
        })?;
        let (address, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let address = if address.contains(':') {
            address.to_owned()
        } else {
            format!("{address}:80")
        };
        let way = Way {
            door: Door::Plain,
            address,
        };
        let mut asking = Asking::open(&way, path)?;
        let version = asking.call("web3_clientVersion", "")?;
        let chain_id = asking.call("eth_chainId", "")?;
        Ok(Self {
            path: path.to_owned(),
            version: version.as_str().unwrap_or("unknown").to_owned(),
            chain_id: quantity(&chain_id)
                .ok_or_else(|| Problem::Failed(format!("eth_chainId gave {chain_id}")))?,
            way,
        })
    }

    /// Makes sure that the accounts have what they need, and adds to the options what this node wants:
    /// chain id, path, nonces.
    ///
    /// # Errors
    /// [`Problem::Input`] if this node has no such accounts and no way to get them.
    pub fn fit(&self, options: &Options) -> Result<Options, Problem> {
        options.check()?;
        if options.workload.protocol() != "ethereum" || options.workload == Workload::Mainnet {
            return Err(Problem::Input(format!(
                "--against an Ethereum node takes transfer, erc20 or call, not {}",
                options.workload.name()
            )));
        }
        let senders = Senders::new(options, options.warm_up + options.transactions);
        let mut asking = Asking::open(&self.way, &self.path)?;
        let mut missing = senders.alloc()?;
        let addresses: Vec<String> = missing.keys().cloned().collect();
        let asked = addresses.iter().map(|a| format!("\"{a}\",\"latest\""));
        let codes = addresses.iter().filter(|a| !missing[*a]["code"].is_null());
        let codes: Vec<String> = codes.cloned().collect();
        let balances = asking.calls("eth_getBalance", asked)?;
        for (address, balance) in addresses.iter().zip(balances) {
            if balance != "0x0" && !codes.contains(address) {
                missing.remove(address);
            }
        }
        for address in codes {
            let code = asking.call("eth_getCode", &format!("\"{address}\",\"latest\""))?;
            if code == missing[&address]["code"] && !is_development(&self.version) {
                missing.remove(&address);
            }
        }
        if !missing.is_empty() {
            self.install(&mut asking, &missing)?;
        }
        let mut fitted = options.clone();
        fitted.form.chain_id = self.chain_id;
        fitted.form.path.clone_from(&self.path);
        if !options.workload.only_reads() {
            fitted.form.nonces = asking.nonces(senders.addresses())?;
        }
        Ok(fitted)
    }

    /// Gives a node for development accounts, code and storage by its own methods.
    fn install(&self, asking: &mut Asking, alloc: &Map<String, Value>) -> Result<(), Problem> {
        if !is_development(&self.version) {
            return Err(Problem::Input(format!(
                "{} lacks {} of the accounts that send. Write them with --alloc FILE, put them into \
                 its genesis, and start it again",
                self.version,
                alloc.len()
            )));
        }
        let mut balances = Vec::new();
        let mut codes = Vec::new();
        let mut slots = Vec::new();
        for (address, account) in alloc {
            balances.push(format!("\"{address}\",{}", account["balance"]));
            if account["code"].is_string() {
                codes.push(format!("\"{address}\",{}", account["code"]));
            }
            for (slot, value) in account["storage"].as_object().into_iter().flatten() {
                let value = value.as_str().unwrap_or_default().trim_start_matches("0x");
                slots.push(format!("\"{address}\",\"{slot}\",\"0x{value:0>64}\""));
            }
        }
        asking.calls("hardhat_setBalance", balances.into_iter())?;
        asking.calls("hardhat_setCode", codes.into_iter())?;
        asking.calls("hardhat_setStorageAt", slots.into_iter())?;
        Ok(())
    }
}

/// Whether it has `hardhat_setBalance` and its like; anvil has them, too.
fn is_development(version: &str) -> bool {
    version.starts_with("anvil") || version.starts_with("HardhatNetwork")
}

/// Accounts, and the token where there is one, for a genesis: `{"0x…": {"balance": …}}`.
///
/// # Errors
/// [`Problem::Input`].
pub fn alloc(options: &Options) -> Result<Value, Problem> {
    let senders = Senders::new(options, options.warm_up + options.transactions);
    Ok(Value::Object(senders.alloc()?))
}

/// Sends the load and waits until all of it is in blocks. `options` are those that [`Peer::fit`] gave.
///
/// # Errors
/// [`Problem::Failed`] if the node does not answer; [`Problem::Wrong`] if a transaction that it took is
/// in no block, or failed.
pub fn measure_peer(
    options: &Options,
    load: &Load,
    peer: &Peer,
    progress: &mut dyn FnMut(&str),
) -> Result<Run, Problem> {
    let endpoint = measure::Endpoint {
        name: peer.version.clone(),
        way: peer.way.clone(),
        front: None,
        auditing: None,
        leads: true,
        process: None,
    };
    let mut wires = measure::open(options, &[&endpoint])?;
    let mut asking = Asking::open(&peer.way, &peer.path)?;
    let first = asking.block_number()? + 1;
    let blocks = Blocks::start(peer, first)?;
    let mut warmed = 0;
    if !load.warm_up.is_empty() {
        progress("warming up");
        let pace = Pace::Closed {
            in_flight: options.in_flight,
        };
        let mut work = Listed::new(&load.warm_up, options.connections, None);
        drive(&mut wires, pace, &mut work)?;
        if !options.workload.only_reads() {
            warmed = load.warm_up.iter().map(|r| r.transactions).sum();
            blocks.wait_for(warmed)?;
        }
    }
    progress("measuring");
    let receipts = |request: &Request| measure::receipts(options, load, request);
    let receipts: Option<&dyn Fn(&Request) -> bytes::Bytes> = options.receipts.then_some(&receipts);
    let mut work = Listed::new(&load.requests, options.connections, receipts);
    let began = Instant::now();
    drive(
        &mut wires,
        measure::pace(options, load.requests.len()),
        &mut work,
    )?;
    let mut outcome = Outcome::of(options, load, &work.into_answers());
    let accepted = outcome.accepted.iter().filter(|a| **a).count();
    let mut committed = outcome.answered.clone();
    if !options.workload.only_reads() {
        progress("waiting for blocks");
        blocks.wait_for(warmed + accepted)?;
        let seen = blocks.end()?;
        if !options.receipts {
            committed.clear();
            let mut last = began;
            let offset = load.hashes.len() - outcome.accepted.len();
            for (place, hash) in load.hashes[offset..].iter().enumerate() {
                let Some((_, at)) = seen.get(hash) else {
                    continue;
                };
                last = last.max(*at);
                committed.push(microseconds(
                    at.saturating_duration_since(outcome.began[place]),
                ));
            }
            let first_sent = outcome.began.iter().min().copied().unwrap_or(began);
            outcome.seconds = last.saturating_duration_since(first_sent).as_secs_f64();
        }
        progress("checking");
        let last = asking.block_number()?;
        let holdings = match load.expected {
            Some(_) => asking.holdings(first, last)?,
            None => asking.sampled_holdings(first, last)?,
        };
        verdict::check(load, &outcome.accepted, &holdings)?;
        outcome.take(load, holdings);
    }
    Ok(Run {
        transactions: accepted,
        refused: outcome.accepted.len() - accepted,
        first_refusal: outcome.first_refusal,
        seconds: outcome.seconds,
        accepted: if options.receipts || options.workload.only_reads() {
            Spread::default()
        } else {
            Spread::of(outcome.answered)
        },
        committed: Spread::of(committed),
        everywhere: Spread::default(),
        block_sizes: outcome.block_sizes,
        used: Vec::new(),
    })
}

/// Block and time of each transaction.
type Seen = BTreeMap<[u8; 32], (u64, Instant)>;

/// Looks at a peer's new blocks until it is ended.
struct Blocks {
    seen: Arc<Mutex<Seen>>,
    count: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<(), Problem>>,
}

impl Blocks {
    fn start(peer: &Peer, first: u64) -> Result<Self, Problem> {
        let seen = Arc::new(Mutex::new(Seen::new()));
        let count = Arc::new(AtomicUsize::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let mut asking = Asking::open(&peer.way, &peer.path)?;
        let (theirs, counted, stop) = (seen.clone(), count.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut next = first;
            while !stop.load(Ordering::Acquire) {
                let latest = asking.block_number()?;
                let now = Instant::now();
                for height in next..=latest {
                    let hashes = asking.hashes(height)?;
                    let mut seen = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.extend(hashes.into_iter().map(|hash| (hash, (height, now))));
                    counted.store(seen.len(), Ordering::Release);
                }
                next = next.max(latest + 1);
                std::thread::sleep(ASK_EVERY);
            }
            Ok(())
        });
        Ok(Self {
            seen,
            count,
            over,
            thread,
        })
    }

    /// Waits until so many transactions are in blocks.
    fn wait_for(&self, wanted: usize) -> Result<(), Problem> {
        let (mut found, mut at) = (0, Instant::now());
        loop {
            let now_found = self.count.load(Ordering::Acquire);
            if now_found >= wanted {
                return Ok(());
            }
            if now_found > found {
                (found, at) = (now_found, Instant::now());
            }
            if at.elapsed() > PATIENCE || self.thread.is_finished() {
                return Err(Problem::Failed(format!(
                    "{found} of {wanted} transactions came into blocks, and then none for {} s",
                    at.elapsed().as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(self) -> Result<Seen, Problem> {
        self.over.store(true, Ordering::Release);
        self.thread
            .join()
            .map_err(|_| Problem::Failed("the observer ended by itself".into()))??;
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(seen)
    }
}
