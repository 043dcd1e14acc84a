//! `coco bench`: a fresh network on this machine for each run, load on it, figures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ::bench::{Endpoint, Load, Options, Problem, Report, Run, Via, Workload, measure};
use clap::{Args, ValueEnum};
use client::{Admin, Entrance, Identity, Surface, Trust};

use crate::failure::{Code, Doing, Failure};
use crate::images::Images;
use crate::sandbox::{self, Children, Plan, Profile, Sandbox, Wish};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Number of members, with one node each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// What is sent
    #[arg(long, value_enum)]
    workload: Kind,
    /// Transactions to measure; left out: 20,000, and for mainnet all 2,000
    #[arg(long, value_name = "N")]
    transactions: Option<usize>,
    /// Transactions to send before measuring; left out: a tenth, and for mainnet none
    #[arg(long, value_name = "N")]
    warm_up: Option<usize>,
    /// Transactions in one request; left out: 100, and for kv 1
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Connections; left out: two for each node, and for mainnet one
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Unanswered requests on each connection; left out: 2, for kv so many that 1,000 writes are on
    /// their way, for mainnet 1
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// Which nodes the load goes to; left out: all, and for mainnet the leader
    #[arg(long, value_enum)]
    via: Option<To>,
    /// Transactions a second that arrive whatever the answers do; left out: as fast as answers come
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Repeats, each on a fresh network; medians are shown
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,
    /// Accounts that send
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
    eprintln!("preparing {} transactions", options.transactions);
    let load = Arc::new(Load::prepare(&options)?);
    let options = Arc::new(options);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .doing(|| "start the threads of this command".to_owned())?;
    let mut runs = Vec::new();
    for number in 1..=arguments.runs.max(1) {
        let run = runtime.block_on(once(arguments, &options, &load, number))?;
        eprintln!(
            "run {number}: {:.0} a second, p50 {:.1} ms",
            run.throughput(),
            run.answered.to_json()["p50"].as_f64().unwrap_or_default()
        );
        runs.push(run);
    }
    let report = Report::new(&options, usize::from(arguments.nodes), runs);
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
    let transactions = arguments
        .transactions
        .unwrap_or(if mainnet { 2_000 } else { 20_000 });
    let batch = arguments.batch.unwrap_or(if kv { 1 } else { 100 });
    let connections = arguments.connections.unwrap_or(if mainnet {
        1
    } else {
        2 * usize::from(arguments.nodes)
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
        warm_up: arguments
            .warm_up
            .unwrap_or(if mainnet { 0 } else { transactions / 10 }),
        batch,
        connections,
        in_flight,
        via: via.unwrap_or(if mainnet { Via::Leader } else { Via::All }),
        rate: arguments.rate,
        senders: arguments.senders,
        value_bytes: arguments.value_bytes,
        data: arguments.data.clone(),
    }
}

/// One run on a network that did not exist before and does not exist afterwards.
async fn once(
    arguments: &Bench,
    options: &Arc<Options>,
    load: &Arc<Load>,
    number: usize,
) -> Result<Run, Failure> {
    let began = Instant::now();
    let protocols = [options.workload.protocol().to_owned()];
    let images = Images::find(arguments.images.as_deref())?;
    let directory = sandbox::Directory::open(None)?;
    let plan = sandbox::make(
        &Wish {
            nodes: usize::from(arguments.nodes),
            protocols: &protocols,
            directory: directory.path(),
            profile: Profile::Transparent,
            parts: sandbox::OPEN,
            genesis: load.genesis(),
        },
        &images,
    )?;
    let wanted = Sandbox::quiet(arguments.nodes, &protocols, arguments.images.as_deref());
    let mut children = Children::start(&plan, &wanted)?;
    let identity = plan.participants[0].files.identity.clone();
    let measured = async {
        let up = tokio::select! {
            up = sandbox::wait_until_all_vote(&plan, &identity) => up?,
            failure = children.first_end() => return Err(failure),
            _ = tokio::signal::ctrl_c() => return Err(Failure::failed("interrupted")),
        };
        eprintln!(
            "run {number}: {} nodes up in {:.1} s",
            arguments.nodes,
            began.elapsed().as_secs_f64()
        );
        let identity = Identity::read(&identity)?;
        let trust = Trust::pinned(up.certificate.clone());
        let endpoints = endpoints(
            &plan,
            &children.processes(),
            &identity,
            &trust,
            &protocols[0],
        )?;
        let (options, load) = (options.clone(), load.clone());
        let measuring = tokio::task::spawn_blocking(move || {
            measure(&options, &load, &endpoints, &mut |doing| {
                eprintln!("run {number}: {doing}");
            })
        });
        let measured = tokio::select! {
            measured = measuring => measured,
            _ = tokio::signal::ctrl_c() => return Err(Failure::failed("interrupted")),
        };
        let measured = measured.map_err(|error| Failure::failed(error.to_string()))?;
        measured.map_err(|problem| {
            let mut failure = Failure::from(problem);
            failure.text = format!("run {number}: {}", failure.text);
            failure
        })
    };
    let measured = measured.await;
    children.stop().await;
    measured
}

/// Where the nodes are, and which of them leads.
fn endpoints(
    plan: &Plan,
    processes: &BTreeMap<String, u32>,
    identity: &Identity,
    trust: &Trust,
    protocol: &str,
) -> Result<Vec<Endpoint>, Failure> {
    let entrance = Entrance::new(
        identity,
        trust.clone(),
        &Surface::Application(protocol.to_owned()),
    )?;
    let mut endpoints = Vec::new();
    for node in &plan.nodes {
        let mut admin = Admin::open(identity, trust.clone(), vec![node.admin_address()])?;
        let status = admin.status()?;
        endpoints.push(Endpoint {
            name: node.owner.clone(),
            address: format!("127.0.0.1:{}", node.ports[protocol]),
            entrance: entrance.clone(),
            leads: status["leader"] == status["node"],
            process: processes.get(&node.owner).copied(),
        });
    }
    Ok(endpoints)
}
