//! `coco bench`: load on a fresh network on this machine, or on somebody else's node; figures.

mod network;
mod peers;
mod sweep;
mod trials;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::bench::{Load, Options, Problem, Report, Run, Subject, Via, Workload, measure};
use clap::{Args, ValueEnum};

use crate::failure::{Code, Doing, Failure};
use crate::sandbox::Profile;

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Number of members, with one node each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// What is sent
    #[arg(long, value_enum)]
    workload: Kind,
    /// What is tried
    #[arg(long, value_enum, default_value_t = Trial::Load)]
    trial: Trial,
    /// Somebody else's instead of a network of ours: http://HOST:PORT of an Ethereum node, or
    /// etcd://HOST:PORT,HOST:PORT (kv and kv-read)
    #[arg(long, value_name = "URL", conflicts_with_all = ["via", "http", "images"])]
    against: Option<String>,
    /// Legacy transactions at this price in wei, for Ethereum nodes from before 2021
    #[arg(long, value_name = "WEI", requires = "against")]
    gas_price: Option<u128>,
    /// Writes what the accounts must have in a genesis ("alloc") to this file, and ends
    #[arg(long, value_name = "FILE")]
    alloc: Option<PathBuf>,
    /// Transactions to measure; left out: 20,000, and for mainnet all 2,000
    #[arg(long, value_name = "N")]
    transactions: Option<usize>,
    /// Transactions to send before measuring; left out: a tenth, and for mainnet none
    #[arg(long, value_name = "N")]
    warm_up: Option<usize>,
    /// Transactions in one request; left out: 100, and for kv 1 but with overload 100
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Connections; left out: two for each node, with overload 300, and for mainnet one
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Unanswered requests on each connection; left out: 2, for kv so many that 1,000 writes are on
    /// their way, for mainnet 1
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// When a request is finished
    #[arg(long = "await", value_enum, default_value_t = Await::Answer)]
    awaited: Await,
    /// Which nodes the load goes to; left out: all, and for mainnet the leader
    #[arg(long, value_enum)]
    via: Option<To>,
    /// Sends by plain HTTP through a gateway to each node, instead of mutual TLS to the node itself
    #[arg(long)]
    http: bool,
    /// Who reads what unless the application says otherwise
    #[arg(long, value_enum, default_value_t = Profile::Transparent)]
    profile: Profile,
    /// Transactions a second that arrive whatever the answers do; left out: as fast as answers come
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Several rates, each measured by itself; left out with --plot: ten, up to what a run without a
    /// rate reaches
    #[arg(
        long,
        value_name = "R,R",
        value_delimiter = ',',
        conflicts_with = "rate"
    )]
    rates: Vec<f64>,
    /// Draws latency against throughput over the rates (SVG)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// What else the plot shows: the JSON of an earlier command with --rates
    #[arg(long, value_name = "FILE", requires = "plot")]
    beside: Vec<PathBuf>,
    /// Seconds of each rate
    #[arg(long, value_name = "TIME", value_parser = network::duration)]
    rate_time: Option<Duration>,
    /// How long an overload (left out: 60s) or steady load (left out: 30m) lasts
    #[arg(long, value_name = "TIME", value_parser = network::duration)]
    duration: Option<Duration>,
    /// Repeats, each on a fresh network; medians are shown
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,
    /// Accounts that send; with overload and steady also the number of keys that are written
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    senders: usize,
    /// Bytes of each value (kv)
    #[arg(long, value_name = "N", default_value_t = 256)]
    value_bytes: usize,
    /// Directory of the test data; left out: $COCO_TESTDATA, or ../shared/data
    #[arg(long, alias = "blocks", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Directory of the other binaries; left out: beside `coco`
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Prints one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Trial {
    /// A load of a fixed number of transactions
    Load,
    /// The leader is killed under load (needs --rate): until the next commit
    Failover,
    /// From nothing to the first commit
    Start,
    /// Twice what the network can do
    Overload,
    /// --rate, or half of what the network can do, for long
    Steady,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Await {
    /// When it is answered
    Answer,
    /// When the receipts of its transactions were asked for and are there
    Receipts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Transfers of ether between many accounts
    Transfer,
    /// Transfers of an ERC-20 token between many accounts
    Erc20,
    /// Writes of distinct keys
    Kv,
    /// Reads of keys
    KvRead,
    /// Calls of a token's view
    Call,
    /// 2,000 real transactions with known results
    Mainnet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// Connections are spread over all nodes
    All,
    /// The node that leads at the beginning
    Leader,
    /// Nodes that do not lead at the beginning
    Followers,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let code = match &problem {
            Problem::Input(_) => Code::Input,
            Problem::Failed(_) => Code::Failed,
            Problem::Wrong(_) => Code::Wrong,
        };
        Self::new(code, problem.to_string())
    }
}

