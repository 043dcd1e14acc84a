//! `coco example`: a network with an application on it, filled and shown in a browser.
//!
//! The one there is, the supply chain, is the white paper's demonstration of confidentiality: retailers,
//! suppliers, a carrier and an auditor share one ledger, and each sees its own part of every block. It runs
//! the sandbox's network with actors of its own, one gateway for each of them, and a page on a local
//! port. The page has no keys: what it may do is a short list ([`actions`]), and this process signs with
//! the development keys that everybody knows. So it is a demonstration, on loopback, and nothing else.
//!
//! Nothing that the page shows is made up: every figure and every reply comes from the running nodes.

mod roles;

mod abi;
mod contracts;
mod rpc;
mod wallet;

mod actions;
mod fill;

mod cheat_list;
mod cheats;
mod heard;
mod load;
mod view;
mod votes;

mod page;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Doing, Failure};
use crate::gateway;
use crate::sandbox::{self, Children, Directory, Plan, Profile, Sandbox};
use world::World;

#[derive(Debug, Subcommand)]
pub(crate) enum ExampleCommand {
    /// Retailers, suppliers, a carrier and an auditor on one ledger, each with its own view of it
    SupplyChain(SupplyChain),
}

#[derive(Debug, Args)]
pub(crate) struct SupplyChain {
    /// Port of the page on 127.0.0.1; the gateways of the roles follow on the next ports
    #[arg(long, value_name = "PORT", default_value_t = 8600)]
    port: u16,
    /// Keeps keys, ledgers and logs here; left out: a temporary directory that is removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Directory of coco-host, coco-launcher, coco-manager and coco-worker-*; left out: beside `coco`
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Prints one JSON document when everything is there, instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &ExampleCommand) -> Result<(), Failure> {
    let ExampleCommand::SupplyChain(arguments) = command;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .doing(|| "start the example's threads".to_owned())?;
    runtime.block_on(start(arguments))
}

async fn start(arguments: &SupplyChain) -> Result<(), Failure> {
    let began = Instant::now();
    let wanted = Sandbox {
        dir: arguments.dir.clone(),
        profile: Some(Profile::Confidential),
        ..Sandbox::quiet(3, &["ethereum".to_owned()], arguments.images.as_deref())
    };
    let images = sandbox::find_images(&wanted)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let listener = gateway::listen(address).await?;
    let directory = Directory::open(arguments.dir.as_deref())?;
    let plan = sandbox::plan_in(&directory, &wanted, &images, &roles::parts())?;
    roles::check(&plan)?;
    let doing = || "listen for signals".to_owned();
    let mut interrupt = signal(SignalKind::interrupt()).doing(doing)?;
    let mut terminate = signal(SignalKind::terminate()).doing(doing)?;
    let mut children = Children::start(&plan, &wanted)?;
    let ran = tokio::select! {
        ran = serve(arguments, plan, &directory, &mut children, listener, began) => ran,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if !arguments.json {
        println!("\nstopping");
    }
    children.stop().await;
    ran
}

async fn serve(
    arguments: &SupplyChain,
    plan: Plan,
    directory: &Directory,
    children: &mut Children,
    listener: TcpListener,
    began: Instant,
) -> Result<(), Failure> {
    let identity = plan.participants[0].files.identity.clone();
    let up = tokio::select! {
        up = sandbox::wait_until_all_vote(&plan, &identity) => up?,
        failure = children.first_end() => return Err(failure),
    };
    sandbox::pin(&directory.path().join("network.pem"), &up)?;
    let address = listener
        .local_addr()
        .doing(|| "read the page's address".to_owned())?;
    let making = World::make(plan, &up, directory.path(), address.port());
    let world = tokio::select! {
        world = making => Arc::new(world?),
        failure = children.first_end() => return Err(failure),
    };
    tokio::spawn(page::serve(listener, world.clone()));
    if arguments.json {
        crate::print::json(&world.facts(address));
    } else {
        tell(&world, address, began);
    }
    children.watch().await
}

fn tell(world: &World, address: SocketAddr, began: Instant) {
    println!(
        "Supply chain, up and filled in {:.1} s: {} transactions of {} roles on 3 nodes\n\n  \
         the page     http://{address}\n",
        began.elapsed().as_secs_f64(),
        world.deeds().len(),
        roles::ROLES.len()
    );
    let rows = world.roles().iter().map(|role| {
        vec![
            role.is.title.to_owned(),
            role.is.kind.name().to_owned(),
            role.gate.clone(),
            role.wallet.address().to_string(),
        ]
    });
    let heading = ["role", "is a", "its gateway", "account"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading.to_vec()).chain(rows).collect();
    crate::print::table(&rows);
    println!(
        "\nAccounts are the development accounts, whose keys everybody knows: this is a demonstration.\n\
         Ctrl-C stops everything."
    );
}
