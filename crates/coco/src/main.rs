//! The one command: everything that a member, an operator or a developer does with Coco.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod failure;
mod print;

mod images;
mod keys;
mod member;
mod network;
mod pin;

mod governing;

mod gateway;
mod node;

mod dev;
mod sandbox;

mod example;

mod bench;

mod ledger;
mod receipt;

mod audit;
mod recover;

mod status;

mod regions;
mod simulate;

use failure::{EXIT_CODES, Failure};

/// Consortium networks of validating nodes in trusted execution environments
#[derive(Debug, Parser)]
#[command(name = "coco", version, after_help = EXIT_CODES)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs a whole network on this machine, for development
    Sandbox(sandbox::Sandbox),
    /// Runs a validating node
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Leads local tools (HTTP, WebSocket) to a validating node
    Gateway(gateway::Gateway),
    /// Makes a network's constitution
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Shows, compares, fetches and approves constitutions
    #[command(subcommand)]
    Constitution(network::ConstitutionCommand),
    /// Makes an actor's keys
    #[command(subcommand)]
    Member(member::MemberCommand),
    Propose(governing::Propose),
    Vote(governing::Vote),
    Withdraw(governing::Withdraw),
    Proposals(governing::Proposals),
    /// Asks a validating node what it does
    Status(status::Status),
    /// Runs an application on a fresh network, and shows it in a browser
    #[command(subcommand)]
    Example(example::ExampleCommand),
    /// Measures a fresh network on this machine
    Bench(bench::Bench),
    /// Reads and audits a ledger's files
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Fetches and verifies proofs of single transactions
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Opens the ledger of a lost network, with M actors' share keys and files alone
    #[command(subcommand)]
    Recover(recover::RecoverCommand),
    /// Opens the epochs that a vote granted to an auditor
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Runs simulated networks, each in one thread from one seed
    Sim(simulate::Simulate),
}

fn main() -> ExitCode {
    match run(&Command::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("coco: {failure}");
            failure.into()
        }
    }
}

fn run(what: &What) -> Result<(), Failure> {
    match what {
        What::Sandbox(arguments) => sandbox::run(arguments),
        What::Node(command) => node::run(command),
        What::Gateway(arguments) => gateway::run(arguments),
        What::Network(command) => network::network(command),
        What::Constitution(command) => network::constitution(command),
        What::Member(command) => member::run(command),
        What::Propose(arguments) => governing::propose(arguments),
        What::Vote(arguments) => governing::vote(arguments),
        What::Withdraw(arguments) => governing::withdraw(arguments),
        What::Proposals(arguments) => governing::proposals(arguments),
        What::Status(arguments) => status::run(arguments),
        What::Example(command) => example::run(command),
        What::Bench(arguments) => bench::run(arguments),
        What::Ledger(command) => ledger::run(command),
        What::Receipt(command) => receipt::run(command),
        What::Recover(command) => recover::run(command),
        What::Audit(command) => audit::run(command),
        What::Sim(arguments) => simulate::run(arguments),
    }
}
