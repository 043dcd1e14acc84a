//! The gateways of a sandbox: where local tools connect, and as whom.
//!
//! A transparent sandbox has one for each protocol, all of the first participant. A confidential one has,
//! besides, one for Ethereum of each further participant; those for Ethereum name the participant's
//! accounts, so that tools which know nothing of Coco see what these may see. An auditor's names none.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use alloy_primitives::Address;
use client::{Entrance, Identity, Surface, Trust};
use tokio::net::TcpListener;

use super::Up;
use super::cast::addresses;
use super::plan::{Node, Participant, Plan};
use crate::failure::{Doing, Failure};
use crate::gateway::{self, Who};

/// A gateway that runs.
pub(crate) struct Gate {
    pub(crate) protocol: String,
    pub(crate) actor: String,
    /// For whom it speaks; none: for the actor itself.
    pub(crate) accounts: Vec<Address>,
    pub(crate) address: SocketAddr,
}

/// Opens all of them; `first` is the port of the first.
pub(super) async fn open(
    plan: &Plan,
    up: &Up,
    protocols: &[String],
    first: TcpListener,
) -> Result<Vec<Gate>, Failure> {
    let address = first
        .local_addr()
        .doing(|| "read the gateway's address".to_owned())?;
    let speaks = &plan.participants[0];
    let own = protocols.iter().map(|protocol| (protocol.as_str(), speaks));
    let others = plan.participants[1..]
        .iter()
        .filter(|participant| {
            !participant.accounts.is_empty() && plan.settings.contains_key("ethereum")
        })
        .map(|participant| ("ethereum", participant));
    let mut gates = Vec::new();
    let mut first = Some(first);
    for (place, (protocol, participant)) in own.chain(others).enumerate() {
        let listener = match first.take() {
            Some(first) => first,
            None => listen(address.port(), place).await?,
        };
        gates.push(start(
            plan,
            up,
            Way::of(participant, protocol, plan),
            listener,
        )?);
    }
    Ok(gates)
}

/// The port `place` after the first.
pub(crate) async fn listen(first: u16, place: usize) -> Result<TcpListener, Failure> {
    let port = u16::try_from(place)
        .ok()
        .and_then(|place| first.checked_add(place));
    let port = port.ok_or_else(|| {
        Failure::input(format!(
            "the ports after {first} do not suffice: name a smaller one"
        ))
    })?;
    gateway::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}

/// Whom a gateway stands for, and where it leads.
pub(crate) struct Way<'a> {
    pub(crate) protocol: &'a str,
    pub(crate) actor: &'a str,
    pub(crate) identity: &'a Path,
    pub(crate) accounts: Vec<Address>,
    /// The nodes that it may take.
    pub(crate) nodes: &'a [Node],
}

impl<'a> Way<'a> {
    /// That of a participant, with its accounts.
    pub(crate) fn of(participant: &'a Participant, protocol: &'a str, plan: &'a Plan) -> Self {
        Self {
            protocol,
            actor: &participant.name,
            identity: &participant.files.identity,
            // Naming accounts narrows a session to what they see, so an auditor names none.
            accounts: match protocol {
                "ethereum" if !participant.auditor => addresses(&participant.accounts),
                _ => Vec::new(),
            },
            nodes: &plan.nodes,
        }
    }
}

/// Starts one.
pub(crate) fn start(
    plan: &Plan,
    up: &Up,
    way: Way<'_>,
    listener: TcpListener,
) -> Result<Gate, Failure> {
    let address = listener
        .local_addr()
        .doing(|| "read the gateway's address".to_owned())?;
    let identity = Identity::read(way.identity)?;
    let trust = Trust::pinned(up.certificate.clone()).with_constitution(plan.constitution.clone());
    let surface = Surface::Application(way.protocol.to_owned());
    let entrance = Entrance::new(&identity, trust, &surface)?;
    let nodes = way.nodes.iter();
    let settings = gateway::Settings {
        entrance,
        nodes: nodes
            .map(|node| format!("127.0.0.1:{}", node.ports[way.protocol]))
            .collect(),
        protocol: way.protocol.to_owned(),
        who: (!way.accounts.is_empty()).then(|| Who::Accounts(way.accounts.clone().into())),
    };
    tokio::spawn(gateway::serve(listener, settings));
    Ok(Gate {
        protocol: way.protocol.to_owned(),
        actor: way.actor.to_owned(),
        accounts: way.accounts,
        address,
    })
}
