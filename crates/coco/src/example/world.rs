//! The running example: roles and their gateways, the contracts, what was done, and what the page asks for.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::abi::quantity;
use super::fill;
use super::load::Load;
use super::roles::{ITEMS, ROLES, Role};
use super::rpc::Rpc;
use super::votes::Votes;
use super::wallet::Wallet;
use crate::dev;
use crate::failure::{Doing, Failure};
use crate::gateway;
use crate::sandbox::{Plan, Up, Way, actor, listen, start_gate};

/// The file in a kept directory that says what is there.
const FILE: &str = "supply-chain.json";

/// Blocks of which a node tells the readings at once.
const READINGS_BLOCKS: u64 = 256;

/// Where the contracts are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Contracts {
    pub(crate) trade: Address,
    pub(crate) stock: Address,
    pub(crate) policy: Address,
}

/// A transaction that somebody sent here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deed {
    /// Name of the role.
    pub(crate) by: String,
    pub(crate) what: What,
    pub(crate) hash: String,
    pub(crate) block: u64,
}

/// What it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "kebab-case")]
pub(crate) enum What {
    Price { retailer: String },
    Order { supplier: String, item: u32 },
    Ship,
    Deliver,
    Approve,
}

/// A role in this network.
pub(crate) struct Seat {
    pub(crate) is: &'static Role,
    /// Its gateway, which speaks for its account.
    pub(crate) gate: String,
    pub(crate) rpc: Rpc,
    pub(crate) wallet: Wallet,
    /// Held while it sends: one transaction, one nonce.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

/// See the module's head.
pub(crate) struct World {
    seats: Vec<Seat>,
    contracts: Contracts,
    deeds: Mutex<Vec<Deed>>,
    file: PathBuf,
    /// A member's session without an account: the record of the auditor's readings.
    pub(crate) member: Rpc,
    pub(crate) load: Load,
    pub(crate) votes: Votes,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    contracts: Contracts,
    deeds: Vec<Deed>,
}

impl World {
    /// Opens the gateways, and fills the network if nobody has.
    pub(crate) async fn make(
        plan: Plan,
        up: &Up,
        directory: &Path,
        port: u16,
    ) -> Result<Self, Failure> {
        let mut seats = Vec::new();
        for (place, (is, participant)) in ROLES.iter().zip(&plan.participants).enumerate() {
            let listener = match port {
                0 => local().await?,
                _ => listen(port, place + 1).await?,
            };
            let gate = start_gate(&plan, up, Way::of(participant, "ethereum", &plan), listener)?;
            let gate = format!("http://{}", gate.address);
            seats.push(Seat {
                is,
                rpc: Rpc::new(gate.clone())?,
                gate,
                wallet: Wallet::development(participant.accounts[0]),
                turn: tokio::sync::Mutex::default(),
            });
        }
        // A member's own sessions, one at each node.
        let member = &plan.nodes[0];
        let mut lanes = Vec::new();
        for node in plan.nodes.chunks(1) {
            let way = Way {
                protocol: "ethereum",
                actor: &member.owner,
                identity: &member.files.identity,
                accounts: Vec::new(),
                nodes: node,
            };
            let gate = start_gate(&plan, up, way, local().await?)?;
            lanes.push(Rpc::new(format!("http://{}", gate.address))?);
        }
        let file = directory.join(FILE);
        let Kept { contracts, deeds } = match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|bad| Failure::input(format!("{}: {bad}", file.display())))?,
            Err(_) => Kept {
                contracts: fill::deploy(&lanes[0], &seats).await?,
                deeds: Vec::new(),
            },
        };
        let is_new = deeds.is_empty();
        let world = Self {
            seats,
            contracts,
            deeds: Mutex::new(deeds),
            file,
            member: lanes[0].clone(),
            load: Load::new(lanes),
            votes: Votes::new(&plan, up, directory)?,
        };
        if is_new {
            fill::fill(&world).await?;
            world.votes.propose().await?;
        }
        Ok(world)
    }

    pub(crate) fn roles(&self) -> &[Seat] {
        &self.seats
    }

    /// A role by the actor's name.
    pub(crate) fn seat(&self, name: &str) -> Result<&Seat, Failure> {
        let mut seats = self.seats.iter();
        seats
            .find(|seat| seat.is.name == name)
            .ok_or_else(|| Failure::input(format!("there is no role {name:?}")))
    }

    pub(crate) fn contracts(&self) -> Contracts {
        self.contracts
    }

    pub(crate) fn deeds(&self) -> MutexGuard<'_, Vec<Deed>> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was done, also for the next start.
    pub(crate) fn note(&self, deed: Deed) -> Result<(), Failure> {
        let mut deeds = self.deeds();
        deeds.push(deed);
        let kept = Kept {
            contracts: self.contracts,
            deeds: deeds.clone(),
        };
        let text =
            serde_json::to_string_pretty(&kept).expect("texts and numbers have a form in JSON");
        std::fs::write(&self.file, text).doing(|| format!("write {}", self.file.display()))
    }

    /// Number of the newest block.
    pub(crate) async fn head(&self) -> Result<u64, Failure> {
        let head = self.member.call("eth_blockNumber", json!([])).await?;
        quantity(&head).ok_or_else(|| Failure::failed("the node gave no height"))
    }

    /// What auditors read lately, as a member is told: the ledger's own record.
    pub(crate) async fn readings(&self) -> Result<Value, Failure> {
        let head = self.head().await?;
        let from = format!("{:#x}", head.saturating_sub(READINGS_BLOCKS - 1));
        let found = self
            .member
            .call("coco_readings", json!([from, format!("{head:#x}")]))
            .await?;
        Ok(json!({ "from": from, "readings": found }))
    }

    /// What the page needs to know of it.
    pub(crate) fn facts(&self, page: SocketAddr) -> Value {
        json!({
            "page": format!("http://{page}"),
            "chain_id": dev::CHAIN_ID,
            "contracts": self.contracts,
            "items": ITEMS.iter().map(|(number, name)| json!({ "number": number, "name": name })).collect::<Vec<_>>(),
            "roles": self.seats.iter().map(|seat| json!({
                "name": seat.is.name, "title": seat.is.title, "kind": seat.is.kind.name(),
                "actor": actor(seat.is.name), "gateway": seat.gate, "account": seat.wallet.address(),
            })).collect::<Vec<_>>(),
            "transactions": self.deeds().len(),
        })
    }
}

/// Any port.
async fn local() -> Result<tokio::net::TcpListener, Failure> {
    gateway::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
}