pub(crate) fn run(arguments: &Bench) -> Result<(), Failure> {
    let options = options(arguments);
    options.check()?;
    if let Some(path) = &arguments.alloc {
        let alloc = ::bench::alloc(&options)?.to_string();
        return std::fs::write(path, alloc).doing(|| format!("write {}", path.display()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .doing(|| "start the threads of this command".to_owned())?;
    if arguments.trial != Trial::Load {
        if arguments.against.is_some() || arguments.plot.is_some() || !arguments.rates.is_empty() {
            return Err(Failure::input(
                "--trial takes a network of ours and one rate: leave out --against, --rates and --plot",
            ));
        }
        return runtime.block_on(trials::run(arguments, &options));
    }
    if arguments.plot.is_some() || !arguments.rates.is_empty() {
        return runtime.block_on(sweep::run(arguments, &options));
    }
    let report = runtime.block_on(once(arguments, &options))?;
    if arguments.json {
        crate::print::json(&report.to_json());
    } else {
        println!("{}", report.to_text());
    }
    match report.first_refusal() {
        Some((refused, reason)) if options.rate.is_none() => Err(Failure::failed(format!(
            "{refused} transactions were refused: {reason}"
        ))),
        _ => Ok(()),
    }
}

/// All runs of one measurement.
async fn once(arguments: &Bench, options: &Options) -> Result<Report, Failure> {
    let mut runs = Vec::new();
    if let Some(url) = &arguments.against {
        return peers::run(arguments, options, url).await;
    }
    eprintln!("preparing {} transactions", options.transactions);
    let load = Arc::new(Load::prepare(options)?);
    for number in 1..=arguments.runs.max(1) {
        let (given, shared) = (options.clone(), load.clone());
        let measured = network::with(arguments, options, load.genesis(), number, move |up| {
            measure(&given, &shared, &up.endpoints, &mut |doing| {
                eprintln!("run {number}: {doing}");
            })
        });
        runs.push(told(number, measured.await?));
    }
    let subject = Subject::Network(usize::from(arguments.nodes));
    Ok(Report::new(options, subject, runs))
}

/// Tells somebody who waits what a run came to.
fn told(number: usize, run: Run) -> Run {
    eprintln!(
        "run {number}: {:.0} a second, p50 {:.1} ms",
        run.throughput(),
        run.committed.to_json()["p50"].as_f64().unwrap_or_default()
    );
    run
}

fn options(arguments: &Bench) -> Options {
    let workload = match arguments.workload {
        Kind::Transfer => Workload::Transfer,
        Kind::Erc20 => Workload::Erc20,
        Kind::Kv => Workload::Kv,
        Kind::KvRead => Workload::KvRead,
        Kind::Call => Workload::Call,
        Kind::Mainnet => Workload::Mainnet,
    };
    let mainnet = workload == Workload::Mainnet;
    let kv = workload.protocol() == "kv";
    let transactions = arguments.transactions.unwrap_or(match arguments.trial {
        Trial::Start => 1,
        // Load for some seconds after the leader's end.
        Trial::Failover => (arguments.rate.unwrap_or_default() * 7.0) as usize, // some 10^5
        _ if mainnet => 2_000,
        _ => 20_000,
    });
    let overload = arguments.trial == Trial::Overload;
    let batch = arguments
        .batch
        .unwrap_or(if kv && !overload { 1 } else { 100 });
    let connections = arguments.connections.unwrap_or(if mainnet {
        1
    } else {
        let each = if overload { 300 } else { 2 };
        each * usize::from(arguments.nodes)
    });
    let in_flight = arguments.in_flight.unwrap_or(if mainnet {
        1
    } else if kv {
        (1_000 / batch.max(1) / connections.max(1)).max(1)
    } else {
        2
    });
    let via = arguments.via.map(|via| match via {
        To::All => Via::All,
        To::Leader => Via::Leader,
        To::Followers => Via::Followers,
    });
    Options {
        workload,
        transactions,
        warm_up: arguments.warm_up.unwrap_or(match arguments.trial {
            Trial::Load if !mainnet => transactions / 10,
            _ => 0,
        }),
        batch,
        connections,
        in_flight,
        via: via.unwrap_or(if mainnet { Via::Leader } else { Via::All }),
        rate: arguments.rate,
        senders: arguments.senders,
        value_bytes: arguments.value_bytes,
        receipts: arguments.awaited == Await::Receipts,
        confidential: arguments.profile == Profile::Confidential,
        form: ::bench::Form {
            gas_price_wei: arguments.gas_price,
            ..::bench::Form::default()
        },
        data: arguments.data.clone(),
    }
}
